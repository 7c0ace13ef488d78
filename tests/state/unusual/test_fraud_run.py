"""The run of frauds at a beneficiary, in the reference and in Redis: late labels, labels turned back, and opponents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import redis

from pipeline.domain.features import NONE, UNKNOWN
from pipeline.state.state_event import StateEvent
from pipeline.state.unusual.fraud_run import LOOKED_AT_MAX, SLIGHT_MINOR_MAX, Kind, kind_of
from pipeline.state.windows import MemoryState
from tests.state.stores import DAY_MS, HOUR_MS, START_MS, Store, SyncRedisState, column, observe_all, payment, share
from tests.state.streams import label_of

MakeState = Callable[..., SyncRedisState]
RUN, HOURS = "beneficiary_fraud_run_30d", "beneficiary_fraud_run_hours_30d"


def daily(count: int, *, step_ms: int = DAY_MS) -> list[StateEvent]:
    """Return payments of as many payers to one beneficiary."""
    return [paid(place, START_MS + place * step_ms, account_id=f"payer-{place}") for place in range(count)]


def paid(offset: int, time_ms: int, **fields: Any) -> StateEvent:
    """Return a payment that is large enough to end a run."""
    return payment(offset, time_ms, **{"amount_gbp_minor": SLIGHT_MINOR_MAX + 1, **fields})


def asks(store: Store, offset: int, time_ms: int) -> tuple[int, int]:
    """Return the run and its hours as the next payment is told them."""
    (observation,) = store.observe([share([paid(offset, time_ms, account_id=f"payer-{offset}")], start=offset)])
    return column(observation.state, RUN)[0], column(observation.state, HOURS)[0]


def labelled(store: Store, events: Sequence[StateEvent], *, fraud: bool = True) -> None:
    for event in events:
        assert store.label(label_of(event, fraud=fraud))


def test_the_run_is_what_the_checked_payments_end_with(store: Store) -> None:
    events = daily(10)
    observe_all(store, events)
    labelled(store, [*events[1:3], *events[4:7]])
    assert (3, 24 * 9) == asks(store, 10, START_MS + 13 * DAY_MS)


def test_without_labels_there_is_no_run(store: Store) -> None:
    observe_all(store, daily(10))
    assert (0, NONE) == asks(store, 10, START_MS + 20 * DAY_MS)


def test_a_payment_is_checked_a_week_after_it_was_made(store: Store) -> None:
    events = daily(2)
    observe_all(store, events)
    labelled(store, events)
    assert [(0, NONE), (1, 24 * 7), (1, 24 * 8 - 1), (2, 24 * 8)] == [
        asks(store, 2 + place, START_MS + late_ms)
        for place, late_ms in enumerate((7 * DAY_MS - 1, 7 * DAY_MS, 8 * DAY_MS - 1, 8 * DAY_MS))
    ]


def test_a_label_that_comes_late_is_put_in_its_place(store: Store) -> None:
    events = daily(10)
    observe_all(store, events)
    labelled(store, [events[5], *events[7:10]])
    assert (3, 24 * 11 - 1) == asks(store, 10, START_MS + 18 * DAY_MS - HOUR_MS)
    labelled(store, [events[6]])
    assert (5, 24 * 13 - 1) == asks(store, 11, START_MS + 18 * DAY_MS - HOUR_MS)


def test_a_label_that_is_turned_back_ends_the_run_where_its_payment_stands(store: Store) -> None:
    events = daily(10)
    observe_all(store, events)
    labelled(store, events)
    assert 10 == asks(store, 10, START_MS + 16 * DAY_MS)[0]
    labelled(store, [events[6]], fraud=False)
    assert (3, 24 * 9) == asks(store, 11, START_MS + 16 * DAY_MS)
    labelled(store, [events[2]], fraud=False)
    assert 3 == asks(store, 12, START_MS + 16 * DAY_MS)[0]
    labelled(store, [events[9]], fraud=False)
    assert (0, NONE) == asks(store, 13, START_MS + 16 * DAY_MS)


def test_a_payment_that_is_unusual_for_its_payer_is_of_no_run_and_ends_none(store: Store) -> None:
    """The payer's third payment is four times the average of the two before."""
    events = [*daily(3), *(paid(place, START_MS + place * DAY_MS, account_id="unusual") for place in (3, 4))]
    events.append(paid(5, START_MS + 5 * DAY_MS, account_id="unusual", amount_gbp_minor=4_000))
    observe_all(store, events)
    labelled(store, events[:5])
    assert 5 == asks(store, 6, START_MS + 12 * DAY_MS)[0]
    labelled(store, events[5:])
    assert 5 == asks(store, 7, START_MS + 12 * DAY_MS)[0]


def test_a_run_is_forgotten_with_its_payments(store: Store) -> None:
    events = daily(10)
    observe_all(store, events)
    labelled(store, events)
    assert [(10, 24 * 36), (9, 24 * 36), (4, 24 * 36), (0, NONE)] == [
        asks(store, 10 + place, START_MS + (36 + late) * DAY_MS) for place, late in enumerate((0, 1, 6, 30))
    ]


@pytest.mark.parametrize("count", [LOOKED_AT_MAX, LOOKED_AT_MAX + 1])
def test_a_run_that_is_too_long_to_be_looked_through_is_unknown_until_it_is_known_again(
    redis_state: MakeState, count: int
) -> None:
    """All of a flood become old enough at once, and all are fraud."""
    told = []
    for store in (MemoryState(), redis_state()):
        events = [replace(event, account_id=f"payer-{event.offset % 7}") for event in daily(count, step_ms=1)]
        observe_all(store, events, batch=1_000)
        labelled(store, events)
        woken = START_MS + 8 * DAY_MS
        answers = [asks(store, count, woken)]
        labelled(store, [events[-1]], fraud=False)
        answers.append(asks(store, count + 1, woken + 1))
        labelled(store, [events[-1]])
        answers.append(asks(store, count + 2, woken + 2))
        answers.append(asks(store, count + 3, woken + 8 * DAY_MS))
        told.append(answers)
    assert told[0] == told[1]
    known = (count, 24 * 8 - 1) if count == LOOKED_AT_MAX else (UNKNOWN, UNKNOWN)
    assert [known, (0, NONE), known, (0, NONE)] == [
        (run, hours if run == UNKNOWN or hours == NONE else 24 * 8 - 1) for run, hours in told[0]
    ]


def test_after_a_late_start_a_run_is_never_known(store: Store) -> None:
    """Who is unusual for a payer depends on all that the payer attempted before."""
    store.observe([share([], start=5)], initial=True, since_ms=START_MS)
    events = [replace(event, offset=event.offset + 5) for event in daily(3)]
    store.observe([share(events, start=5)])
    labelled(store, events)
    assert (UNKNOWN, UNKNOWN) == asks(store, 8, START_MS + 400 * DAY_MS)


@pytest.mark.parametrize("shards", [1, 2])
def test_a_payer_whose_earlier_payments_are_lost_ends_no_run(
    redis_at: str, redis_state: MakeState, shards: int
) -> None:
    """One master of a cluster is lost with the accounts of a partition, and the log no longer has their payments. A
    payment that is a thousand times the average looks like the payer's first one then, and would pass for usual."""
    store = redis_state(shards=shards)
    earlier = [payment(place, beneficiary_account_id="another", account_id="payer") for place in range(4)]
    frauds = [payment(4 + place, START_MS + place * HOUR_MS, account_id=f"payer-{place}") for place in range(3)]
    observe_all(store, [*earlier, *frauds])
    labelled(store, frauds)
    with redis.Redis.from_url(redis_at) as client:
        client.delete(*client.scan_iter("fraud:*{p0}*"))
    store.observe([share([], start=7)], initial=True, since_ms=START_MS + DAY_MS)
    store.observe([share([payment(7, START_MS + DAY_MS, amount_gbp_minor=100_000)], start=7)])
    assert (3, 24 * 9) == asks(store, 8, START_MS + 9 * DAY_MS)


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("amount_minor", [0, 1, SLIGHT_MINOR_MAX])
def test_pennies_that_a_thief_pays_his_own_shop_end_no_run(
    redis_state: MakeState, shards: int, amount_minor: int
) -> None:
    """Each is as usual as any for its payer, who pays nothing else, and nobody ever calls it fraud."""
    told = []
    for store in (MemoryState(shards=shards), redis_state(shards=shards)):
        frauds = daily(20, step_ms=HOUR_MS)
        own = [
            payment(20 + place, START_MS + DAY_MS + place * HOUR_MS, account_id="thief", amount_gbp_minor=amount_minor)
            for place in range(30)
        ]
        observe_all(store, [*frauds, *own])
        labelled(store, frauds)
        told.append(asks(store, 50, START_MS + 10 * DAY_MS))
    assert [(20, 24 * 10)] * 2 == told


def test_a_payment_that_is_slight_for_its_payer_ends_no_run_and_counts_as_fraud(store: Store) -> None:
    """The third payment is £10, and less than half of the £100 that its payer is used to pay."""
    payer: dict[str, Any] = {"account_id": "payer", "beneficiary_account_id": "another", "amount_gbp_minor": 10_000}
    events = [paid(place, START_MS + place, **payer) for place in range(2)]
    events += [paid(2 + place, START_MS + place * HOUR_MS, account_id=f"payer-{place}") for place in range(2)]
    events.append(paid(4, START_MS + DAY_MS, account_id="payer"))
    observe_all(store, events)
    labelled(store, events[2:4])
    assert 2 == asks(store, 5, START_MS + 8 * DAY_MS)[0]
    labelled(store, events[4:])
    assert 3 == asks(store, 6, START_MS + 8 * DAY_MS)[0]


def test_kinds_at_their_bounds() -> None:
    assert [Kind.DOUBTFUL, Kind.USUAL, Kind.USUAL, Kind.UNUSUAL, Kind.DOUBTFUL] == [
        kind_of(percent, 1_000) for percent in (49, 50, 200, 201, UNKNOWN)
    ]
    assert [Kind.DOUBTFUL, Kind.USUAL] == [kind_of(NONE, amount) for amount in (999, 1_000)]
    assert Kind.UNUSUAL == kind_of(1_000, 1)
