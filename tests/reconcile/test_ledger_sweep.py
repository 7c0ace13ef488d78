"""What somebody writes into the ledger past its triggers, as a superuser, is found wherever it claims to belong."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ops.stack.embedded import EmbeddedStack
from pipeline.execute.ledger_admin_store import findings
from pipeline.reconcile.gaps import Gap, GapKind
from pipeline.reconcile.ledger_sweep_store import LEDGER
from tests.reconcile.desk import Desk
from tests.servers import unused_prefix, url_as

_AT = "topic_partition = 0 AND topic_offset = 4"
_EXECUTION = f"(SELECT execution_id FROM audit.ai_decision_log WHERE {_AT})"
_HELD = "(SELECT execution_id FROM ledger.execution_state WHERE state = 'HELD' ORDER BY topic_offset LIMIT 1)"


@pytest.fixture
def desk(stack: EmbeddedStack, database_url: str, rail_address: str, tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(stack, database_url, rail_address, tmp_path, unused_prefix())
    desk.fill()
    yield desk
    desk.close()


def swept(desk: Desk, *, is_stored: bool = True) -> list[Gap]:
    reconciler, found = desk.reconciler(is_stored=is_stored), list[Gap]()
    while (gaps := reconciler.sweep_ledger(desk.connection)) is not None:
        found += gaps
    return found


def kinds(gaps: list[Gap]) -> set[GapKind]:
    return {gap.kind for gap in gaps}


def test_whole_ledger_is_not_accused(desk: Desk) -> None:
    assert [] == swept(desk)
    assert [] == desk.reconciler().name_stale_holds(desk.connection)
    assert [] == findings(desk.connection)


MADE_UP = """
    INSERT INTO ledger.execution (execution_id, decision_id, transaction_id, account_id, beneficiary_account_id,
        currency, amount_minor, cause, aim, event_time, caused_at, logged_at, topic_partition, topic_offset)
    SELECT '00000000-0000-4000-8000-000000000001', gen_random_uuid(), 'tx-made-up', account_id, 'thief', currency,
        100000000, 'DECIDED_ALLOW', 'SETTLE', event_time, caused_at, logged_at, 0, 77 FROM ledger.execution LIMIT 1"""
STOLEN = """
    INSERT INTO ledger.posting (posting_id, execution_id, step, attempt, source_account_id, destination_account_id,
        currency, amount_minor, event_time, caused_at)
    SELECT gen_random_uuid(), execution_id, 'CREDIT', 1, '/clearing', 'thief', currency, amount_minor, event_time,
        caused_at FROM ledger.execution WHERE beneficiary_account_id = 'thief'"""


def test_made_up_payment_is_found_behind_what_was_compared(desk: Desk) -> None:
    """Finding 7: executions with made-up ids, beyond the place that reconciliation has come to or long before it."""
    assert [] == desk.reconciled(is_stored=True)[0]
    assert [] == swept(desk)
    desk.tamper(MADE_UP, STOLEN)
    found = swept(desk)
    assert kinds(found) == {GapKind.EXECUTION_UNFOUNDED, GapKind.MISPLACED, GapKind.POSTED_OTHERWISE}
    assert Gap(GapKind.EXECUTION_UNFOUNDED, desk.topics.decisions, 0, 77, 77, 1) in found
    assert [] == swept(desk), "told once"
    assert {"RECONCILIATION_GAP"} == {str(alert.code) for alert in desk.alerts()}
    codes = {finding.code for finding in findings(desk.connection)}
    assert codes == {"EXECUTION_UNFOUNDED", "MISPLACED", "POSTED_OTHERWISE"}


CHANGES = {
    "amount": "amount_minor = amount_minor + 1",
    "currency": "currency = 'EUR'",
    "payee": "beneficiary_account_id = 'thief'",
    "payer": "account_id = 'thief'",
    "outcome": "cause = 'DECIDED_BLOCK'",
    "decision": "decision_id = gen_random_uuid()",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_execution_otherwise_than_decided_is_found_by_its_stretch(desk: Desk, change: str) -> None:
    desk.tamper(f"UPDATE ledger.execution SET {change} WHERE execution_id = {_EXECUTION}")
    gaps = desk.reconciled()[0]
    assert Gap(GapKind.HEARD_OTHERWISE, desk.topics.decisions, 0, 4, 4, 1) in gaps
    assert "HEARD_OTHERWISE" in {finding.code for finding in findings(desk.connection)}


def test_steps_that_skip_the_saga_are_found(desk: Desk) -> None:
    desk.tamper(f"UPDATE ledger.transition SET to_state = 'DEBITED' WHERE execution_id = {_EXECUTION}")
    found = kinds(desk.reconciled()[0])
    assert {GapKind.UNFINISHED, GapKind.STEPPED_OTHERWISE} <= found


def test_posting_of_nothing_is_found_by_its_number(desk: Desk) -> None:
    desk.tamper(
        "INSERT INTO ledger.posting (number, posting_id, execution_id, step, attempt, source_account_id,"
        " destination_account_id, currency, amount_minor, event_time, caused_at) SELECT"
        " nextval('ledger.posting_number'), gen_random_uuid(), gen_random_uuid(), 'FUND', 1, '/funding', 'thief',"
        " 'GBP', 100, now(), '1970-01-01'"
    )
    number = desk.ask("SELECT last_value FROM ledger.posting_number")[0][0]
    assert isinstance(number, int)
    assert [Gap(GapKind.POSTED_OTHERWISE, LEDGER, 0, number, number, 1)] == swept(desk)
    assert [Gap(GapKind.POSTED_OTHERWISE, LEDGER, 0, number, number, 1)] == swept(desk, is_stored=False)


PLANTED = (
    "INSERT INTO ledger.posting (number, posting_id, execution_id, step, attempt, source_account_id,"
    " destination_account_id, currency, amount_minor, event_time, caused_at) VALUES"
    " ({}, gen_random_uuid(), gen_random_uuid(), 'FUND', 1, '/funding', 'thief', 'GBP', 100, now(), '1970-01-01')"
)


def test_posting_that_was_under_way_is_looked_at_once_it_is_there(desk: Desk) -> None:
    """Its number was given before the numbers that were looked at meanwhile."""
    assert [] == swept(desk)
    with psycopg.connect(desk.database_url) as thief:
        thief.execute("SET LOCAL session_replication_role = replica")
        thief.execute(PLANTED.format("nextval('ledger.posting_number')"))
        desk.tamper(PLANTED.format("nextval('ledger.posting_number')"))
        assert kinds(swept(desk)) == {GapKind.POSTED_OTHERWISE}
        reconciler = desk.reconciler()
        while reconciler.sweep_ledger(desk.connection) is not None:
            pass
        thief.commit()
    found = reconciler.sweep_ledger(desk.connection)
    assert found is not None
    assert kinds(found) == {GapKind.POSTED_OTHERWISE}


def test_open_transaction_of_a_reader_hides_nothing(desk: Desk) -> None:
    assert [] == swept(desk)
    with psycopg.connect(url_as(desk.database_url, "fraud_reader")) as reader:
        reader.execute("SELECT pg_current_xact_id()")
        desk.tamper(MADE_UP, STOLEN)
        assert GapKind.EXECUTION_UNFOUNDED in kinds(swept(desk))


@pytest.mark.parametrize("number", [10**15, 2**62])
def test_posting_with_a_number_that_nobody_gave_is_found(desk: Desk, number: int) -> None:
    assert [] == swept(desk)
    desk.tamper(PLANTED.format(number))
    assert [Gap(GapKind.POSTED_OTHERWISE, LEDGER, 0, number, number, 1)] == swept(desk)
    with pytest.raises(psycopg.errors.CheckViolation):
        desk.tamper(PLANTED.format(-5))


def test_database_that_was_laid_out_anew_is_looked_at_whole(desk: Desk) -> None:
    assert [] == swept(desk)
    desk.tamper(PLANTED.format("nextval('ledger.posting_number')"))
    desk.tamper("UPDATE control.consumer_position SET next_offset = 2::bigint ^ 60 WHERE consumer LIKE '%-postings'")
    assert kinds(swept(desk)) == {GapKind.POSTED_OTHERWISE}


def test_hold_that_no_case_frees_is_told_once_and_closes(desk: Desk) -> None:
    desk.tamper(
        f"UPDATE ledger.transition SET recorded_at = now() - interval '16 minutes' WHERE execution_id = {_HELD}"
    )
    ((partition, offset),) = desk.ask(
        f"SELECT topic_partition, topic_offset FROM ledger.execution WHERE execution_id = {_HELD}"
    )
    assert isinstance(partition, int)
    assert isinstance(offset, int)
    stale = Gap(GapKind.STALE_HOLD, desk.topics.decisions, partition, offset, offset, 1)
    reconciler = desk.reconciler()
    assert [stale] == reconciler.name_stale_holds(desk.connection)
    assert [] == reconciler.name_stale_holds(desk.connection)
    assert [stale] == desk.reconciler(is_stored=False).name_stale_holds(desk.connection)
    assert ["STALE_HOLD"] == [finding.code for finding in findings(desk.connection)]
    assert [] == reconciler.close_filled(desk.connection)
    desk.tamper(CASE.format(held=_HELD, expires="now() + interval '1 hour'"), EVENT)
    assert [] == desk.reconciler(is_stored=False).name_stale_holds(desk.connection)
    assert [stale] == reconciler.close_filled(desk.connection)


def test_hold_beyond_its_case_is_stale(desk: Desk) -> None:
    desk.tamper(
        f"UPDATE ledger.transition SET recorded_at = now() - interval '16 minutes' WHERE execution_id = {_HELD}",
        CASE.format(held=_HELD, expires="now() - interval '16 minutes'"),
        EVENT,
    )
    assert [GapKind.STALE_HOLD] == [gap.kind for gap in desk.reconciler().name_stale_holds(desk.connection)]


CASE = """
    INSERT INTO review.review_case (decision_id, round, review_id, cause_id, transaction_id, account_id, currency,
        amount_minor, amount_gbp_minor, summary, opened_at, expires_at, topic_partition, topic_offset)
    SELECT decision_id, 1, gen_random_uuid(), decision_id, transaction_id, account_id, currency, amount_minor,
        amount_minor, 'held', now() - interval '1 day', {expires}, topic_partition, topic_offset
    FROM ledger.execution WHERE execution_id = {held}"""
EVENT = """
    INSERT INTO review.case_event (decision_id, round, sequence, kind, actor, at)
    SELECT decision_id, 1, 1, 'OPENED', 'fraud-review', now() FROM review.review_case"""
