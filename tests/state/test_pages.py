"""A payment's place in its log, among the recent payments or in the past, makes no difference to the answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import redis

from pipeline.state.state_event import StateEvent
from pipeline.state.windows import MemoryState
from tests.redis_servers import REDIS_MEMORY_MAX_BYTES
from tests.state.stores import (
    DAY_MS,
    HOUR_MS,
    START_MS,
    StateUnavailable,
    Store,
    SyncRedisState,
    column,
    observe_all,
    payment,
    share,
)
from tests.state.streams import label_of

MakeState = Callable[..., SyncRedisState]
RECENT_MAX, RECEIVED_MAX = 11, 15
"""Most recent payments of an account and of a beneficiary; with one more, a page of 4 goes to the past."""


def steady(count: int, step_ms: int, *, parties: int = 1, first: int = 0) -> list[StateEvent]:
    """Return payments in equal steps; payers and payees take turns, and a payer's payees change."""
    return [
        payment(
            offset,
            START_MS + offset * step_ms,
            account_id=f"payer-{offset % parties}",
            beneficiary_account_id=f"payee-{offset * 7 % (parties + 1)}",
            amount_gbp_minor=offset + 1,
            is_near_limit=offset % 3 == 0,
        )
        for offset in range(first, first + count)
    ]


def strlen(url: str, pattern: str) -> list[int]:
    with redis.Redis.from_url(url) as client:
        return [client.strlen(key) for key in client.scan_iter(pattern)]


def test_a_page_goes_to_the_past_with_the_payment_after_the_most_that_are_recent(
    redis_state: MakeState, redis_at: str
) -> None:
    store, pasts = redis_state(), []
    for offset in range(RECEIVED_MAX + 1):
        store.observe([share([payment(offset)], start=offset)])
        pasts.append((len(strlen(redis_at, "fraud:*p:*")), len(strlen(redis_at, "fraud:*q:*"))))
    assert pasts == [(0, 0)] * RECENT_MAX + [(1, 0)] * (RECEIVED_MAX - RECENT_MAX) + [(1, 1)]


@pytest.mark.parametrize("batch", [1, 4, 5, 200])
@pytest.mark.parametrize("step_ms", [1, HOUR_MS, 7 * HOUR_MS, DAY_MS, 4 * DAY_MS])
@pytest.mark.parametrize("parties", [1, 3])
def test_payments_leave_windows_alike_from_recent_ones_and_from_the_past(
    redis_state: MakeState, batch: int, step_ms: int, parties: int
) -> None:
    events = steady(90, step_ms, parties=parties)
    expected = observe_all(MemoryState(), events, batch=batch)
    assert np.array_equal(expected, observe_all(redis_state(), events, batch=batch))


@pytest.mark.parametrize("count", range(RECENT_MAX - 1, 2 * RECEIVED_MAX + 10))
def test_labels_find_recent_payments_and_those_of_the_past(redis_state: MakeState, count: int) -> None:
    stores: list[Store] = [MemoryState(), redis_state()]
    events = steady(count, HOUR_MS)
    for store in stores:
        observe_all(store, events)
        assert all(store.label(label_of(event, fraud=True)) for event in events)
        assert all(store.label(label_of(event, fraud=False)) for event in events[::4])
        assert not store.label(label_of(events[0])._replace(account_id="nobody"))
    later = [
        payment(offset, START_MS + 7 * DAY_MS + offset * HOUR_MS // 2, beneficiary_account_id=f"payee-{offset % 2}")
        for offset in range(count, 2 * count)
    ]
    expected, actual = (store.observe([share(later, start=count)])[0].state for store in stores)
    assert max(column(expected, "beneficiary_frauds_7d")) >= 3
    assert np.array_equal(expected, actual)


@pytest.mark.parametrize("between", [0, 3, 11, 33])
def test_a_beneficiary_is_known_however_long_ago_it_was_paid(redis_state: MakeState, between: int) -> None:
    others = [payment(1 + place, START_MS + place, beneficiary_account_id="other") for place in range(between)]
    events = [payment(0), *others, payment(1 + between, START_MS + 60 * DAY_MS)]
    rows = observe_all(redis_state(), events, batch=7)
    assert column(rows, "is_new_beneficiary")[-1] == 0
    assert np.array_equal(observe_all(MemoryState(), events, batch=7), rows)


def senders(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return sum(client.hlen(key) for key in client.scan_iter("fraud:*{s0}s:payee"))


def test_senders_are_forgotten_when_their_last_payment_leaves_the_week(redis_state: MakeState, redis_at: str) -> None:
    """Two of three pay but once; the third's payment goes to the past when it has left the week already."""
    stores: list[Store] = [MemoryState(), redis_state()]
    once = [payment(offset, START_MS + offset, account_id=f"once-{offset % 2}") for offset in range(30)]
    again = [payment(offset, START_MS + offset * 8 * DAY_MS, account_id="again") for offset in range(30, 60)]
    expected, actual = (observe_all(store, once) for store in stores)
    assert np.array_equal(expected, actual)
    assert senders(redis_at) == 2
    expected, actual = (store.observe([share(again, start=30)])[0].state for store in stores)
    assert np.array_equal(expected, actual)
    assert senders(redis_at) == 0


def test_a_full_redis_forgets_no_sender(redis_state: MakeState, redis_at: str) -> None:
    stores: list[Store] = [MemoryState(), redis_state()]
    events = [payment(offset, START_MS + offset * HOUR_MS, account_id=f"payer-{offset}") for offset in range(20)]
    last = share([payment(20, START_MS + 7 * DAY_MS + 2 * HOUR_MS, account_id="payer-0")], start=20)
    for store in stores:
        observe_all(store, events)
    with redis.Redis.from_url(redis_at) as client:
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(StateUnavailable):
                stores[1].observe([last])
        finally:
            client.config_set("maxmemory", REDIS_MEMORY_MAX_BYTES)
    expected, actual = (store.observe([last])[0].state for store in stores)
    assert np.array_equal(expected, actual)


@pytest.mark.parametrize("payments", [(30, 200, 30), (100, 700, 60)])
def test_a_past_that_went_round_grows_and_shrinks_with_what_it_holds(
    redis_state: MakeState, redis_at: str, payments: tuple[int, int, int]
) -> None:
    """Few payments a month, then many, then few again."""
    now_ms, events = START_MS, []
    for count, step_ms in zip(payments, (DAY_MS, HOUR_MS, 3 * DAY_MS), strict=True):
        for _ in range(count):
            now_ms += step_ms
            events.append(payment(len(events), now_ms, beneficiary_account_id=f"payee-{len(events) % 3}"))
    middle = payments[0] + payments[1]
    stores: list[Store] = [MemoryState(), redis_state()]
    expected, actual = (observe_all(store, events[:middle], batch=9) for store in stores)
    assert np.array_equal(expected, actual)
    (grown,) = strlen(redis_at, "fraud:*p:*")
    expected, actual = (store.observe([share(events[middle:], start=middle)])[0].state for store in stores)
    assert np.array_equal(expected, actual)
    (shrunk,) = strlen(redis_at, "fraud:*p:*")
    assert shrunk < grown / 2
