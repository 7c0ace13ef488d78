"""Accounts and beneficiaries with many payments: read by pages, moved when full, capped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random

import numpy as np
import pytest
import redis

from pipeline.domain.features import ACCOUNT_PAYMENTS_MAX, BENEFICIARY_PAYMENTS_MAX, STATE, UNKNOWN
from pipeline.state import windows
from pipeline.state.state_event import StateEvent
from pipeline.state.windows import MemoryState
from tests.state.stores import DAY_MS, HOUR_MS, START_MS, SyncRedisState, column, observe_all, payment
from tests.state.streams import label_of

MakeState = Callable[..., SyncRedisState]


def busy(count: int, *, step_ms: int, payees: int, seed: int = 1) -> list[StateEvent]:
    """Return events of one account that pays its payees at random, with bursts and silences of hours."""
    random, now_ms, events = Random(seed), START_MS, []
    for offset in range(count):
        now_ms += 10 * HOUR_MS if random.random() < 0.002 else random.randrange(2 * step_ms)
        events.append(
            payment(
                offset,
                now_ms,
                beneficiary_account_id=f"payee-{random.randrange(payees)}",
                amount_gbp_minor=random.randrange(10_000),
                is_near_limit=random.random() < 0.1,
            )
        )
    return events


@pytest.mark.parametrize(("step_ms", "payees"), [(2 * DAY_MS, 3), (12 * HOUR_MS, 20), (HOUR_MS, 300), (60_000, 1)])
def test_a_long_history_is_counted_as_the_reference_counts_it(
    redis_state: MakeState, step_ms: int, payees: int
) -> None:
    events = busy(2_500, step_ms=step_ms, payees=payees)
    expected = observe_all(MemoryState(), events, batch=170)
    assert np.array_equal(expected, observe_all(redis_state(), events, batch=170))


def test_labels_find_payments_anywhere_in_a_long_history(redis_state: MakeState) -> None:
    events = busy(2_000, step_ms=HOUR_MS // 2, payees=1)
    stores = [MemoryState(), redis_state()]
    before = [observe_all(store, events[:1500], batch=300) for store in stores]
    assert np.array_equal(*before)
    for event in events[:1500:7]:
        for store in stores:
            store.label(label_of(event, fraud=event.offset % 2 == 0))
    tails = [windows.PartitionEvents(0, 1500, 2000, 1500, events[1500:]) for _ in stores]
    after = [store.observe([tail])[0].state for store, tail in zip(stores, tails, strict=True)]
    assert max(column(after[0], "beneficiary_frauds_7d")) > 10
    assert np.array_equal(*after)


def test_payments_beyond_the_cap_leave_windows_unknown_until_they_would_have_left(redis_state: MakeState) -> None:
    """In a burst all windows hold the same payments, so all are capped alike; after a silence all leave at once."""
    count = ACCOUNT_PAYMENTS_MAX + 300
    events = [
        payment(offset, START_MS + offset, amount_gbp_minor=offset, beneficiary_account_id=f"payee-{offset % 50}")
        for offset in range(count)
    ]
    silences_ms = (HOUR_MS, DAY_MS, 7 * DAY_MS, 40 * DAY_MS)
    events += [payment(count + number, START_MS + count + ms) for number, ms in enumerate(silences_ms)]
    rows = observe_all(redis_state(), events, batch=1000)
    assert np.array_equal(observe_all(MemoryState(), events, batch=1000)[-400:], rows[-400:])
    last_whole = ACCOUNT_PAYMENTS_MAX - 2
    assert column(rows, "account_count_30d")[last_whole] == ACCOUNT_PAYMENTS_MAX - 1
    assert column(rows, "account_sum_minor_1h")[last_whole] == sum(range(ACCOUNT_PAYMENTS_MAX - 1))
    tail = rows[last_whole + 1 :]
    of_windows = [name for name in STATE if name.startswith("account_") and name.endswith(("1h", "24h", "7d", "30d"))]
    of_windows.remove("account_percent_of_earlier_average_max_7d")  # its peaks are few, whatever the window holds
    assert len(of_windows) == 13
    for name in of_windows:
        full = len(tail) - 4 + ("1h", "24h", "7d", "30d").index(name.rsplit("_", 1)[1])
        assert set(column(tail[:full], name)) == {UNKNOWN}
        assert UNKNOWN not in column(tail[full:], name)


def test_a_fraud_that_payments_of_nothing_push_out_still_counts(redis_state: MakeState) -> None:
    """Labelled before or after it was pushed out, until it would have left."""
    frauds = [payment(offset, START_MS + offset, account_id=f"victim-{offset}") for offset in range(4)]
    flood = [
        payment(4 + offset, START_MS + HOUR_MS + offset, account_id=f"mule-{offset % 50}", amount_gbp_minor=0)
        for offset in range(BENEFICIARY_PAYMENTS_MAX)
    ]
    stores = [MemoryState(), redis_state()]
    start = len(frauds) + len(flood)
    asked = [(start, HOUR_MS, 3), (start + 1, 36 * DAY_MS, 4), (start + 2, 37 * DAY_MS, 0)]
    for store in stores:
        observe_all(store, frauds)
        assert [store.label(label_of(event)) for event in frauds[:3]] == [True] * 3
        for place in range(0, len(flood), 1000):
            first = 4 + place
            store.observe([windows.PartitionEvents(0, first, first + 1000, first, flood[place : place + 1000])])
        for offset, after_ms, expected in asked:
            late = payment(offset, START_MS + HOUR_MS + BENEFICIARY_PAYMENTS_MAX + after_ms, account_id="victim")
            (observation,) = store.observe([windows.PartitionEvents(0, offset, offset + 1, offset, [late])])
            row = dict(zip(STATE, observation.state[0].tolist(), strict=True))
            assert row["beneficiary_confirmed_frauds"] == expected
            if offset == start + 1:  # all but this payment are old enough for labels
                labelled = row["beneficiary_labelled_30d"], row["beneficiary_frauds_30d"]
                assert labelled == (BENEFICIARY_PAYMENTS_MAX - 1, expected)
            if offset == start:
                of_windows = [row[name] for name in STATE if name.startswith("beneficiary_") and name[-1] in "dh"]
                assert of_windows == [UNKNOWN] * 12
                assert store.label(label_of(frauds[3]))
                assert not store.label(label_of(frauds[3], fraud=False))
                assert not store.label(label_of(replace(frauds[3], event_time_ms=START_MS - 37 * DAY_MS)))
                assert not store.label(label_of(replace(late, account_id="nobody")))


@pytest.fixture
def small_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold the same code to bounds that a test can reach."""
    for name, module, bound in (
        ("ACCOUNT_PAYMENTS_MAX", "account_windows", 40),
        ("BENEFICIARY_PAYMENTS_MAX", "beneficiary_windows", 60),
        ("ACCOUNT_BENEFICIARIES_MAX", "account_windows", 5),
    ):
        monkeypatch.setattr(f"pipeline.state.{module}.{name}", bound)
        monkeypatch.setattr(f"pipeline.state.store.{name}", bound)


@pytest.mark.usefixtures("small_caps")
@pytest.mark.parametrize("step_ms", [60_000, 2 * HOUR_MS, 12 * HOUR_MS])
@pytest.mark.parametrize("delay_days", [0, 7, 30])
def test_every_bound_is_kept_as_the_reference_keeps_it(redis_state: MakeState, step_ms: int, delay_days: int) -> None:
    events = [
        replace(event, account_id=f"account-{event.offset % 3}", beneficiary_account_id=f"payee-{event.offset % 8 % 7}")
        for event in busy(900, step_ms=step_ms, payees=1)
    ]
    stores = [MemoryState(label_delay_days=delay_days), redis_state(label_delay_days=delay_days)]
    start = 0
    for place in range(0, len(events), 45):
        part = windows.PartitionEvents(0, start, start + 45, start, events[place : place + 45])
        expected, actual = (store.observe([part])[0].state for store in stores)
        assert np.array_equal(expected, actual)
        for event in part.events[::4]:
            found = {store.label(label_of(event)) for store in stores}
            assert len(found) == 1
        start = part.end_offset


@pytest.mark.parametrize(("buckets", "hourly"), [(4, 1), (1, 10)])
def test_ids_that_are_no_longer_kept_leave_their_buckets(
    redis_state: MakeState, redis_at: str, buckets: int, hourly: int
) -> None:
    """A bucket of 1,680 ids takes a purge several steps.

    A purge begins at the first id of 16 by hash after the bucket grew by a fifth; four such waits are allowed.
    """
    events = [payment(offset, START_MS + offset * HOUR_MS // hourly) for offset in range(4_000)]
    observe_all(redis_state(claim_buckets=buckets), events)
    with redis.Redis.from_url(redis_at) as client:
        kept = sum(client.hlen(key) for key in client.scan_iter("fraud:*{s0}c:*"))
    needed = 7 * 24 * hourly
    assert needed <= kept <= 1.2 * needed + 4 * buckets * 16
