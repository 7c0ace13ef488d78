"""Facts of context: which statement holds, and what a withdrawal takes back, in the reference and in Redis."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.context import Account, RiskSignal, RiskSignalKind
from pipeline.domain.features import NONE
from pipeline.domain.refusals import FUTURE_TOLERANCE_MS
from pipeline.state.context.facts import Facts, LogPlace
from tests.state.stores import HOUR_MS, START_MS, Store, column, payment, share

ADDRESS = "192.0.2.1"
Step = tuple[int, int, int | None]  # offset, observed at, value; None is a withdrawal


def reports(store: Store, offset: int) -> int:
    (observation,) = store.observe([share([payment(offset, ip_address=ADDRESS)], start=offset)])
    return column(observation.state, "ip_fraud_reports")[0]


def month(store: Store, offset: int) -> int:
    (observation,) = store.observe([share([payment(offset)], start=offset)])
    return column(observation.state, "account_normal_month_minor")[0]


def signal(store: Store, fraud_reports: int, observed_at_ms: int, offset: int) -> None:
    place = LogPlace(START_MS, offset)
    store.upsert_risk_signal(RiskSignal(RiskSignalKind.IP_ADDRESS, ADDRESS, fraud_reports, observed_at_ms), place)


def withdraw(store: Store, offset: int) -> None:
    store.withdraw_risk_signal(RiskSignalKind.IP_ADDRESS, ADDRESS, LogPlace(START_MS, offset))


def test_a_withdrawal_takes_back_what_was_stated_before_it_and_nothing_after_it(store: Store) -> None:
    signal(store, 3, START_MS, offset=1)
    assert reports(store, 0) == 3
    withdraw(store, 2)
    assert reports(store, 1) == 0
    signal(store, 3, START_MS, offset=1)  # read again
    assert reports(store, 2) == 0
    signal(store, 5, START_MS - 10, offset=3)  # newer in the log, although it speaks of an earlier time
    assert reports(store, 3) == 5
    withdraw(store, 2)  # read again
    assert reports(store, 4) == 5


def test_a_report_behind_a_tombstone_holds_where_the_next_leaders_clock_is_behind(store: Store) -> None:
    behind_ms = START_MS - HOUR_MS
    store.withdraw_risk_signal(RiskSignalKind.IP_ADDRESS, ADDRESS, LogPlace(START_MS, 10))
    report = RiskSignal(RiskSignalKind.IP_ADDRESS, ADDRESS, 9, behind_ms)
    store.upsert_risk_signal(report, LogPlace(behind_ms, 11))
    assert reports(store, 0) == 9
    store.withdraw_risk_signal(RiskSignalKind.IP_ADDRESS, ADDRESS, LogPlace(behind_ms - 1, 12))
    store.upsert_risk_signal(report, LogPlace(behind_ms, 11))
    assert reports(store, 1) == 0


def test_between_partitions_the_logs_time_says_which_record_is_later(store: Store) -> None:
    signal(store, 3, START_MS, offset=100)
    store.withdraw_risk_signal(RiskSignalKind.IP_ADDRESS, ADDRESS, LogPlace(START_MS + 1, 0, partition=1))
    assert reports(store, 0) == 0
    signal(store, 4, START_MS, offset=101)
    assert reports(store, 1) == 0


def test_a_record_of_a_later_incarnation_is_later_whatever_its_offset() -> None:
    facts = Facts(absent=0)
    facts.withdraw("e", LogPlace(START_MS, 100))
    facts.state("e", 9, START_MS, LogPlace(START_MS - 1, 0, incarnation=1))
    assert facts["e"] == 9


def test_a_withdrawn_declaration_is_none(store: Store) -> None:
    store.upsert_account(Account("payer", START_MS, 777), LogPlace(START_MS, 1))
    assert month(store, 0) == 777
    store.withdraw_account("payer", LogPlace(START_MS, 2))
    assert month(store, 1) == NONE
    store.withdraw_account("never declared", LogPlace(START_MS, 3))
    store.upsert_account(Account("payer", START_MS, 0), LogPlace(START_MS, 4))
    assert month(store, 2) == 0


@pytest.mark.parametrize("pinned_ms", [START_MS * 1000, START_MS + FUTURE_TOLERANCE_MS + 1])
def test_a_time_that_its_record_can_not_know_pins_nothing(store: Store, pinned_ms: int) -> None:
    signal(store, 0, pinned_ms, offset=1)
    signal(store, 4, START_MS, offset=2)
    assert reports(store, 0) == 4


def test_a_time_just_ahead_of_its_record_holds(store: Store) -> None:
    signal(store, 2, START_MS + FUTURE_TOLERANCE_MS, offset=1)
    signal(store, 4, START_MS, offset=2)
    assert reports(store, 0) == 2


def test_of_two_statements_of_one_time_the_later_in_the_log_holds(store: Store) -> None:
    signal(store, 2, START_MS, offset=2)
    signal(store, 4, START_MS, offset=1)
    assert reports(store, 0) == 2


STEPS = st.lists(st.tuples(st.integers(0, 3), st.none() | st.integers(1, 9)), max_size=7)


def applied(facts: Facts, steps: list[Step]) -> int:
    for offset, observed_at_ms, value in steps:
        place = LogPlace(START_MS, offset)
        if value is None:
            facts.withdraw("e", place)
        else:
            facts.state("e", value, observed_at_ms, place)
    return facts["e"]


@given(steps=STEPS, read_again_from=st.integers(0, 7), live_from=st.integers(0, 7))
def test_reading_again_and_replaying_give_what_reading_once_gave(
    steps: list[tuple[int, int | None]], read_again_from: int, live_from: int
) -> None:
    log: list[Step] = [(offset, observed, value) for offset, (observed, value) in enumerate(steps, 1)]
    once = applied(Facts(absent=0), log)
    last = max((offset for offset, _, value in log if value is None), default=0)
    left = [(observed, offset, value) for offset, observed, value in log if offset > last and value is not None]
    assert once == (max(left)[2] if left else 0)
    again = Facts(absent=0)
    applied(again, log)
    assert applied(again, log[read_again_from:]) == once
    lost = Facts(absent=0)  # the store was lost: the live reading goes on from somewhere, and all is replayed beside it
    applied(lost, log[live_from:])
    applied(lost, [step for step in log if step[2] is None])
    assert applied(lost, log) == once


def test_every_order_of_statements_after_their_withdrawals_gives_the_same() -> None:
    log: list[Step] = [(1, 3, 1), (2, 1, 2), (3, 2, None), (4, 1, 3), (5, 0, 4)]
    values = [step for step in log if step[2] is not None]
    for order in itertools.permutations(values):
        facts = Facts(absent=0)
        facts.withdraw("e", LogPlace(START_MS, 3))
        assert applied(facts, list(order)) == 3
