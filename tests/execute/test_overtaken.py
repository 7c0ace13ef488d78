"""Reversals and reviews that meet each other: the first on the topic holds, the other is told and pays nothing."""

from __future__ import annotations

from contextlib import closing

import pytest

from ops.bench.rig.stored import Tail
from pipeline.domain.log import LogRecord
from pipeline.domain.reversal import RecordKind
from pipeline.io.kafka.positioned_log import LogBatch, PositionMove
from tests.execute.given import NOON_MS, PAYEE, PAYER, WIRE, Desk, decision, name_of, reversal, review

EACH_ALONE = pytest.mark.parametrize("is_one_batch", [True, False])


def heard(desk, records, *, is_one_batch):
    for batch in (records,) if is_one_batch else ([record] for record in records):
        desk.hear(*batch)


def told(stack, record):
    """The alerts about a reversal or a review: code and why."""
    alerts = [WIRE.decode_alert(found.value) for found in Tail(stack.bootstrap_servers, "alerts.v1").news()]
    found = [each for each in alerts if each.evidence.get("cause_id") == name_of(record).record_id]
    return [(each.code, each.evidence["why"]) for each in found if "why" in each.evidence]


@EACH_ALONE
def test_a_persons_block_is_not_overturned_by_a_plan_that_did_not_know_it(desk, stack, is_one_batch):
    desk.open(GB29_0001=1_000)
    held = decision("ESCALATE")
    planned = reversal(held, "ALLOW")
    heard(desk, [held, review(held, "BLOCK"), planned, planned], is_one_batch=is_one_batch)
    assert (desk.state(held), desk.balance(PAYER), desk.balance(PAYEE)) == ("REFUSED", 1_000, 0)
    assert told(stack, planned) == [("REVERSAL_OVERTAKEN", "OVERTAKEN")]


@EACH_ALONE
def test_a_review_after_the_reversal_changes_nothing_and_is_told(desk, stack, is_one_batch):
    desk.open(GB29_0001=1_000)
    held = decision("ESCALATE")
    late = review(held, "ALLOW")
    heard(desk, [held, reversal(held, "BLOCK"), late], is_one_batch=is_one_batch)
    assert (desk.state(held), desk.balance(PAYEE)) == ("REVERSED", 0)
    assert told(stack, late) == [("REVIEW_UNHEEDED", "OTHER_ROUND")]


@EACH_ALONE
def test_of_two_plans_on_one_decision_the_second_pays_nothing(desk, stack, is_one_batch):
    desk.open(GB29_0001=1_000)
    blocked = decision("BLOCK")
    first, second = reversal(blocked, None), reversal(blocked, "ALLOW")
    heard(desk, [blocked, first, second], is_one_batch=is_one_batch)
    assert (desk.state(blocked), desk.balance(PAYER)) == ("RELEASED", 1_000)
    assert told(stack, second) == [("REVERSAL_OVERTAKEN", "OVERTAKEN")]


@EACH_ALONE
def test_a_reversal_of_a_reversal_holds_once(desk, is_one_batch):
    desk.open(GB29_0001=1_000)
    paid = decision()
    undone = reversal(paid, "BLOCK")
    redone = reversal(paid, "ALLOW", undone)
    heard(desk, [paid, undone, redone, undone, redone, paid], is_one_batch=is_one_batch)
    assert (desk.state(paid), desk.balance(PAYER), desk.balance(PAYEE)) == ("SETTLED", 300, 700)
    assert desk.findings() == []


@pytest.mark.parametrize("is_named", [True, False])
def test_a_reversal_that_replaces_nothing_known_changes_nothing(desk, stack, is_named):
    desk.open(GB29_0001=1_000)
    blocked = decision("BLOCK")
    kind, name = (RecordKind.REVERSAL, blocked.decision_id) if is_named else (RecordKind.OTHER, "")
    strange = reversal(blocked, "ALLOW")._replace(replaces_kind=kind, replaces_id=name)
    desk.hear(blocked, strange)
    assert (desk.state(blocked), desk.balance(PAYEE)) == ("REFUSED", 0)
    assert told(stack, strange) == [("REVERSAL_OVERTAKEN", "OVERTAKEN")]


def test_an_outcome_on_an_unfunded_escalation_is_in_force_but_moves_nothing_and_is_told(desk, stack):
    unfunded = decision("ESCALATE")
    allowed = review(unfunded, "ALLOW")
    desk.open(GB29_0001=10)
    desk.hear(unfunded, allowed)
    desk.open(GB29_0003=10_000)
    assert (desk.state(unfunded), desk.reason(unfunded)) == ("REFUSED", "INSUFFICIENT_FUNDS")
    assert told(stack, allowed) == [("REVIEW_UNHEEDED", "NOT_HELD")]
    desk.hear(reversal(unfunded, "BLOCK"))  # it doesn't know the review
    desk.hear(reversal(unfunded, "BLOCK", allowed))
    causes = desk.connection.execute("SELECT cause, ignored FROM ledger.cause ORDER BY topic_offset").fetchall()
    assert causes == [
        ("REVIEWED_ALLOW", "NOT_HELD"),
        ("REVERSED_TO_BLOCK", "OVERTAKEN"),
        ("REVERSED_TO_BLOCK", None),
    ]


def test_what_is_in_force_outlives_the_process(executor_url, appender, rail_address, desk):
    """Each record is heard by a process of its own, which knows only what is stored."""
    desk.open(GB29_0001=1_000)
    held = decision("ESCALATE")
    once_more = reversal(held, "ESCALATE")
    allowed = review(held, "ALLOW", 2)
    for record in (held, once_more, review(held, "BLOCK"), allowed, reversal(held, "BLOCK", once_more)):
        with closing(Desk(executor_url, appender, rail_address)) as other:
            other.next_offset = desk.next_offset
            other.resume()
            other.resume()
            other.hear(record)
            desk.next_offset = other.next_offset
    assert (desk.state(held), desk.balance(PAYEE)) == ("SETTLED", 700)
    ignored = desk.connection.execute("SELECT ignored FROM ledger.cause ORDER BY topic_offset").fetchall()
    assert ignored == [(None,), ("OTHER_ROUND",), (None,), ("OVERTAKEN",)]


@pytest.mark.parametrize(
    ("later", "code"),
    [
        (lambda about: reversal(about, "BLOCK"), "REVERSAL_OVERTAKEN"),
        (lambda about: review(about, "ALLOW"), "REVIEW_UNHEEDED"),
        (lambda about: reversal(about, None), "REVERSAL_OVERTAKEN"),
    ],
)
@pytest.mark.parametrize("offset", [0, 1, 1_000])
def test_what_stands_on_another_partition_than_its_decision_is_told_and_stops_nobody(desk, stack, later, code, offset):
    desk.open(GB29_0001=10_000, GB29_0002=0)
    held, other = decision("ESCALATE"), decision()
    desk.hear(decision(), held)
    astray = later(held)
    records = [
        LogRecord(1, offset, NOON_MS + 50, b"", b"-", astray),
        LogRecord(1, offset + 1, NOON_MS + 51, b"", b"-", other),
    ]
    desk.execution.accept(desk.connection, desk.audited(LogBatch(records, [PositionMove(1, 0, offset + 2)])))
    assert (desk.state(held), desk.state(other)) == ("HELD", "SETTLED")
    assert told(stack, astray) == [(code, "ELSEWHERE")]
    desk.hear(review(held, "BLOCK"))
    assert desk.state(held) == "REFUSED"
    assert desk.findings() == []


def test_what_was_heard_elsewhere_is_not_in_force_after_a_start_either(desk):
    desk.open(GB29_0001=10_000, GB29_0002=0)
    paid = decision()
    desk.hear(paid)
    astray = reversal(paid, "BLOCK")
    batch = LogBatch([LogRecord(1, 7, NOON_MS + 50, b"", b"-", astray)], [PositionMove(1, 0, 8)])
    desk.execution.accept(desk.connection, desk.audited(batch))
    desk.hear(reversal(paid, "ALLOW", after=astray))
    assert desk.state(paid) == "SETTLED"
    desk.hear(reversal(paid, "BLOCK"))
    assert desk.state(paid) == "REVERSED"
