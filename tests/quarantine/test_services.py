"""A record of poison holds its partition until it was put aside; then everything behind it goes on, and it is named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ops.stack.embedded import EmbeddedStack
from ops.verifier.findings import Kind
from pipeline.audit.leaf_files import leaf_path, read_entries
from pipeline.audit.log_store import AuditBroken, AuditLog, RecordRefused
from pipeline.domain.log import RecordUndecodable
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.positioned_log import LogBatch
from pipeline.io.postgres import Connection, DatabaseRefused, connect
from pipeline.reconcile.gaps import Gap, GapKind
from tests.audit.logs import TOPIC, Bench, record, records
from tests.audit.test_log_store import FIRST
from tests.audit.test_verifier import verified
from tests.execute.given import Desk as ExecutorDesk
from tests.execute.given import decision
from tests.quarantine.given import appoint, put_aside, subject
from tests.reconcile.desk import Desk
from tests.servers import Postgres, unused_prefix, url_as

POISON = record(4, FIRST._replace(summary=" "))


@pytest.fixture
def bench(postgres: Postgres, database_url: str, tmp_path: Path, owner: Connection) -> Iterator[Bench]:
    appoint(owner)
    with closing(Bench(postgres.server, database_url, tmp_path)) as bench:
        bench.open()
        yield bench


def with_poison() -> list:
    """Records of two partitions, one of which nothing can store."""
    every = [each for each in records(12) if (each.partition, each.offset) != (POISON.partition, POISON.offset)]
    return sorted([*every, POISON], key=lambda each: (each.offset, each.partition))


def aside(bench: Bench, owner: Connection, value: bytes = POISON.value) -> None:
    put_aside(owner, subject(TOPIC, POISON.partition, POISON.offset, value))


def test_poison_holds_the_log_until_it_is_put_aside_then_all_goes_on(bench: Bench, owner: Connection) -> None:
    with pytest.raises(RecordRefused, match="fraud quarantine propose"):
        bench.store(with_poison())
    aside(bench, owner)
    bench.restart()
    rest = [each for each in with_poison() if each.offset >= bench.log.trees[each.partition].last_offset + 1]
    bench.store(rest)
    [row] = bench.rows("SELECT topic_partition, topic_offset, record, source_offset FROM audit.quarantined")
    assert (POISON.partition, POISON.offset, POISON.value, FIRST.source_offset) == row
    bench.anchor()
    bench.restart()
    report = verified(bench)
    assert [] == report.findings
    assert len(with_poison()) == report.rows
    assert "its summary is empty" in report.quarantined[0]


def test_quarantine_of_other_bytes_changes_nothing(bench: Bench, owner: Connection) -> None:
    aside(bench, owner, b"other")
    with pytest.raises(RecordRefused):
        bench.store([POISON])


def test_record_that_can_be_stored_is_stored_whoever_put_it_aside(bench: Bench, owner: Connection) -> None:
    """So that nobody hides a decision."""
    good = record(4, FIRST)
    put_aside(owner, subject(TOPIC, good.partition, good.offset, good.value))
    bench.restart()
    bench.store([good])
    assert [(1, 0)] == bench.rows(
        "SELECT (SELECT count(*)::int FROM audit.ai_decision_log), (SELECT count(*)::int FROM audit.quarantined)"
    )


def test_kill_between_leaf_and_row_of_what_is_put_aside_is_gone_on_from(bench: Bench, owner: Connection) -> None:
    aside(bench, owner)
    said = AuditLog._link

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    AuditLog._link = killed  # type: ignore[assignment]
    try:
        bench.restart()
        with pytest.raises(KeyboardInterrupt):
            bench.log._put_aside(bench.connection, POISON)
    finally:
        AuditLog._link = said  # type: ignore[method-assign]
    [before] = read_entries(leaf_path(bench.outside, TOPIC, POISON.partition))
    bench.restart()
    bench.store([POISON, record(6, FIRST)])
    entries = list(read_entries(leaf_path(bench.outside, TOPIC, POISON.partition)))
    assert (before, 2) == (entries[0], len(entries))
    bench.restart()


def test_leaf_of_what_is_aside_is_never_taken_back_by_a_row(bench: Bench, owner: Connection) -> None:
    """Somebody removes the quarantine, to have the record forgotten."""
    aside(bench, owner)
    bench.store([POISON, record(7, FIRST)])
    bench.anchor()
    for table in ("control.quarantine", "control.quarantine_proposal"):
        bench.as_superuser(f"DELETE FROM {table}")
    bench.as_superuser("DELETE FROM audit.quarantined")
    report = verified(bench)
    assert Kind.ROW_MISSING in {finding.kind for finding in report.findings}
    bench.as_superuser("DELETE FROM audit.chain_link")
    bench.as_superuser("UPDATE control.consumer_position SET next_offset = 0")
    with pytest.raises(AuditBroken):
        bench.restart()


@pytest.mark.parametrize(
    "change",
    [
        "statement = replace(statement, 'rob', 'eve')",
        "record = record || '\\x00'",
        "logged_at = logged_at + interval '1 second'",
        "source_offset = source_offset + 1",
        "recorded_at = recorded_at - interval '1 microsecond'",
        "chain_hash = sha256(chain_hash)",
        "leaf_hash = sha256(leaf_hash)",
    ],
)
def test_edit_of_what_was_put_aside_is_found(bench: Bench, owner: Connection, change: str) -> None:
    aside(bench, owner)
    bench.store([POISON, record(6, FIRST), record(7, FIRST)])
    bench.anchor()
    assert 1 == bench.as_superuser(f"UPDATE audit.quarantined SET {change}")
    report = verified(bench)
    assert [("quarantined", POISON.offset)] == [(each.table, each.offset) for each in report.findings]


@pytest.fixture
def executor(database_url: str, stack: EmbeddedStack, rail_address: str, owner: Connection) -> Iterator[ExecutorDesk]:
    appoint(owner)
    appender = Appender(stack.bootstrap_servers, "test-quarantine", {})
    with closing(ExecutorDesk(url_as(database_url, "fraud_executor"), appender, rail_address)) as desk:
        desk.open(GB29_0001=10_000)
        yield desk


def test_executor_goes_on_behind_what_was_put_aside(executor: ExecutorDesk, owner: Connection) -> None:
    good, later = decision(), decision()
    poison = decision()._replace(transaction_id="no id\t")
    batch = executor.batch(good, poison, later)
    with pytest.raises(RecordUndecodable):
        executor.execution.accept(executor.connection, batch)
    assert (executor.state(good), executor.state(later)) == ("SETTLED", "")
    put_aside(owner, subject("decisions.v1", 0, batch.records[1].offset, batch.records[1].value))
    rest = LogBatch(batch.records[1:], [batch.spans[0]._replace(before=batch.records[1].offset)])
    executor.execution.accept(executor.connection, rest)
    executor.resume()
    assert (executor.state(later), executor.findings()) == ("SETTLED", [])
    assert {0: 3} == executor.execution.settled.read(executor.connection, [0])


def test_decision_that_can_be_executed_is_executed_whoever_put_it_aside(
    executor: ExecutorDesk, owner: Connection
) -> None:
    good = decision()
    batch = executor.batch(good)
    put_aside(owner, subject("decisions.v1", 0, 0, batch.records[0].value))
    executor.execution.accept(executor.connection, batch)
    assert executor.state(good) == "SETTLED"


def test_executor_holds_before_what_the_database_refuses(executor: ExecutorDesk, owner: Connection) -> None:
    good = decision()
    poison = decision()._replace(decision_id="no uuid")
    batch = executor.batch(good, poison)
    with pytest.raises(DatabaseRefused):
        executor.execution.accept(executor.connection, batch)
    assert {0: 1} == executor.execution.heard.read(executor.connection, [0])
    assert executor.state(good) == "SETTLED"


def test_reconciliation_names_what_was_put_aside_for_ever(
    stack: EmbeddedStack, database_url: str, rail_address: str, tmp_path: Path, owner: Connection
) -> None:
    appoint(owner)
    with closing(Desk(stack, database_url, rail_address, tmp_path, unused_prefix())) as desk:
        desk.fill()
        at = desk.records[desk.topics.decisions][-1]
        poison = FIRST._replace(summary=" ")
        value = record(0, poison).value
        desk.publish([(desk.topics.decisions, 0, value)])
        with pytest.raises(RecordRefused):
            desk.audit()
        offset = desk.records[desk.topics.decisions][-1].offset
        put_aside(owner, subject(desk.topics.decisions, 0, offset, value))
        desk.audit()
        assert at.offset < 10**6
        gap = Gap(GapKind.QUARANTINED, desk.topics.decisions, 0, offset, offset, 1)
        reconciler = desk.reconciler(is_stored=False)
        with connect(url_as(database_url, "fraud_reconcile"), "test") as connection:
            assert [gap] == reconciler.name_quarantined(connection)
            assert [gap] == reconciler.name_quarantined(connection)
            stored = desk.reconciler(is_stored=True)
            assert [gap] == stored.name_quarantined(connection)
            assert [] == stored.name_quarantined(connection)  # told once, and stored
        kinds = {found.kind for found in desk.reconciled()[0]}
        assert kinds <= {GapKind.ACCOUNTED_TWICE}  # the poison is about a payment that another decision is about, too
