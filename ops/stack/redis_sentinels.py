"""A primary with a replica, and three Sentinels that fail over between them, on the loopback interface."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import redis

from ops.processes.servers import LOOPBACK, ServerFailed, ServerProcess, free_port
from ops.stack.redis_server import Persistence, RedisSecurity, answers, redis_server, redis_url

SERVICE: Final = "fraud"
DOWN_AFTER_MS: Final = 1_000
SENTINELS: Final = 3
QUORUM: Final = 2
DEADLINE_S: Final = 180.0
POLL_S: Final = 0.1


class RedisSentinels:
    """The servers by port; `url` is what a worker is given."""

    def __init__(self, executable: str, directory: Path, *, security: RedisSecurity | None = None) -> None:
        """Make the servers, not started yet."""
        self._security = security
        primary, replica, *self._ports = [free_port() for _ in range(2 + SENTINELS)]
        self.first_primary = primary
        self.servers = {
            port: redis_server(
                executable,
                directory / f"server-{port}",
                port,
                persistence=Persistence.NONE,
                security=security,
                more={} if port == primary else {"replicaof": f"{LOOPBACK} {primary}"},
            )
            for port in (primary, replica)
        }
        self._sentinels = [
            _sentinel(executable, directory / f"sentinel-{port}", port, primary, security) for port in self._ports
        ]

    @property
    def url(self) -> str:
        hosts = ",".join(f"{LOOPBACK}:{port}" for port in self._ports)
        if self._security is None:
            return f"redis+sentinel://{hosts}/{SERVICE}/0"
        secret, authority = self._security.password, self._security.certificates.authority_path
        return f"rediss+sentinel://:{secret}@{hosts}/{SERVICE}/0?sentinel_password={secret}&ssl_ca_certs={authority}"

    def server_url(self, port: int) -> str:
        return redis_url(port, self._security)

    def start(self) -> None:
        """Start all, and return once the replica has caught up and every Sentinel knows of the others."""
        for server in [*self.servers.values(), *self._sentinels]:
            server.start()
        _wait_until(self._is_whole, "the Sentinels do not know of each other")
        self.first_primary = self.primary()  # on a machine that stands still for a second they may have failed over

    def primary(self) -> int:
        """Return the port of the primary that the first Sentinel names."""
        with redis.Redis.from_url(redis_url(self._ports[0], self._security), decode_responses=True) as client:
            return int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)[1])

    def stop(self) -> None:
        for server in [*self._sentinels, *self.servers.values()]:
            server.stop()

    def _is_whole(self) -> bool:
        for port in self._ports:
            with redis.Redis.from_url(redis_url(port, self._security), decode_responses=True) as client:
                state = client.sentinel_master(SERVICE)
            if state["num-slaves"] < 1 or state["num-other-sentinels"] < SENTINELS - 1 or state["is_sdown"]:
                return False
        (replica,) = set(self.servers) - {self.primary()}
        with redis.Redis.from_url(self.server_url(replica), decode_responses=True) as client:
            return bool(client.info("replication").get("master_link_status") == "up")


@contextlib.contextmanager
def running_sentinels(
    executable: str, directory: Path, *, security: RedisSecurity | None = None
) -> Iterator[RedisSentinels]:
    group = RedisSentinels(executable, directory, security=security)
    try:
        group.start()
        yield group
    finally:
        group.stop()


def _sentinel(
    executable: str, directory: Path, port: int, primary: int, security: RedisSecurity | None
) -> ServerProcess:
    directory.mkdir(parents=True)
    lines = [
        f"bind {LOOPBACK}",
        f"dir {directory}",
        f"sentinel monitor {SERVICE} {LOOPBACK} {primary} {QUORUM}",
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
        f"sentinel failover-timeout {SERVICE} {3 * DOWN_AFTER_MS}",
    ]
    if security is None:
        lines.append(f"port {port}")
    else:
        made = security.certificates
        lines += [
            "port 0",
            f"tls-port {port}",
            f"tls-cert-file {made.certificate_path}",
            f"tls-key-file {made.key_path}",
            f"tls-ca-cert-file {made.authority_path}",
            "tls-auth-clients no",
            "tls-replication yes",
            f"requirepass {security.password}",
            f"sentinel sentinel-pass {security.password}",
            f"sentinel auth-pass {SERVICE} {security.password}",
        ]
    settings_path = directory / "sentinel.conf"  # Sentinel writes into it what it has learnt
    settings_path.touch(mode=0o600)
    settings_path.write_text("\n".join(lines) + "\n")
    return ServerProcess(
        "Sentinel",
        [executable, str(settings_path), "--sentinel"],
        is_ready=lambda: answers(redis_url(port, security).replace("/0", "")),
        log_path=directory / "sentinel.log",
    )


def _wait_until(is_so: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        if time.monotonic() > deadline:
            raise ServerFailed(otherwise)
        time.sleep(POLL_S)
