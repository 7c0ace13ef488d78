"""The real stack without Docker: Apache Kafka from its published jars, the system's Redis and PostgreSQL, on loopback.

Use `with RealStack(directory) as stack:` or, in the foreground, `python -m ops.stack.real [--directory D] [--json]`.
It needs Java 17 and Maven (once, to resolve the jars) and redis-server on the PATH.
"""

from pathlib import Path
from types import TracebackType
from typing import Self

from ops.access.rights import ADMINISTRATOR, AccessFailed, Principal, apply_access
from ops.access.roles import POSTGRES_OWNER
from ops.processes.servers import START_DEADLINE_S, ServerFailed, free_port
from ops.stack.foreground import main
from ops.stack.kafka.broker import BrokerFormatFailed, bootstrap_servers, kafka_broker
from ops.stack.kafka.jars import KafkaUnavailable
from ops.stack.kafka.security import BrokerSecurity
from ops.stack.postgres import (
    PostgresMissing,
    PostgresServer,
    bundled_folder,
    postgres_server,
    postgres_tls_settings,
    postgres_url,
    system_folder,
)
from ops.stack.redis_server import Persistence, RedisMissing, RedisSecurity, redis_server, redis_url, system_executable
from ops.stack.stack import StackFailure
from ops.stack.versions import REDIS_MEMORY_MAX_BYTES

SECURE_START_DEADLINE_S = 2 * START_DEADLINE_S  # Java's TLS and SCRAM are slow to warm up on a loaded machine


class RealStack:
    """Kafka and Redis, and PostgreSQL where it is asked for.

    Each is a process: `stack.broker`, `stack.redis` and `stack.postgres` can be killed, paused, stopped and started
    again. A port of 0 picks a free one. A directory that was used before keeps its topics, and its Redis state where
    that is persisted. Start the stack from a thread that lives as long as the servers shall.
    """

    def __init__(
        self,
        directory: Path,
        *,
        kafka_port: int = 0,
        redis_port: int = 0,
        persistence: Persistence = Persistence.APPEND_EVERY_SECOND,
        redis_memory_max_bytes: int = REDIS_MEMORY_MAX_BYTES,
        secure: bool = False,
        with_postgres: bool = False,
    ) -> None:
        """Make the servers. secure: Kafka and Redis ask for TLS and a password, and every server for rights.

        That is as in production. Raises StackFailure with one sentence on what is missing.
        """
        kafka_port, redis_port = kafka_port or free_port(), redis_port or free_port()
        directory = directory.resolve()
        self._security = BrokerSecurity(directory / "secrets") if secure else None
        redis_security = self._redis_security()
        try:
            self.redis = redis_server(
                system_executable(),
                directory / "redis",
                redis_port,
                persistence=persistence,
                memory_max_bytes=redis_memory_max_bytes,
                security=redis_security,
            )
            self.broker = kafka_broker(directory / "kafka", kafka_port, free_port(), self._security)
        except (RedisMissing, KafkaUnavailable, BrokerFormatFailed) as failure:
            raise StackFailure(str(failure)) from failure
        self.bootstrap_servers = bootstrap_servers(kafka_port)
        self.redis_url = redis_url(redis_port, redis_security)
        self.postgres: PostgresServer | None = None
        self.database_url = ""  # for the owner, who runs the migrations; empty without PostgreSQL
        if with_postgres:
            self._add_postgres(directory / "postgres")

    def start(self) -> None:
        """Start everything. Raises StackFailure, with nothing left running."""
        try:
            self.redis.start()
            self.broker.start(deadline_s=START_DEADLINE_S if self._security is None else SECURE_START_DEADLINE_S)
            if self._security is not None:
                apply_access(self.bootstrap_servers, self.admin_options, passwords=self._security.passwords())
            if self.postgres is not None:
                self.postgres.start()
        except (ServerFailed, AccessFailed) as failure:
            self.stop()
            raise StackFailure(str(failure)) from failure

    @property
    def admin_options(self) -> dict[str, str]:
        """Return librdkafka's options for the administrator; none on a stack without security."""
        return {} if self._security is None else self._security.client_options(ADMINISTRATOR)

    def client_options(self, principal: Principal) -> dict[str, str]:
        """Return librdkafka's options for one process; none on a stack without security."""
        return {} if self._security is None else self._security.client_options(principal)

    def stop(self) -> None:
        if self.postgres is not None:
            self.postgres.stop()
        self.broker.stop()
        self.redis.stop()

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

    def _redis_security(self) -> RedisSecurity | None:
        if self._security is None:
            return None
        return RedisSecurity(self._security.certificates, self._security.secret("redis_password"))

    def _add_postgres(self, directory: Path) -> None:
        """Add PostgreSQL, on a secure stack with a password, and with TLS where one is installed: pip's has none."""
        try:
            folder, port = system_folder(), free_port()
            settings, password, verifying = {}, None, ""
            if self._security is not None:
                password = self._security.secret(f"postgres_password_{POSTGRES_OWNER}")
                if folder != bundled_folder():
                    settings = postgres_tls_settings(self._security.certificates)
                    verifying = f"?sslmode=verify-full&sslrootcert={self._security.certificates.authority_path}"
            self.postgres = postgres_server(folder, directory, port, settings=settings, owner_password=password)
        except PostgresMissing as failure:
            raise StackFailure(str(failure)) from failure
        self.database_url = postgres_url(port, password=password) + verifying

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def real_stack(directory: Path) -> RealStack:
    """Make the stack with PostgreSQL, as people run it."""
    return RealStack(directory, with_postgres=True)


if __name__ == "__main__":
    main("real", real_stack, Path("var/stack"), is_kept=True)
