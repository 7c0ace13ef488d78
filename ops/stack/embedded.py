"""The embedded stack needs nothing but what pip installs. It is for trying and for fast tests, not for durability.

Use `with EmbeddedStack(directory) as stack:` or, in the foreground, `python -m ops.stack.embedded [--json]`. The broker
is librdkafka's mock cluster, which keeps about 5 MB a partition in memory and then drops the oldest records.
"""

import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.processes.servers import ServerFailed, ServerProcess, free_port
from ops.stack.foreground import main
from ops.stack.postgres import PostgresMissing, PostgresServer, bundled_folder, postgres_server, postgres_url
from ops.stack.redis_server import Persistence, RedisMissing, bundled_executable, redis_server, redis_url
from ops.stack.stack import StackFailure

REDIS_MEMORY_MAX_BYTES = 512 * 1024**2
_MOCK_BROKER = Path(__file__).with_name("mock_broker.py")


class EmbeddedStack:
    """The mock broker and Redis, and PostgreSQL where it is asked for.

    Each is a process of its own, so that none shares its caller's cores or lock. A broker that was stopped has
    forgotten everything, its address included. Start the stack from a thread that lives as long as it.
    """

    bootstrap_servers: str  # known once the stack is started

    def __init__(self, directory: Path, *, redis_port: int = 0, with_postgres: bool = False) -> None:
        directory = directory.resolve()
        redis_port = redis_port or free_port()
        self._address_path = directory / "broker.address"
        self.broker = ServerProcess(
            "The mock broker",
            [sys.executable, "-P", str(_MOCK_BROKER), str(self._address_path)],
            is_ready=self._address_path.exists,
            log_path=directory / "broker.log",
        )
        self.postgres: PostgresServer | None = None
        self.database_url = ""  # for the owner, who runs the migrations; empty without PostgreSQL
        try:
            self.redis = redis_server(
                bundled_executable(),
                directory / "redis",
                redis_port,
                persistence=Persistence.NONE,
                memory_max_bytes=REDIS_MEMORY_MAX_BYTES,
            )
            if with_postgres:
                postgres_port = free_port()
                self.postgres = postgres_server(bundled_folder(), directory / "postgres", postgres_port)
                self.database_url = postgres_url(postgres_port)
        except (RedisMissing, PostgresMissing) as failure:
            raise StackFailure(str(failure)) from failure
        self.redis_url = redis_url(redis_port)

    def start(self) -> None:
        """Start everything. Raises StackFailure, with nothing left running."""
        self._address_path.unlink(missing_ok=True)
        try:
            self.broker.start()
            self.redis.start()
            if self.postgres is not None:
                self.postgres.start()
        except ServerFailed as failure:
            self.stop()
            raise StackFailure(str(failure)) from failure
        self.bootstrap_servers = self._address_path.read_text()

    def stop(self) -> None:
        if self.postgres is not None:
            self.postgres.stop()
        self.redis.stop()
        self.broker.stop()

    def addresses(self) -> dict[str, str | int]:
        found: dict[str, str | int] = {
            "bootstrap_servers": self.bootstrap_servers,
            "redis_url": self.redis_url,
            "broker_pid": self.broker.pid,
            "redis_pid": self.redis.pid,
        }
        if self.postgres is not None:
            found |= {"database_url": self.database_url, "postgres_pid": self.postgres.pid}
        return found

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def embedded_stack(directory: Path) -> EmbeddedStack:
    """Make the stack with PostgreSQL, as people run it."""
    return EmbeddedStack(directory, with_postgres=True)


if __name__ == "__main__":
    main("embedded", embedded_stack, Path("var/embedded"), is_kept=False)
