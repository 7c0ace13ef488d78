"""What the executor tells of the payment itself, at every state and from one process to the next."""

from __future__ import annotations

from contextlib import closing

import pytest

from ops.bench.rig.stored import Tail
from pipeline.domain.execution import Execution
from pipeline.domain.features import COLUMN, NONE, UNKNOWN
from pipeline.io.avro.wire import WireFormat
from pipeline.state.outcome_records import outcome_of_execution
from pipeline.state.outcomes import Effect, effect_of
from tests.execute.given import NOON_MS, Desk, decision, execution_of, reversal, review

WIRE = WireFormat()
LOGGED_MS = NOON_MS + 1_500


def counted(outcome="ALLOW", count_1h=3, amount_gbp_minor=640):
    """Return a decision on a payment whose snapshot has this count and amount, and that was logged a little later."""
    made = decision(outcome)
    features = list(made.snapshot.features)
    features[COLUMN["account_count_1h"]] = count_1h
    features[COLUMN["amount_gbp_minor"]] = amount_gbp_minor
    return made._replace(source_timestamp_ms=LOGGED_MS, snapshot=made.snapshot._replace(features=tuple(features)))


def told_of(stack, record) -> list[Execution]:
    news = Tail(stack.bootstrap_servers, "executions.v1").news()
    executions = [WIRE.decode_execution(found.value) for found in news if record.transaction_id.encode() in found.value]
    ours = [each for each in executions if each.execution_id == execution_of(record)]
    return sorted(ours, key=lambda each: each.sequence)


def test_every_state_of_a_payment_is_told_with_its_time_and_amount(desk, stack):
    desk.open(GB29_0001=1_000)
    held = counted("ESCALATE")
    desk.hear(held)
    allowed = review(held, "ALLOW")
    desk.hear(allowed)
    desk.hear(reversal(held, "BLOCK", allowed))
    told = told_of(stack, held)
    assert [each.state for each in told] == ["HELD", "SETTLED", "REVERSED"]
    known = {(each.payment_time_ms, each.amount_gbp_minor, each.payment_logged_at_ms) for each in told}
    assert known == {(NOON_MS, 640, LOGGED_MS)}


@pytest.mark.parametrize(("count_1h", "amount_gbp_minor"), [(NONE, NONE), (UNKNOWN, 640), (1, 640)])
def test_the_amount_is_told_where_the_payment_was_counted(desk, stack, count_1h, amount_gbp_minor):
    blocked = counted("BLOCK", count_1h)
    desk.hear(blocked)
    [told] = told_of(stack, blocked)
    assert (told.state, told.amount_gbp_minor) == ("REFUSED", amount_gbp_minor)


def test_another_process_tells_the_same_of_a_payment_that_stands(desk, stack, executor_url, appender):
    desk.open(GB29_0001=1_000)
    paid = counted()
    desk.hear(paid)
    with closing(Desk(executor_url, appender, desk.rail_address)) as second:
        second.next_offset = desk.next_offset
        second.resume()
        second.hear(reversal(paid, "BLOCK"))
    first, later = told_of(stack, paid)
    assert later.state == "REVERSED"
    assert (later.payment_time_ms, later.amount_gbp_minor, later.payment_logged_at_ms) == (NOON_MS, 640, LOGGED_MS)
    assert (first.amount_gbp_minor, first.execution_id) == (640, later.execution_id)


def test_an_execution_from_before_the_columns_tells_that_it_does_not_know(desk, stack, owner):
    """Its payee stays unknown, and its amount stays in the volume."""
    desk.open(GB29_0001=1_000)
    paid = counted()
    desk.hear(paid)
    forgotten = "amount_gbp_minor = DEFAULT, payment_logged_at = DEFAULT"
    with owner.transaction():  # as a replica, because triggers keep even the owner from changing a row
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute(f"UPDATE ledger.execution SET {forgotten} WHERE transaction_id = %s", [paid.transaction_id])
    desk.hear(reversal(paid, "ESCALATE"))
    desk.hear(review(paid, "ALLOW"))
    last = told_of(stack, paid)[-1]
    assert (last.state, last.amount_gbp_minor, last.payment_logged_at_ms) == ("SETTLED", NONE, NONE)
    assert effect_of(outcome_of_execution(last)) is Effect.ALLOW
