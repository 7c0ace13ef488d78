"""Payments of nothing that fill a log hide nothing of what it held (I4)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from pipeline.decide.batch import Judge, Judged, TopicNames
from pipeline.decide.policy import parse_new_policy
from pipeline.decide.verdict import Mode, regime
from pipeline.domain.decision import BreakerState, Decision, Outcome, Route
from pipeline.domain.features import FEATURES
from pipeline.domain.log import Record, Source, Span
from pipeline.domain.payment import Transaction
from pipeline.io.avro.wire import WireFormat
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.state.windows import MemoryState
from tests.decisions import decision_of
from tests.records import NOON_MS, PAYMENT, POLICY_PATH, feeds, small_model
from tests.state.stores import payment as state_event
from tests.state.streams import label_of

WIRE = WireFormat()
CLOSED, OPEN = Mode(BreakerState.CLOSED, "all", True), Mode(BreakerState.OPEN, "all", False)
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
SMALL_MAX = 200


@pytest.fixture(autouse=True)
def small_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.state.account_windows.ACCOUNT_PAYMENTS_MAX", SMALL_MAX)
    monkeypatch.setattr("pipeline.state.beneficiary_windows.BENEFICIARY_PAYMENTS_MAX", SMALL_MAX)


def pay(number: int, amount_minor: int, time_ms: int, account_id: str = PAYMENT.account_id) -> Transaction:
    return PAYMENT._replace(
        transaction_id=f"tx-{number}", amount_minor=amount_minor, event_time_ms=time_ms, account_id=account_id
    )


def decisions(state: MemoryState, payments: Sequence[Transaction], mode: Mode, start: int = 0) -> list[Decision]:
    """Return the decisions on payments that are read as one batch, at their own time."""
    partitioning = Partitioning(Partitioner.CRC32, 1)
    rules = regime(parse_new_policy(POLICY_PATH.read_bytes()), small_model(), feeds())
    judge = Judge(rules, WIRE, TopicNames("decisions.v1", "alerts.v1"), "test", partitioning.of)
    records = [
        Record(each.account_id.encode(), WIRE.encode_transaction(each), Source(0, start + place, each.event_time_ms))
        for place, each in enumerate(payments)
    ]
    reading = judge.read(records)
    span = Span(0, start, start + len(records), start)
    judged = Judged.whole(
        judge.judge(reading, state.observe(judge.state_events(reading, [span])), lambda _: mode, NOON_MS)
    )
    return [decision_of(each.value) for each in judged.outgoing if each.topic == "decisions.v1"]


@pytest.mark.parametrize("zeros", [0, SMALL_MAX])
def test_payments_of_nothing_do_not_hide_a_days_volume(zeros: int) -> None:
    """41 payments of £4,999 are £204,959, over the limit of £200,000."""
    real = [pay(number, 499_900, NOON_MS + number) for number in range(40)]
    nothing = [pay(1_000 + number, 0, NOON_MS + 1_000 + number) for number in range(zeros)]
    last = decisions(MemoryState(), [*real, *nothing, pay(99, 499_900, NOON_MS + HOUR_MS)], CLOSED)[-1]
    assert last.outcome is not Outcome.ALLOW
    assert "SOFT_DAILY_VOLUME" in last.rules_triggered if zeros else last.outcome is Outcome.BLOCK
    assert last.route is not Route.MODEL


@pytest.mark.parametrize("zeros", [0, SMALL_MAX])
def test_payments_of_nothing_do_not_hide_confirmed_frauds(zeros: int) -> None:
    state = MemoryState()
    frauds = [pay(number, 10_000, NOON_MS + number) for number in range(3)]
    decisions(state, frauds, OPEN)
    for each in frauds:
        fraud = state_event(0, each.event_time_ms, transaction_id=each.transaction_id, account_id=each.account_id)
        label = label_of(fraud)._replace(beneficiary_account_id=each.beneficiary_account_id)
        assert state.label(label)
    nothing = [pay(1_000 + number, 0, NOON_MS + 1_000 + number, f"mule-{number % 50}") for number in range(zeros)]
    last = decisions(state, [*nothing, pay(99, 20_000, NOON_MS + HOUR_MS, "victim")], OPEN, start=3)[-1]
    assert last.outcome is Outcome.BLOCK
    assert "FALLBACK_RISKY_BENEFICIARY" in last.rules_triggered


def test_a_payee_of_many_payments_a_day_is_no_stranger_to_the_model() -> None:
    """The log holds 25 days, 18 of them labelled; a fraud that was pushed out still counts among them."""
    state = MemoryState()
    begin_ms = NOON_MS - 40 * DAY_MS
    paid = [pay(number, 1_000, begin_ms + number * DAY_MS // 8, f"customer-{number}") for number in range(320)]
    decisions(state, paid[:1], CLOSED)
    fraud = state_event(0, paid[0].event_time_ms, transaction_id=paid[0].transaction_id, account_id=paid[0].account_id)
    assert state.label(label_of(fraud)._replace(beneficiary_account_id=paid[0].beneficiary_account_id))
    *_, last = decisions(state, paid[1:290], CLOSED, start=1)
    row = dict(zip(FEATURES, last.snapshot.features, strict=True))
    assert (row["beneficiary_labelled_30d"], row["beneficiary_frauds_30d"]) == (SMALL_MAX - 7 * 8, 1)
    assert last.fraud_probability_ppm is not None
    *_, later = decisions(state, paid[290:], CLOSED, start=290)
    assert later.route is Route.MODEL
