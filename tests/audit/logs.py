"""Records of decisions.v1 for tests, and an audit log to put them in."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg

from ops.stack.postgres import PostgresServer
from pipeline.audit.anchor_topics import Anchors
from pipeline.audit.log_store import AuditLog
from pipeline.domain.decision import Decision
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import Connection, connect
from pipeline.keys.key_files import SigningKey, create_signing_key, read_key_set
from pipeline.keys.key_sets import KeySet
from tests.archive import CLOSED, OPEN, Archive, payment
from tests.decisions import decision_of, record_of, reversal_of, review_of, written
from tests.records import NOON_MS
from tests.servers import url_as

TOPIC = "decisions.v1"
RECORDED_AT_US = 1_764_072_123_456_789
PARTITIONS = (0, 1)
WIRE = WireFormat()


class Bench:
    """A database, a folder outside it, and the audit service's role between them."""

    def __init__(self, server: PostgresServer, database_url: str, folder: Path) -> None:
        self.server = server
        self.owner_url, self.url = database_url, url_as(database_url, "fraud_audit")
        self.outside, self.folder = folder / "outside", folder
        self.key = create_signing_key(folder / "key", valid_from_ms=0)
        self.key_set_path = folder / "key.keys"
        self.published: list[tuple[bytes, bytes]] = []
        self.clock_us = RECORDED_AT_US
        self.connection: Connection = connect(self.url, "test")
        self.log = self._log()

    def open(self) -> dict[int, int]:
        return self.log.open(self.connection, PARTITIONS)

    def store(self, records: Sequence[LogRecord[DecisionRecord]]) -> None:
        self.log.store(self.connection, records)

    def restart(self) -> dict[int, int]:
        """As after a kill: nothing of the process is left but its files and the database."""
        self.close()
        self.connection, self.log = connect(self.url, "test"), self._log()
        return self.open()

    def anchors(self, key: SigningKey | None = None) -> Anchors:
        def publish(key: bytes, value: bytes) -> None:
            self.published.append((key, value))

        signing = Anchors(TOPIC, self.outside, key or self.key, self.keys, WIRE, publish)
        signing.begin(self.log.trees, {})
        return signing

    def anchor(self, at_ms: int = NOON_MS) -> None:
        self.anchors().anchor(self.log.trees, at_ms)

    def keys(self) -> KeySet:
        return read_key_set(self.key_set_path)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.owner_url) as connection:
            return connection.execute(query.encode()).fetchall()

    def as_superuser(self, statement: str) -> int:
        """With every trigger out of the way, as whoever owns the server can. The number of rows changed."""
        with psycopg.connect(self.owner_url) as connection:
            connection.execute("SET session_replication_role = replica")
            return connection.execute(statement.encode()).rowcount

    def close(self) -> None:
        self.log.close()
        self.connection.close()

    def _log(self) -> AuditLog:
        def clock_us() -> int:
            self.clock_us += 1_000
            return self.clock_us

        return AuditLog(TOPIC, self.outside, WIRE, clock_us)


@lru_cache
def values(count: int) -> tuple[bytes, ...]:
    """Decisions as the worker writes them: by the model, and a third by the fallback; some guarded."""
    payments = [payment(number, amount_minor=10_000 + number * 90_001) for number in range(count)]
    with TemporaryDirectory() as folder:
        return tuple(Archive(Path(folder)).values(payments, [OPEN if n % 3 == 0 else CLOSED for n in range(count)]))


def records(count: int, *, begin: int = 0) -> list[LogRecord[DecisionRecord]]:
    """Decisions, and now and then a review or a reversal of the one before, in two partitions.

    Offsets have gaps, as those of commit markers.
    """
    found = []
    for number, value in enumerate(values(begin + count)[begin:], start=begin):
        decision = decision_of(value)
        found.append(_record(number, value))
        if number % 7 == 3:
            found.append(_record(number, WIRE.encode(review_of(decision)), within=1))
        if number % 7 == 5:
            found.append(_record(number, WIRE.encode(reversal_of(decision)), within=1))
    return found


def record(number: int, decision: Decision) -> LogRecord[DecisionRecord]:
    """One that says what a worker would not write."""
    return _record(number, written(decision))


def _record(number: int, value: bytes, *, within: int = 0) -> LogRecord[DecisionRecord]:
    content = record_of(value)
    return LogRecord(number % 2, number // 2 * 4 + within, NOON_MS, content.account_id.encode(), value, content)
