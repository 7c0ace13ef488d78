"""Reconciliation against a real database and what stands on a broker: clean when it is, each planted gap named."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from ops.stack.embedded import EmbeddedStack
from pipeline.io.postgres import PositionMoved, connect, statements
from pipeline.reconcile import finding_store as reconcile_findings
from pipeline.reconcile import service as reconcile
from pipeline.reconcile.finding_store import gap_row
from pipeline.reconcile.gaps import PASSING, Gap, GapKind
from tests.audit.logs import values
from tests.reconcile.desk import COUNT, Desk
from tests.servers import unused_prefix, url_as

# Decision 8: of record 8 of partition 0, at offset 4 of partition 0 of decisions.v1
_AT = "topic_partition = 0 AND topic_offset = 4"
_EXECUTION = f"(SELECT execution_id FROM audit.ai_decision_log WHERE {_AT})"


@pytest.fixture
def desk(stack: EmbeddedStack, database_url: str, rail_address: str, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(stack, database_url, rail_address, tmp_path, unused_prefix())
    desk.fill()
    yield desk
    desk.close()


@pytest.mark.parametrize("is_stored", [True, False])
def test_what_is_whole_is_not_accused(desk: Desk, is_stored: bool) -> None:
    gaps, (looked,) = desk.reconciled(is_stored=is_stored)
    assert [] == gaps
    duplicates = sum(offset % 3 == 0 for p in range(4) for offset in range(COUNT) if offset % 4 != p)
    expected = (4 * COUNT, COUNT, 3 * COUNT - duplicates, duplicates, COUNT, COUNT)
    assert expected == tuple(looked[1:])


def test_what_was_reconciled_is_not_looked_at_again(desk: Desk) -> None:
    desk.reconciled(is_stored=True)
    assert ([], []) == desk.reconciled(is_stored=True)


def test_what_was_not_committed_is_not_missed(desk: Desk) -> None:
    desk.publish([(desk.topics.intake, 2, b"payment")] * 3)
    assert [] == desk.reconciled()[0]


def test_a_log_of_decisions_whose_commits_are_gone_is_not_known_to_be_whole(desk: Desk) -> None:
    """Somebody has deleted the group's offsets: nothing is compared, and no gap is found."""
    found = []
    for group in (desk.group, f"{desk.group}-gone"):
        reconciler = desk.reconciler(is_stored=False, group=group)
        while (stretch := reconciler.open(desk.connection)) is not None:
            assert [] == reconciler.close(desk.connection, stretch, reconciler.look(desk.connection, stretch))
        found.append(reconciler.uncommitted())
    assert [[], [0, 1]] == found


def test_records_that_became_nothing_are_one_named_gap(desk: Desk) -> None:
    desk.publish([(desk.topics.intake, 2, b"payment")] * 3)
    desk.commit({2: COUNT + 3})
    expected = Gap(GapKind.UNACCOUNTED, desk.topics.intake, 2, COUNT, COUNT + 2, 3)
    assert [expected] == desk.reconciled(is_stored=True)[0]
    (alert,) = desk.alerts()
    evidence = {"kind": "UNACCOUNTED", "topic": desk.topics.intake, "partition": "2", "side": "decisions.v1"}
    place = {"first_offset": "40", "last_offset": "42", "records": "3"}
    assert ("RECONCILIATION_GAP", evidence | place) == (alert.code, alert.evidence)
    assert [("OPENED", "UNACCOUNTED", 2, 40, 42, 3)] == desk.ask(
        "SELECT event, kind, partition, first_offset, last_offset, records FROM control.reconciliation_gap"
    )


PLANTS = {
    GapKind.AUDITED_OTHERWISE: f"UPDATE audit.ai_decision_log SET record = record || '\\x00' WHERE {_AT}",
    GapKind.NOT_EXECUTED: f"DELETE FROM ledger.execution WHERE execution_id = {_EXECUTION}",
    GapKind.AUDITED_TWICE: f"""INSERT INTO audit.ai_decision_log
        SELECT (jsonb_populate_record(r, '{{"filed_at": "1970-01-01T00:00:01Z"}}')).*
        FROM audit.ai_decision_log AS r WHERE {_AT}""",
}


@pytest.mark.parametrize(("kind", "statement"), PLANTS.items())
def test_planted_gap_is_found_and_named(desk: Desk, kind: GapKind, statement: str) -> None:
    desk.tamper(statement)
    assert [Gap(kind, desk.topics.decisions, 0, 4, 4, 1)] == desk.reconciled()[0]


def test_money_that_nobody_allowed_is_named(desk: Desk) -> None:
    desk.tamper(
        f"UPDATE audit.ai_decision_log SET decision = 'BLOCK' WHERE {_AT}",
        f"UPDATE ledger.transition SET to_state = 'SETTLED' WHERE execution_id = {_EXECUTION}",
    )
    expected = [
        Gap(kind, desk.topics.decisions, 0, 4, 4, 1)
        for kind in (GapKind.EXECUTED_OTHERWISE, GapKind.HEARD_OTHERWISE, GapKind.STEPPED_OTHERWISE)
    ]
    assert expected == desk.reconciled()[0]


def test_audit_row_that_is_gone_is_named_and_its_record_is_not(desk: Desk) -> None:
    desk.tamper(f"DELETE FROM audit.ai_decision_log WHERE {_AT}")
    topic = desk.topics.decisions
    expected = [Gap(kind, topic, 0, 4, 4, 1) for kind in (GapKind.NOT_AUDITED, GapKind.EXECUTION_UNFOUNDED)]
    assert expected == desk.reconciled()[0]


def test_dead_letter_that_is_not_audited_is_named_and_its_record_is_not(desk: Desk) -> None:
    desk.tamper("DELETE FROM audit.dead_letter WHERE topic_offset BETWEEN 5 AND 9")
    assert [Gap(GapKind.NOT_AUDITED, desk.topics.letters, 0, 5, 9, 5)] == desk.reconciled()[0]


def test_record_that_became_two_things_is_named(desk: Desk) -> None:
    desk.publish([(desk.topics.letters, 0, desk.letter(0, 8, "BAD_FRAMING"))])
    desk.audit()
    assert [Gap(GapKind.ACCOUNTED_TWICE, desk.topics.intake, 0, 8, 8, 1)] == desk.reconciled()[0]


def test_record_that_becomes_another_thing_later_is_named(desk: Desk) -> None:
    desk.reconciled(is_stored=True)
    desk.publish([(desk.topics.letters, 0, desk.letter(0, 8, "BAD_FRAMING"))])
    desk.audit()
    assert [Gap(GapKind.ACCOUNTED_TWICE, desk.topics.intake, 0, 8, 8, 1)] == desk.reconciled(is_stored=True)[0]


def test_decision_that_stands_there_twice_is_one_decision(desk: Desk) -> None:
    """As after a producer's retry, or a replayed message: byte for byte the same is no second decision."""
    desk.reconciled(is_stored=True)
    desk.publish([(desk.topics.decisions, 0, values(COUNT)[8])])
    desk.audit()
    assert [] == desk.reconciled(is_stored=True)[0]
    assert [] == desk.reconciled()[0]


def test_second_distinct_decision_is_named(desk: Desk) -> None:
    """Told about the topic, and about the record that it is of."""
    desk.publish([(desk.topics.decisions, 0, values(COUNT)[8])])
    desk.audit()
    desk.tamper(f"UPDATE audit.ai_decision_log SET record = record || '\\x00' WHERE topic_offset = {COUNT // 2}")
    kinds = {(gap.kind, gap.topic, gap.first_offset) for gap in desk.reconciled()[0]}
    assert (GapKind.ACCOUNTED_TWICE, desk.topics.intake, 8) in kinds
    assert (GapKind.ACCOUNTED_TWICE, desk.topics.decisions, COUNT // 2) in kinds


def test_gap_that_is_filled_is_closed(desk: Desk) -> None:
    desk.publish([(desk.topics.intake, 2, b"payment")] * 2)
    desk.commit({2: COUNT + 2})
    (gap,) = desk.reconciled(is_stored=True)[0]
    reconciler = desk.reconciler()
    assert [] == reconciler.close_filled(desk.connection)
    desk.publish([(desk.topics.letters, 0, desk.letter(2, offset)) for offset in (COUNT, COUNT + 1)])
    desk.audit()
    assert [gap] == reconciler.close_filled(desk.connection)
    assert [] == reconciler.close_filled(desk.connection)
    assert [] == desk.reconciled(is_stored=True)[0], "what came late is neither missing nor too much"


@pytest.mark.parametrize("kind", GapKind)
def test_only_what_may_be_late_is_closed_whoever_says_so(database_url: str, kind: GapKind) -> None:
    """With the credential of whoever reconciles."""
    gap = Gap(kind, "decisions.v1", 0, 4, 4, 1)
    with closing(connect(url_as(database_url, "fraud_reconcile"), "test")) as thief:
        sql = statements("pipeline.reconcile", "reconcile")["insert_gap"]
        with pytest.raises(psycopg.errors.RestrictViolation):
            thief.execute(sql, gap_row(gap, "CLOSED"))
        thief.execute(sql, gap_row(gap, "OPENED"))
        with contextlib.suppress(psycopg.errors.RestrictViolation):
            thief.execute(sql, gap_row(gap, "CLOSED"))
        events = {event for (event,) in thief.execute("SELECT event FROM control.reconciliation_gap").fetchall()}
    assert events == ({"OPENED", "CLOSED"} if kind in PASSING else {"OPENED"})


def test_nobody_takes_the_id_that_a_gap_will_have(database_url: str) -> None:
    taken = gap_row(Gap(GapKind.MISPLACED, "decisions.v1", 0, 4, 4, 1), "OPENED") | {"first_offset": 3}
    with (
        closing(connect(url_as(database_url, "fraud_reconcile"), "test")) as thief,
        pytest.raises(psycopg.errors.RestrictViolation),
    ):
        thief.execute(statements("pipeline.reconcile", "reconcile")["insert_gap"], taken)


def test_long_intake_is_taken_in_stretches(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "INTAKE_RECORDS_MAX", 7)
    gaps, looked = desk.reconciled(is_stored=True)
    assert [] == gaps
    assert [28, 28, 28, 28, 28, 20] == [each.taken_in for each in looked]
    assert 4 * COUNT == sum(each.decisions + each.dead_letters + each.duplicates for each in looked)


def test_intake_waits_until_results_are_read_to_their_end(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "RESULT_RECORDS_MAX", 50)
    gaps, looked = desk.reconciled(is_stored=True)
    assert [] == gaps
    assert [0, 0, 4 * COUNT] == [each.taken_in for each in looked]


def test_many_gaps_are_told_in_bounds_and_stored_in_full(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile_findings, "ALERTS_MAX", 2)
    desk.tamper("DELETE FROM audit.dead_letter WHERE topic_offset % 2 = 0 AND topic_offset < 12")
    assert len(desk.reconciled()[0]) == 6
    assert ["RECONCILIATION_GAP", "RECONCILIATION_GAP", "RECONCILIATION_GAPS"] == sorted(
        str(alert.code) for alert in desk.alerts()
    )
    assert [(6,)] == desk.ask("SELECT count(*) FROM control.reconciliation_gap")


def test_two_that_reconcile_do_not_both_store(desk: Desk) -> None:
    one, other = desk.reconciler(), desk.reconciler()
    stretches = [each.open(desk.connection) for each in (one, other)]
    assert None not in stretches
    for reconciler, stretch, is_first in zip((one, other), stretches, (True, False), strict=True):
        assert stretch is not None
        looked = reconciler.look(desk.connection, stretch)
        if is_first:
            assert [] == reconciler.close(desk.connection, stretch, looked)
        else:
            with pytest.raises(PositionMoved):
                reconciler.close(desk.connection, stretch, looked)
    assert [(1,)] == desk.ask("SELECT count(*) FROM control.reconciliation")


def test_what_was_found_can_not_be_taken_back(desk: Desk) -> None:
    desk.reconciled(is_stored=True)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        desk.connection.execute("DELETE FROM control.reconciliation")
    with (
        psycopg.connect(desk.database_url) as owner,
        pytest.raises(psycopg.errors.RestrictViolation, match="append-only"),
    ):
        owner.execute("UPDATE control.reconciliation SET gaps = 0")


def test_dead_letter_row_of_a_decided_record_is_named(desk: Desk) -> None:
    """Its place on the dead-letter topic doesn't exist yet, so only what it says of the record shows."""
    desk.tamper(
        """INSERT INTO audit.dead_letter (source_topic, source_partition, source_offset, source_timestamp, code, detail,
            payload_sha256, payload_length, topic_partition, topic_offset, created_at, filed_at)
        SELECT source_topic, 0, 8, source_timestamp, code, detail, payload_sha256, payload_length, 0, 1099511627776,
            created_at, filed_at FROM audit.dead_letter LIMIT 1"""
    )
    assert [Gap(GapKind.ACCOUNTED_TWICE, desk.topics.intake, 0, 8, 8, 1)] == desk.reconciled()[0]
