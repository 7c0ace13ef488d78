"""A Redis Cluster on the loopback interface: three masters, each with as many replicas as are asked for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import redis

from ops.processes.servers import LOOPBACK, ServerFailed, free_port
from ops.stack.redis_server import Persistence, RedisSecurity, redis_server, redis_url

MASTERS: Final = 3
SLOTS: Final = 16_384
NODE_TIMEOUT_MS: Final = 1_500
DEADLINE_S: Final = 180.0
POLL_S: Final = 0.1


class RedisCluster:
    """The servers by port; `url` is what a worker is given."""

    def __init__(
        self,
        executable: str,
        directory: Path,
        *,
        replicas: int = 0,
        persistence: Persistence = Persistence.NONE,
        security: RedisSecurity | None = None,
    ) -> None:
        """Make the servers, not started yet. replicas: of each master."""
        self._security = security
        self.masters = [free_port() for _ in range(MASTERS)]
        self._replicas = {free_port(): master for master in self.masters for _ in range(replicas)}
        self.servers = {
            port: redis_server(
                executable,
                directory / f"server-{port}",
                port,
                persistence=persistence,
                security=security,
                more={
                    "cluster-enabled": "yes",
                    "cluster-port": str(free_port()),
                    "cluster-node-timeout": str(NODE_TIMEOUT_MS),
                    "cluster-require-full-coverage": "no",
                },
            )
            for port in (*self.masters, *self._replicas)
        }

    @property
    def url(self) -> str:
        hosts = ",".join(f"{LOOPBACK}:{port}" for port in self.masters)
        if self._security is None:
            return f"redis+cluster://{hosts}"
        authority = self._security.certificates.authority_path
        return f"rediss+cluster://:{self._security.password}@{hosts}?ssl_ca_certs={authority}"

    def server_url(self, port: int) -> str:
        return redis_url(port, self._security)

    def start(self) -> None:
        """Start all, join them, and return once each says that the cluster serves."""
        for server in self.servers.values():
            server.start()
        first, *others = self.servers
        for number, port in enumerate(self.servers):
            self._ask(port, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for port in others:
            bus = int(self._ask(port, "CONFIG", "GET", "cluster-port")["cluster-port"])
            self._ask(first, "CLUSTER", "MEET", LOOPBACK, port, bus)
        for number, port in enumerate(self.masters):
            low, high = (SLOTS * place // MASTERS for place in (number, number + 1))
            self._ask(port, "CLUSTER", "ADDSLOTSRANGE", low, high - 1)
        self._wait_until(self._is_acquainted, "the servers of the cluster do not know each other")
        for port, master in self._replicas.items():
            self._ask(port, "CLUSTER", "REPLICATE", self._ask(master, "CLUSTER", "MYID"))
        self.wait_until_whole()

    def master_of(self, key: str) -> int:
        """Return the port of the master that holds a key now, as a master that runs sees it."""
        running = next(port for port, server in self.servers.items() if server.is_running)
        slot = int(self._ask(running, "CLUSTER", "KEYSLOT", key))
        for low, high, master, *_ in self._ask(running, "CLUSTER", "SLOTS"):
            if low <= slot <= high:
                return int(master[1])
        raise ServerFailed("nobody serves the slot")

    def replicas_of(self, master: int) -> list[int]:
        """Return the ports of the replicas that follow a master now; all of the servers must run."""
        return [port for port in self.servers if self._facts(port).get("master_port") == master]

    def wait_until_whole(self) -> None:
        """Wait until all of the servers run, serve every slot, and each replica follows its master."""
        self._wait_until(self._is_whole, "the cluster does not serve")

    def stop(self) -> None:
        for server in self.servers.values():
            server.stop()

    def _is_acquainted(self) -> bool:
        return all(len(self._ask(port, "CLUSTER", "SHARDS")) >= MASTERS for port in self.servers) and all(
            self._state(port)["cluster_known_nodes"] == str(len(self.servers)) for port in self.servers
        )

    def _is_whole(self) -> bool:
        try:
            states = [self._state(port) for port in self.servers]
            facts = [self._facts(port) for port in self.servers]
        except redis.RedisError:
            return False
        followers = [each for each in facts if each["role"] != "master"]
        return (
            all(each["cluster_state"] == "ok" and each["cluster_slots_ok"] == str(SLOTS) for each in states)
            and len(followers) == len(self._replicas)
            and all(each["master_link_status"] == "up" for each in followers)
        )

    def _state(self, port: int) -> dict[str, str]:
        answer = self._ask(port, "CLUSTER", "INFO")
        return answer if isinstance(answer, dict) else dict(line.split(":") for line in answer.split())

    def _facts(self, port: int) -> dict[str, Any]:
        with redis.Redis.from_url(self.server_url(port), decode_responses=True) as client:
            facts: dict[str, Any] = client.info("replication")
            return facts

    def _ask(self, port: int, *command: object) -> Any:
        with redis.Redis.from_url(self.server_url(port), decode_responses=True) as client:
            return client.execute_command(*command)

    def _wait_until(self, is_so: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not is_so():
            if time.monotonic() > deadline:
                raise ServerFailed(otherwise)
            time.sleep(POLL_S)


@contextlib.contextmanager
def running_cluster(
    executable: str,
    directory: Path,
    *,
    replicas: int = 0,
    persistence: Persistence = Persistence.NONE,
    security: RedisSecurity | None = None,
) -> Iterator[RedisCluster]:
    group = RedisCluster(executable, directory, replicas=replicas, persistence=persistence, security=security)
    try:
        group.start()
        yield group
    finally:
        group.stop()
