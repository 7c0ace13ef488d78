"""The one table of what the stacks run. docker-compose.yml must say the same.

tests/ops/stack/test_compose.py compares.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

KAFKA_VERSION: Final = "4.1.1"
# The migrations and statements hold on each: tests/ops/stack/test_postgres_releases.py runs them there.
POSTGRES_MAJORS: Final = (15, 16, 17, 18)
# The state store uses nothing beyond the commands and Lua of Redis 6.2, which Valkey has too.
REDIS_VERSION_MINIMUM: Final = (6, 2)

IMAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "kafka": f"apache/kafka:{KAFKA_VERSION}",
        "redis": "valkey/valkey:8.1.1-alpine",
        "postgres": "postgres:16.10-alpine",
        "schema-registry": "confluentinc/cp-schema-registry:8.0.0",
    }
)
PYTHON_IMAGE: Final = "python:3.11.13-slim-bookworm"

MESSAGE_MAX_BYTES: Final = 2 * 1024 * 1024

# What every broker of ours is set to, whichever way it was started.
BROKER_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # A misspelt topic is an error, not a new topic with one partition and a week's retention.
        "auto.create.topics.enable": "false",
        # How often orphaned transactions are looked for: with the default of 10 s, readers and the successor
        # of a dead worker wait that much longer.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        # The default of 3 s delays every first join, so that many members join at once; ours are few.
        "group.initial.rebalance.delay.ms": "0",
        "message.max.bytes": str(MESSAGE_MAX_BYTES),
        # One broker: nothing to replicate to. Its partitions are few, so that a start is fast.
        "default.replication.factor": "1",
        "min.insync.replicas": "1",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
    }
)

REDIS_MEMORY_MAX_BYTES: Final = 2 * 1024**3
# What every Redis of ours is set to, beside its memory and what it keeps on disk.
REDIS_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # At the limit a write must fail: a key evicted in silence would be a payment forgotten in silence.
        "maxmemory-policy": "noeviction",
        # Windows are packed already. A file a third smaller is not worth compressing them again whenever it is
        # rewritten: that takes a core from those who decide.
        "rdbcompression": "no",
    }
)

# What every PostgreSQL of ours is laid out with and set to, whichever way it was started.
POSTGRES_DATABASE: Final = "fraud"
POSTGRES_INITDB: Final = ("--data-checksums",)
POSTGRES_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # A commit that was answered is on disk: a service's position in the log is in the same transaction.
        "fsync": "on",
        "synchronous_commit": "on",
        "timezone": "UTC",
        # The default of 1 GB makes bulk loads checkpoint, and write whole pages again, every few seconds.
        "max_wal_size": "4GB",
        "shared_buffers": "256MB",
    }
)
