"""The one table of the versions and settings of the stacks. docker-compose.yml must say the same.

tests/ops/stack/test_compose.py compares the two.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

KAFKA_VERSION: Final = "4.1.1"
# The migrations and statements hold on each of these; tests/ops/stack/test_postgres_releases.py runs them there.
POSTGRES_MAJORS: Final = (15, 16, 17, 18)
# The state store uses nothing beyond the commands and Lua of Redis 6.2, which Valkey has too.
REDIS_VERSION_MINIMUM: Final = (6, 2)

# The majors that Compose runs are ones that run here, too: the bench `production` starts the files' services on them.
POSTGRES_MAJOR: Final = 16
REDIS_MAJOR: Final = 7

IMAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "kafka": (
            f"apache/kafka:{KAFKA_VERSION}@sha256:0bc1bb2478f45b6cea78864df86acdc11e8df2c5172477819a4d12942cbe5d40"
        ),
        "redis": f"redis:{REDIS_MAJOR}.2.11-alpine",  # its digest is asked for by production (ADR 0022)
        "postgres": (
            f"postgres:{POSTGRES_MAJOR}.10-alpine"
            "@sha256:029660641a0cfc575b14f336ba448fb8a75fd595d42e1fa316b9fb4378742297"
        ),
    }
)
MONITORING_IMAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "prometheus": (
            "prom/prometheus:v3.5.0@sha256:63805ebb8d2b3920190daf1cb14a60871b16fd38bed42b857a3182bc621f4996"
        ),
        "alertmanager": (
            "prom/alertmanager:v0.28.1@sha256:27c475db5fb156cab31d5c18a4251ac7ed567746a2483ff264516437a39b15ba"
        ),
        "grafana": "grafana/grafana:12.0.2@sha256:b5b59bfc7561634c2d7b136c4543d702ebcc94a3da477f21ff26f89ffd4214fa",
        "collector": (
            "otel/opentelemetry-collector-contrib:0.130.1"
            "@sha256:9c247564e65ca19f97d891cca19a1a8d291ce631b890885b44e3503c5fdb3895"
        ),
    }
)
"""Images of docker-compose.override.yml, with the digests that several public repositories pin for these tags."""
PYTHON_IMAGE: Final = (
    "python:3.11.13-slim-bookworm@sha256:86adf8dbadc3d6e82ee5dd2c74bec2e1c2467cdad47886280501df722372d2e1"
)

MESSAGE_MAX_BYTES: Final = 2 * 1024 * 1024

# Settings of every broker of ours, whichever way it was started.
BROKER_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # A misspelt topic is an error, not a new topic with one partition and a week's retention.
        "auto.create.topics.enable": "false",
        # How often the broker looks for orphaned transactions. With the default of 10 s, readers and the successor of a
        # dead worker wait that much longer.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        # The default of 3 s delays every first join, so that many members join at once; ours are few.
        "group.initial.rebalance.delay.ms": "0",
        "message.max.bytes": str(MESSAGE_MAX_BYTES),
        # There is one broker, and so none to replicate to. Its partitions are few, so that a start is fast.
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
# Settings of every Redis of ours, besides its memory and what it keeps on disk.
REDIS_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # At the limit a write must fail, because a key evicted in silence would be a payment forgotten in silence.
        "maxmemory-policy": "noeviction",
        # Windows are packed already. A file that is a third smaller is not worth compressing them again whenever it is
        # rewritten, which takes a core from the workers that decide.
        "rdbcompression": "no",
    }
)

# Layout and settings of every PostgreSQL of ours, whichever way it was started.
POSTGRES_DATABASE: Final = "fraud"
POSTGRES_INITDB: Final = ("--data-checksums", "--encoding=UTF8", "--locale=C")
"""In another encoding the client returns bytes for texts. Another locale's order changes with its libraries."""
POSTGRES_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        # A commit that was answered must be on disk, as a service's position in the log is in the same transaction.
        "fsync": "on",
        "synchronous_commit": "on",
        "timezone": "UTC",
        # With the default of 1 GB, bulk loads checkpoint, and write whole pages again, every few seconds.
        "max_wal_size": "4GB",
        "shared_buffers": "256MB",
        # A month adds 35 tables and indexes, and one statement over all months locks them all. So 13 readers at once
        # take some 58,000 places of the one table of locks after ten years; this makes over 100,000, in some 15 MB.
        "max_locks_per_transaction": "512",
        # An error is logged in PostgreSQL's own words. The statement, its details and the line of a refused COPY hold
        # accounts and amounts (I10), and somebody who may only read could fill the disk by statements of megabytes.
        "log_min_error_statement": "panic",
        "log_error_verbosity": "terse",
    }
)
