"""One party's payments, however many leave its windows at once, are let go of in calls of a bounded length."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import redis

from pipeline.domain.features import ACCOUNT_STATE
from pipeline.state.state_event import StateEvent
from pipeline.state.store import LEAVERS_MAX, RedisState
from pipeline.state.windows import MemoryState, StateLost
from tests.state.stores import (
    DAY_MS,
    HOUR_MS,
    MINUTE_MS,
    START_MS,
    SyncRedisState,
    column,
    observe_all,
    payment,
    same,
    share,
)
from tests.state.streams import label_of

MakeState = Callable[..., SyncRedisState]
EXPIRY_PATIENCE_S = 120


def burst(count: int, *, step_ms: int = 0) -> list[StateEvent]:
    """Return payments of as many senders to one beneficiary."""
    return [payment(offset, START_MS + offset * step_ms, account_id=f"payer-{offset}") for offset in range(count)]


def calls(url: str) -> int:
    """Return how many scripts the server has run."""
    with redis.Redis.from_url(url) as client:
        return int(client.info("commandstats")["cmdstat_evalsha"]["calls"])


def keys(url: str, kinds: str) -> list[bytes]:
    with redis.Redis.from_url(url) as client:
        return list(client.scan_iter(f"fraud:*{{s0}}[{kinds}]:*"))


@pytest.mark.parametrize("silent_ms", [DAY_MS - 1, 7 * DAY_MS - 1, 37 * DAY_MS - 1])
@pytest.mark.parametrize("is_one_account", [False, True])
def test_thousands_that_leave_a_window_together_are_counted_as_the_reference_counts_them(
    redis_state: MakeState, silent_ms: int, is_one_account: bool
) -> None:
    """More than Lua takes as arguments; the last payment of the burst stays in the window when the others leave."""
    events = burst(8_500)
    events.append(payment(8_500, START_MS + 1, account_id="payer-8500"))
    events.append(payment(8_501, START_MS + silent_ms + 1, account_id="payer-7"))
    if is_one_account:
        events = [replace(event, account_id="payer", beneficiary_account_id=event.account_id) for event in events]
    expected, actual = (observe_all(store, events, batch=1_000) for store in (MemoryState(), redis_state()))
    assert np.array_equal(expected, actual)


@pytest.mark.parametrize(("silent_ms", "most"), [(7 * DAY_MS, LEAVERS_MAX), (40 * DAY_MS, 0)])
def test_the_payments_that_leave_at_once_bound_what_a_call_does(
    redis_state: MakeState, redis_at: str, silent_ms: int, most: int
) -> None:
    """Windows that are empty by now take one call, all others as many as their payments make parts."""
    store, events = redis_state(), burst(3_000, step_ms=1)
    observe_all(store, events)
    before = calls(redis_at)
    store.observe([share([payment(3_000, START_MS + silent_ms + 2_000, account_id="one more")], start=3_000)])
    took = calls(redis_at) - before
    assert took == 1 if not most else took >= 2_000 * 6 / most


def test_the_runs_that_are_looked_through_at_once_bound_what_a_call_does(redis_state: MakeState, redis_at: str) -> None:
    """All payments to three beneficiaries have become old enough, and an opponent lets all three be paid in one batch.
    Each may have 4,096 to be looked through; with no allowance, a call takes one of them."""
    store, reference = redis_state(leavers_max=0), MemoryState()
    events = [replace(each, beneficiary_account_id=f"payee-{each.offset % 3}") for each in burst(60, step_ms=1)]
    wakes = [payment(60 + n, START_MS + 8 * DAY_MS, beneficiary_account_id=f"payee-{n}") for n in range(3)]
    for each in (store, reference):
        observe_all(each, events)
        assert all(each.label(label_of(event)) for event in events)
    before = calls(redis_at)
    actual = store.observe([share(wakes, start=60)])
    assert calls(redis_at) - before == 3
    assert same(reference.observe([share(wakes, start=60)]), actual)
    assert column(actual[0].state, "beneficiary_fraud_run_30d") == [20, 20, 20]


def test_a_batch_asked_behind_one_that_stops_early_is_refused_until_that_is_through(
    redis_state: MakeState, redis_at: str
) -> None:
    events = [*burst(300, step_ms=MINUTE_MS), *(payment(300 + n, START_MS + 7 * DAY_MS + n) for n in range(4))]
    for event in events[300:]:
        event.event_time_ms += 299 * MINUTE_MS - 1
    store, reference = redis_state(leavers_max=3), MemoryState()
    expected = [reference.observe([part])[0] for part in (share(events[:300]), share(events[300:302], start=300))]
    expected.append(reference.observe([share(events[302:], start=302)])[0])
    observe_all(store, events[:300])

    async def ask(state: RedisState) -> list[object]:
        batches = [[share(events[300:302], start=300)], [share(events[302:], start=302)]]
        asked = [state.observe_prepared(state.prepare(batch)) for batch in batches]
        return list(await asyncio.gather(*asked, return_exceptions=True))

    asked = store._runner.run(ask(store.state))
    assert isinstance(asked[0], list)
    assert isinstance(asked[1], StateLost)
    again = store.observe([share(events[302:], start=302)])
    assert same(expected[1:], [*asked[0], *again])


def test_a_payment_of_another_partition_counts_in_windows_that_are_whole(redis_state: MakeState) -> None:
    """A worker dies while windows are moved on: whoever comes next finds them at that time, never half of them."""
    store, reference = redis_state(leavers_max=3), MemoryState()
    events = burst(50, step_ms=HOUR_MS)
    wakes = payment(50, START_MS + 8 * DAY_MS)
    observe_all(store, events)
    observe_all(reference, events)
    store.state.commands_left = 1
    with pytest.raises(Exception, match="torn"):
        store.observe([share([wakes], start=50)])
    other = payment(0, START_MS + 8 * DAY_MS - 5 * HOUR_MS, transaction_id="other", account_id="of another partition")
    observed = store.observe([share([other], partition=1)])
    assert same(reference.observe([share([replace(other, event_time_ms=wakes.event_time_ms)], partition=1)]), observed)


def test_a_payment_that_was_labelled_fraud_counts_at_once_and_until_it_is_turned_back(redis_state: MakeState) -> None:
    stores = [MemoryState(), redis_state()]
    events = burst(40, step_ms=HOUR_MS)
    rows = [observe_all(store, events) for store in stores]
    for store in stores:
        assert all(store.label(label_of(event)) for event in events[::2])
        assert all(store.label(label_of(event, fraud=False)) for event in events[:4])
    for number, silent_ms in enumerate((0, 37 * DAY_MS, 80 * DAY_MS)):
        wakes = payment(40 + number, events[-1].event_time_ms + silent_ms - 20 * HOUR_MS)
        rows = [store.observe([share([wakes], start=40 + number)])[0].state for store in stores]
        assert np.array_equal(*rows)
        assert column(rows[0], "beneficiary_confirmed_frauds")[0] == (18, 10, 0)[number]


def test_a_beneficiarys_keys_live_as_long_as_its_windows(redis_state: MakeState, redis_at: str) -> None:
    store = redis_state(beneficiary_kept_ms=50 * DAY_MS)
    observe_all(store, burst(200, step_ms=2 * HOUR_MS))
    with redis.Redis.from_url(redis_at) as client:
        beside = [client.pttl(key) for key in keys(redis_at, "qs")]
        (log,) = [client.pttl(key) for key in keys(redis_at, "b")]
    assert len(beside) == 2
    assert 49 * DAY_MS < log <= min(beside)
    assert max(beside) <= 50 * DAY_MS


def test_made_up_payees_leave_nothing_behind_once_they_expire(redis_state: MakeState, redis_at: str) -> None:
    store = redis_state(beneficiary_kept_ms=1)
    observe_all(store, [payment(offset, beneficiary_account_id=f"payee-{offset % 50}") for offset in range(2_000)])
    deadline_s = time.monotonic() + EXPIRY_PATIENCE_S
    while keys(redis_at, "bqs"):
        assert time.monotonic() < deadline_s


def test_what_outlived_a_log_is_not_taken_for_the_next_ones(redis_state: MakeState, redis_at: str) -> None:
    """A log expires a moment before its past and its senders do."""
    store, reference = redis_state(), MemoryState()
    observe_all(store, burst(100, step_ms=1))
    with redis.Redis.from_url(redis_at) as client:
        client.delete(*keys(redis_at, "b"))
    again = [
        replace(event, offset=100 + event.offset, transaction_id=f"again-{event.offset}") for event in burst(100) * 2
    ]
    later = [replace(event, transaction_id=f"later-{place}", offset=100 + place) for place, event in enumerate(again)]
    actual = store.observe([share(later, start=100)])[0].state[:, len(ACCOUNT_STATE) :]
    whole = [replace(event, offset=place) for place, event in enumerate(later)]
    expected = reference.observe([share(whole)])[0].state[:, len(ACCOUNT_STATE) :]
    assert np.array_equal(expected, actual)
