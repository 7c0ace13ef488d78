"""Records of which nobody proves who wrote them: in the log as put aside, never as decisions, and in nobody's way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from pipeline.audit.leaf_files import leaf_path, read_entries
from pipeline.audit.log_store import AuditLog
from pipeline.audit.unproved_service import Noting
from pipeline.domain.log import LogRecord, Presented, Unproved
from pipeline.io.postgres import connect
from pipeline.seals.passed_over_store import PassedOver
from tests.audit.logs import TOPIC, Bench, records
from tests.audit.test_verifier import verified
from tests.servers import Postgres, url_as

GARBAGE = b"garbage"


@pytest.fixture
def bench(postgres: Postgres, database_url: str, tmp_path: Path) -> Iterator[Bench]:
    with closing(Bench(postgres.server, database_url, tmp_path)) as bench:
        bench.open()
        yield bench


def presented(record: LogRecord[None]) -> Presented:
    where = TOPIC, record.partition, record.offset, record.timestamp_ms, True
    return Presented(*where, record.key, record.value, None)


def with_forgeries(count: int = 12) -> tuple[list[LogRecord[None]], set[tuple[int, int]]]:
    """Records of two partitions, of which every third is forged, and every sixth is garbage."""
    every = records(count)
    forged = {(each.partition, each.offset) for each in every[::3]}
    garbage = {(each.partition, each.offset) for each in every[::6]}
    return [
        each._replace(value=GARBAGE) if (each.partition, each.offset) in garbage else each for each in every
    ], forged


class Reader:
    """What the service does with a batch."""

    def __init__(self, bench: Bench, forged: set[tuple[int, int]], why: str = "SEAL_MISSING") -> None:
        self._bench, self._forged, self._why = bench, forged, why
        self.noting = Noting(self._check, PassedOver("audit", TOPIC))

    def _check(self, record: Presented) -> Unproved | None:
        if (record.partition, record.offset) not in self._forged:
            return None
        return Unproved(record.partition, record.offset, record.value, self._why, None)

    def read(self, batch: list[LogRecord[None]]) -> None:
        for record in batch:
            assert self.noting.prove(presented(record)) is None, "every record is to be stored"
        unproved = self.noting.note(self._bench.connection)
        self._bench.log.store_proved(self._bench.connection, batch, unproved)


def test_they_are_kept_as_put_aside_with_why_and_the_log_verifies(bench: Bench) -> None:
    batch, forged = with_forgeries()
    Reader(bench, forged).read(batch)
    rows = bench.rows("SELECT topic_partition, topic_offset, statement FROM audit.quarantined")
    assert forged == {(partition, offset) for partition, offset, _ in rows}
    assert {"SEAL_MISSING"} == {json.loads(str(statement))["unproved"] for _, _, statement in rows}
    stored = bench.rows("SELECT topic_partition, topic_offset FROM audit.ai_decision_log")
    assert forged.isdisjoint(stored)
    bench.anchor()
    bench.restart()
    report = verified(bench)
    assert ([], len(batch)) == (report.findings, report.rows)
    assert len(forged) == len(report.quarantined)


def test_a_kill_between_leaf_and_row_is_gone_on_from_though_a_key_became_known(bench: Bench) -> None:
    """The leaf on the disk says that they were put aside; what the key set says by then changes nothing about it."""
    batch, forged = with_forgeries(6)
    link = AuditLog._link

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    AuditLog._link = killed  # type: ignore[assignment]
    try:
        with pytest.raises(KeyboardInterrupt):
            Reader(bench, forged, "KEY_UNKNOWN").read(batch)
    finally:
        AuditLog._link = link  # type: ignore[method-assign]
    before = [entry for partition in (0, 1) for entry in entries(bench, partition)]
    assert before
    bench.restart()
    reader = Reader(bench, set())
    reader.noting.begin(bench.connection, dict.fromkeys((0, 1), 0))
    reader.read(batch)
    after = [entry for partition in (0, 1) for entry in entries(bench, partition)]
    assert set(before) <= set(after)
    assert len(batch) == len(after)
    assert forged == set(bench.rows("SELECT topic_partition, topic_offset FROM audit.quarantined"))
    bench.restart()


@pytest.mark.parametrize("role", ["fraud_review", "fraud_executor"])
def test_another_role_notes_nothing_for_the_audit_log(bench: Bench, database_url: str, role: str) -> None:
    note = """INSERT INTO control.unproved_record (consumer, topic, topic_partition, topic_offset, why, record_sha256)
        VALUES (%s, %s, 0, 0, 'SEAL_MISSING', sha256(''))"""
    with closing(connect(url_as(database_url, role), "thief")) as thief:
        thief.execute(note, [role.removeprefix("fraud_"), TOPIC])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            thief.execute(note, ["audit", TOPIC])


def test_a_note_about_other_bytes_puts_nothing_aside(bench: Bench) -> None:
    batch, forged = with_forgeries(6)
    other = [Unproved(each.partition, each.offset, b"other bytes", "KEY_UNKNOWN", None) for each in batch]
    PassedOver("audit", TOPIC).note(bench.connection, other)
    reader = Reader(bench, forged)
    reader.noting.begin(bench.connection, dict.fromkeys((0, 1), 0))
    reader.read(batch)
    assert forged == set(bench.rows("SELECT topic_partition, topic_offset FROM audit.quarantined"))


def test_a_leaf_of_a_row_gives_way_to_one_that_was_put_aside_until_it_is_signed(bench: Bench) -> None:
    """The key was revoked between the leaf and the row."""
    batch, forged = with_forgeries(6)
    proved = [each for each in batch if each.value != GARBAGE]
    copy = AuditLog._copy

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    AuditLog._copy = killed  # type: ignore[assignment]
    try:
        with pytest.raises(KeyboardInterrupt):
            bench.store(proved)
    finally:
        AuditLog._copy = copy  # type: ignore[method-assign]
    bench.restart()
    Reader(bench, forged).read(proved)
    bench.restart()
    bench.anchor()
    assert [] == verified(bench).findings


def entries(bench: Bench, partition: int) -> list[object]:
    path = leaf_path(bench.outside, TOPIC, partition)
    return list(read_entries(path)) if path.exists() else []
