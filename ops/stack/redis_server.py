"""A Redis (or Valkey) server on the loopback interface, as a process that tests may kill and start again."""

import shutil
from enum import StrEnum
from pathlib import Path

import redis

from ops.stack.processes import LOOPBACK, ServerProcess
from ops.stack.versions import REDIS_EVICTION, REDIS_MEMORY_MAX_BYTES

PING_TIMEOUT_S = 1.0


class Persistence(StrEnum):
    """What survives `kill -9`. The state is derived, so losing it costs a rebuild, never a wrong decision."""

    NONE = "none"
    APPEND_EVERY_SECOND = "everysec"
    APPEND_ALWAYS = "always"


class RedisMissing(Exception):
    """No Redis server is installed."""


def redis_server(
    executable: str,
    directory: Path,
    port: int,
    *,
    persistence: Persistence,
    memory_max_bytes: int = REDIS_MEMORY_MAX_BYTES,
) -> ServerProcess:
    """The server, not started yet. Its files and its log stand in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    settings = {
        "bind": LOOPBACK,
        "port": str(port),
        "dir": str(directory),
        "daemonize": "no",
        "save": "",
        "appendonly": "no" if persistence is Persistence.NONE else "yes",
        "appendfsync": "everysec" if persistence is Persistence.NONE else persistence.value,
        "maxmemory": str(memory_max_bytes),
        "maxmemory-policy": REDIS_EVICTION,
    }
    return ServerProcess(
        "Redis",
        [executable, *(part for name, value in settings.items() for part in (f"--{name}", value))],
        is_ready=lambda: answers(redis_url(port)),
        log_path=directory / "redis.log",
    )


def redis_url(port: int) -> str:
    return f"redis://{LOOPBACK}:{port}/0"


def answers(url: str) -> bool:
    """False while nothing listens, and while the server still loads what it had saved."""
    with redis.Redis.from_url(url, socket_timeout=PING_TIMEOUT_S, socket_connect_timeout=PING_TIMEOUT_S) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def system_executable() -> str:
    """The path of redis-server or valkey-server. Raises RedisMissing."""
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            return path
    raise RedisMissing("redis-server is not on the PATH. Install it: apt-get install redis-server")
