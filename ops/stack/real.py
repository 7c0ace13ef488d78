"""The real stack without Docker: Apache Kafka from its published jars and the system's Redis, on loopback.

`with RealStack(directory) as stack:` or, in the foreground, `python -m ops.stack.real [--directory D] [--json]`.
Needs Java 17 and Maven (once, to resolve the jars) and redis-server on the PATH.
"""

from pathlib import Path
from types import TracebackType
from typing import Self

from ops.stack.foreground import StackFailure, main
from ops.stack.kafka.broker import BrokerFormatFailed, bootstrap_servers, kafka_broker
from ops.stack.kafka.jars import KafkaUnavailable
from ops.stack.processes import ServerFailed, free_port
from ops.stack.redis_server import Persistence, RedisMissing, redis_server, redis_url, system_executable
from ops.stack.versions import REDIS_MEMORY_MAX_BYTES


class RealStack:
    """Kafka and Redis, each a process: `stack.broker` and `stack.redis` can be killed, paused, stopped, started again.

    A port of 0 is picked free. A directory used before keeps its topics, and its Redis state where that is persisted.
    Start it from a thread that lives as long as the servers shall.
    """

    def __init__(
        self,
        directory: Path,
        *,
        kafka_port: int = 0,
        redis_port: int = 0,
        persistence: Persistence = Persistence.APPEND_EVERY_SECOND,
        redis_memory_max_bytes: int = REDIS_MEMORY_MAX_BYTES,
    ) -> None:
        """Raises StackFailure with one sentence on what is missing."""
        kafka_port, redis_port = kafka_port or free_port(), redis_port or free_port()
        directory = directory.resolve()
        try:
            self.redis = redis_server(
                system_executable(),
                directory / "redis",
                redis_port,
                persistence=persistence,
                memory_max_bytes=redis_memory_max_bytes,
            )
            self.broker = kafka_broker(directory / "kafka", kafka_port, free_port())
        except (RedisMissing, KafkaUnavailable, BrokerFormatFailed) as failure:
            raise StackFailure(str(failure)) from failure
        self.bootstrap_servers = bootstrap_servers(kafka_port)
        self.redis_url = redis_url(redis_port)

    def start(self) -> None:
        """Raises StackFailure, with nothing left running."""
        try:
            self.redis.start()
            self.broker.start()
        except ServerFailed as failure:
            self.stop()
            raise StackFailure(str(failure)) from failure

    def stop(self) -> None:
        self.broker.stop()
        self.redis.stop()

    def addresses(self) -> dict[str, str | int]:
        return {
            "bootstrap_servers": self.bootstrap_servers,
            "redis_url": self.redis_url,
            "broker_pid": self.broker.pid,
            "redis_pid": self.redis.pid,
        }

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


if __name__ == "__main__":
    main("real", RealStack, Path("var/stack"))
