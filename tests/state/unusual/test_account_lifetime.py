"""What an account ever attempted, and the most unusual payment of its week: in the reference and in Redis."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.features import (
    EVENT,
    FEATURES,
    LIFETIME_SUM_MINOR_MAX,
    NONE,
    RATIO_PERCENT_MAX,
    STATE,
    UNKNOWN,
    WEIGHT_FREE_MINOR,
    feature_matrix,
    percent_of_average,
    percents_of_earlier,
    weight_minor,
)
from pipeline.domain.payment import AMOUNT_MINOR_MAX
from pipeline.state.state_event import StateEvent
from pipeline.state.unusual.account_lifetime import PEAKS_MAX, AccountLifetime
from pipeline.state.windows import MemoryState
from tests.state.stores import DAY_MS, HOUR_MS, START_MS, Store, SyncRedisState, column, observe_all, payment

MakeState = Callable[..., SyncRedisState]
GREATEST = "account_percent_of_earlier_average_max_7d"
LIFETIME = ("account_count_ever", "account_sum_minor_ever", GREATEST)


def payments(*amounts: int, step_ms: int = HOUR_MS) -> list[StateEvent]:
    return [payment(place, START_MS + place * step_ms, amount_gbp_minor=each) for place, each in enumerate(amounts)]


def test_count_and_sum_are_kept_for_ever(store: Store) -> None:
    rows = observe_all(store, payments(100, 200, 300, step_ms=400 * DAY_MS))
    assert [1, 2, 3] == column(rows, "account_count_ever")
    assert [100, 300, 600] == column(rows, "account_sum_minor_ever")


def test_the_most_unusual_payment_of_the_week_is_known_until_it_is_a_week_old(store: Store) -> None:
    events = [
        *payments(100, 100, 1_000),
        payment(3, START_MS + 2 * HOUR_MS + 7 * DAY_MS - 1),
        payment(4, START_MS + 2 * HOUR_MS + 7 * DAY_MS),
    ]
    assert [0, 0, 100, 1_000, 25] == column(observe_all(store, events), GREATEST)


def test_a_payment_is_compared_with_those_before_it_and_never_with_itself() -> None:
    event = np.full((3, len(EVENT)), NONE, dtype=np.int64)
    event[:, EVENT.index("amount_gbp_minor")] = amounts = (100, 100, 1_000)
    state = observe_all(MemoryState(), payments(*amounts))
    percent = feature_matrix(event, state)[:, FEATURES.index("amount_percent_of_earlier_average_ever")]
    assert [NONE, 100, 1_000] == percent.tolist()


@pytest.mark.parametrize("attempts", [1, 20])
def test_large_attempts_double_what_is_usual_only_by_as_many_as_were_ever_made(store: Store, attempts: int) -> None:
    """Whoever has taken an account over tries £50,000 again and again. All of it may be blocked, and none was made."""
    usual = [20_000] * 20
    rows = observe_all(store, payments(*usual, *[5_000_000] * attempts, 20_000))
    average = (column(rows, "account_sum_minor_ever")[-1] - 20_000) / (column(rows, "account_count_ever")[-1] - 1)
    assert 20_000 < average < 20_000 * (1 + 1.1 * attempts / len(usual))


def test_an_attempt_is_told_whole_in_its_own_row_and_weighs_less_in_the_next(store: Store) -> None:
    rows = observe_all(store, payments(20_000, 20_000, 5_000_000, 1))
    assert [20_000, 40_000, 5_040_000, 80_001] == column(rows, "account_sum_minor_ever")


def test_a_first_penny_does_not_make_an_honest_account_unusual_for_ever() -> None:
    lifetime = AccountLifetime()
    for number, amount in enumerate((1, *[5_000] * 10)):
        lifetime.observe(number, amount)
    assert lifetime.percent < 150


@given(st.integers(0, AMOUNT_MINOR_MAX), st.integers(0, LIFETIME_SUM_MINOR_MAX - 1), st.integers(1, 2**38))
def test_no_amount_weighs_more_than_twice_the_average_or_what_is_free(amount: int, total: int, count: int) -> None:
    weight = weight_minor(amount, total, count)
    assert 0 <= weight <= amount
    assert weight <= max(2 * total / count + 2, WEIGHT_FREE_MINOR)
    assert weight == amount or weight >= WEIGHT_FREE_MINOR


def test_payments_of_nothing_make_any_other_the_most_unusual(store: Store) -> None:
    rows = observe_all(store, payments(0, 0, 0, 1, 1))
    assert [0, 0, 0, 0, RATIO_PERCENT_MAX] == column(rows, GREATEST)


@pytest.mark.parametrize("count", [PEAKS_MAX // 2, 3 * PEAKS_MAX])
def test_an_account_that_becomes_less_unusual_each_time_is_never_told_less_than_it_was(
    redis_state: MakeState, count: int
) -> None:
    """Each payment is a peak of its own, more than are remembered; the last of them stays for longer then."""
    amounts = [100_000 - 1_000 * place for place in range(count)]
    events = [*payments(1_000, *amounts, step_ms=3 * HOUR_MS)]
    events += [payment(count + 1 + day, START_MS + day * DAY_MS // 2, amount_gbp_minor=1) for day in range(12, 32)]
    events = [
        payment(place, each.event_time_ms, amount_gbp_minor=each.amount_gbp_minor) for place, each in enumerate(events)
    ]
    expected, actual = (observe_all(each, events) for each in (MemoryState(), redis_state()))
    assert np.array_equal(expected, actual)
    told = column(actual, GREATEST)
    true = exact(events)
    assert all(mine >= least for mine, least in zip(told, true, strict=True))
    assert (told == true) == (count <= PEAKS_MAX)


def exact(events: list[StateEvent]) -> list[int]:
    seen: list[tuple[int, int]] = []
    result, total = [], 0
    for count, event in enumerate(events):
        now_ms = event.event_time_ms
        result.append(max([percent for time_ms, percent in seen if time_ms > now_ms - 7 * DAY_MS] + [0]))
        seen.append((now_ms, percent_of_average(event.amount_gbp_minor, total, count)))
        total += weight_minor(event.amount_gbp_minor, total, count)
    return result


def test_a_million_payments_take_no_more_than_a_few() -> None:
    lifetime, random = AccountLifetime(), Random(1)
    for number in range(200_000):
        lifetime.observe(number, random.randrange(10_000))
    assert len(lifetime.peaks) <= PEAKS_MAX


def test_a_sum_that_is_not_known_any_more_is_unknown_for_ever(redis_state: MakeState) -> None:
    count = LIFETIME_SUM_MINOR_MAX // AMOUNT_MINOR_MAX + 2
    events = [payment(place, START_MS + place, amount_gbp_minor=AMOUNT_MINOR_MAX) for place in range(count)]
    events.append(payment(count, START_MS + 400 * DAY_MS, amount_gbp_minor=1))
    expected, actual = (observe_all(each, events, batch=2_000) for each in (MemoryState(), redis_state()))
    assert np.array_equal(expected, actual)
    row = dict(zip(STATE, actual[-1].tolist(), strict=True))
    assert {UNKNOWN} == {row[name] for name in LIFETIME}


@given(
    st.lists(
        st.tuples(st.integers(0, AMOUNT_MINOR_MAX), st.integers(0, LIFETIME_SUM_MINOR_MAX - 1), st.integers(0, 2**38)),
        min_size=1,
    )
)
def test_both_forms_of_the_percentage_are_the_same(drawn: list[tuple[int, int, int]]) -> None:
    amount, earlier, count = (np.array(each, dtype=np.int64) for each in zip(*drawn, strict=True))
    earlier[count == 0] = 0
    told = percents_of_earlier(amount, earlier + amount, count + 1)
    assert [
        percent_of_average(a, s, n)
        for a, s, n in zip(*(each.tolist() for each in (amount, earlier, count)), strict=True)
    ] == told.tolist()
