"""The traffic generator: deterministic, ordered, valid, and with the frauds it promises."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from models.simulator import (
    LabelledTransaction,
    Scenario,
    TrafficEvent,
    TrafficSettings,
    traffic_events,
    transactions,
)
from pipeline.domain.context import Account, Label, RiskSignal
from pipeline.domain.log import Source
from pipeline.domain.refusals import refusal_of

HOUR_MS = 3_600_000
START_MS = 1_790_812_800_000
FRAUDS = {
    Scenario.PUSH_PAYMENT,
    Scenario.ACCOUNT_TAKEOVER,
    Scenario.CARD_TESTING,
    Scenario.STRUCTURING,
    Scenario.COMPROMISED_MERCHANT,
}


def settings(seed: int = 5, **changes: Any) -> TrafficSettings:
    chosen = {"accounts": 600, "start_ms": START_MS, "days": 12} | changes
    return TrafficSettings(seed=seed, **chosen)


@pytest.fixture(scope="module")
def stream() -> list[TrafficEvent]:
    return list(traffic_events(settings(fraud_share=0.05)))


def test_equal_settings_give_equal_streams(stream: list[TrafficEvent]) -> None:
    assert stream == list(traffic_events(settings(fraud_share=0.05)))


def test_another_seed_gives_another_stream() -> None:
    first, second = (list(itertools.islice(transactions(settings(seed)), 50)) for seed in (1, 2))
    assert first != second


def test_time_never_falls_and_ids_number_the_stream(stream: list[TrafficEvent]) -> None:
    paid = [event.transaction for event in stream if isinstance(event, LabelledTransaction)]
    assert [t.transaction_id for t in paid] == [f"tx-{number:012d}" for number in range(1, len(paid) + 1)]
    times = [_time_ms(event) for event in stream]
    assert times == sorted(times)


def test_every_payment_is_acceptable(stream: list[TrafficEvent]) -> None:
    paid = [event.transaction for event in stream if isinstance(event, LabelledTransaction)]
    assert len(paid) > 5_000
    refusals = {refusal_of(t, t.account_id.encode(), Source(0, 0, t.event_time_ms)) for t in paid}
    assert refusals == {None}


def test_fraud_is_what_the_scenario_says_and_near_the_wanted_share() -> None:
    made = Counter(each.scenario for each in transactions(settings(fraud_share=0.05, accounts=1000, days=40)))
    assert {scenario for scenario in FRAUDS if made[scenario]} == FRAUDS
    share = sum(made[scenario] for scenario in FRAUDS) / made.total()
    assert 0.03 < share < 0.07


def test_label_of_every_fraud_comes_1_to_6_days_later() -> None:
    stream = list(traffic_events(settings(days=20, fraud_share=0.02)))
    end_ms = START_MS + 20 * 86_400_000
    labels = {event.transaction_id: event for event in stream if isinstance(event, Label)}
    frauds = [event.transaction for event in stream if isinstance(event, LabelledTransaction) and event.fraud]
    old = [t for t in frauds if t.event_time_ms < end_ms - 6 * 86_400_000]
    assert len(old) > 50
    assert all(labels[t.transaction_id].fraud for t in old)
    delays = {(label.labelled_at_ms - label.event_time_ms) // 86_400_000 for label in labels.values()}
    assert delays <= {1, 2, 3, 4, 5, 6}


def test_reports_of_an_entity_count_up_after_its_first_fraud(stream: list[TrafficEvent]) -> None:
    counts: Counter[str] = Counter()
    seen: set[str | None] = set()
    for event in stream:
        if isinstance(event, LabelledTransaction) and event.fraud:
            seen |= {event.transaction.ip_address, event.transaction.device_id}
        elif isinstance(event, RiskSignal):
            counts[event.entity] += 1
            assert event.fraud_reports == counts[event.entity]
            assert event.entity in seen
    assert counts.total() > 20


def test_profiles_come_first_one_an_account(stream: list[TrafficEvent]) -> None:
    profiles = [event for event in stream if isinstance(event, Account)]
    assert stream[: len(profiles)] == profiles
    assert 450 < len({profile.account_id for profile in profiles}) == len(profiles) <= 600


def test_guardrail_hits_come_only_when_asked_for() -> None:
    plain = [each.transaction for each in transactions(settings(days=4))]
    broken = [each.transaction for each in transactions(settings(days=4, guardrail_share=0.1))]
    for wanted, paid in ((False, plain), (True, broken)):
        assert any(t.beneficiary_country == "KP" for t in paid) == wanted
        assert any(t.reference is None for t in paid) == wanted
        assert any(t.currency == "XPT" for t in paid) == wanted


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="accounts"):
        settings(accounts=1)
    with pytest.raises(ValueError, match="hour"):
        settings(start_ms=1)


def _time_ms(event: TrafficEvent) -> int:
    if isinstance(event, LabelledTransaction):
        return event.transaction.event_time_ms
    if isinstance(event, Account):
        return event.updated_at_ms
    return event.observed_at_ms if isinstance(event, RiskSignal) else event.labelled_at_ms


QUIET: dict[str, Any] = {"accounts": 2_000, "days": 32, "quiet_days": 30, "quiet_share": 0.1, "profile_share": 1.0}


def test_a_quiet_month_holds_few_payments_and_a_normal_months_money() -> None:
    """Accounts spend in 30 quiet days what they declare, half of them to within a fifth or so."""
    quiet, spent, normal = settings(**QUIET), Counter[str](), dict[str, int]()
    count = 0
    for event in itertools.takewhile(lambda event: _time_ms(event) < quiet.busy_from_ms, traffic_events(quiet)):
        if isinstance(event, Account):
            normal[event.account_id] = event.normal_month_gbp_minor or 0
        elif isinstance(event, LabelledTransaction):
            count += 1
            spent[event.transaction.account_id] += event.transaction.amount_minor
    pounds = [account_id for account_id in normal if account_id.startswith("GB")]
    percents = sorted(100 * spent[account_id] // normal[account_id] for account_id in pounds)
    assert quiet.accounts == len(normal), "every account declares its normal month"
    assert 6 < count / quiet.accounts < 9, "a fifteenth of what 1.5 payments a day and the bills come to"
    assert 80 <= percents[len(percents) // 2] <= 110
    assert 30 <= percents[len(percents) // 20]
    assert percents[len(percents) * 19 // 20] <= 220


def test_quiet_days_have_no_frauds_and_the_days_after_them_have() -> None:
    quiet = settings(**QUIET, fraud_share=0.05)
    is_fraud_of = [(paid.transaction.event_time_ms < quiet.busy_from_ms, paid.fraud) for paid in transactions(quiet)]
    assert (True, True) not in is_fraud_of
    assert (False, True) in is_fraud_of


def test_around_the_clock_every_quarter_of_the_day_has_as_many_payments_bills_and_frauds() -> None:
    """By local time people sleep, shop and pay their bills as ever; but it is every time of the day somewhere."""
    around = settings(accounts=4_000, days=6, fraud_share=0.2, is_around_the_clock=True)
    paid = list(transactions(around))
    for scenario in (Scenario.EVERYDAY, Scenario.BILL, Scenario.ACCOUNT_TAKEOVER):
        made = [each.transaction.event_time_ms for each in paid if each.scenario == scenario]
        by_quarter = Counter(when_ms // (6 * HOUR_MS) % 4 for when_ms in made)
        assert len(made) > 400
        assert all(abs(by_quarter[quarter] - len(made) / 4) < 0.3 * len(made) / 4 for quarter in range(4)), by_quarter
    local = Counter(_local_hour(each) for each in paid if each.scenario == Scenario.EVERYDAY)
    assert local[12] > 10 * local[3]
    assert {_local_hour(each) for each in paid if each.scenario == Scenario.BILL} == {6}


def _local_hour(paid: LabelledTransaction) -> int:
    zone = ZoneInfo(paid.transaction.account_time_zone)
    return datetime.fromtimestamp(paid.transaction.event_time_ms / 1000, UTC).astimezone(zone).hour


def test_around_the_clock_payments_are_acceptable() -> None:
    paid = [each.transaction for each in transactions(settings(days=2, is_around_the_clock=True))]
    assert len({t.account_time_zone for t in paid}) == 24
    assert {refusal_of(t, t.account_id.encode(), Source(0, 0, t.event_time_ms)) for t in paid} == {None}


@pytest.mark.parametrize("changes", [{"quiet_days": 12}, {"quiet_share": 0.0}, {"profile_share": 1.1}])
def test_impossible_quiet_days_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        settings(**changes)
