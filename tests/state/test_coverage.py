"""A state that starts later than its log says UNKNOWN of what it can't know, and the truth of all else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from random import Random

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.domain.context import Account
from pipeline.domain.features import ACCOUNT_STATE, NONE, STATE, UNKNOWN
from pipeline.domain.outcome import OutcomeKind
from pipeline.state.context.facts import LogPlace
from pipeline.state.state_event import StateEvent
from pipeline.state.windows import CLAIM_KEPT_MS, MemoryState, since_of
from tests.state.stores import DAY_MS, HOUR_MS, START_MS, Store, SyncRedisState, payment, same, share
from tests.state.streams import Log, label_of, logs, outcome_of

on_redis = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TOLERANCE_MS = 5 * 60_000
FACTS = {"ip_fraud_reports", "device_fraud_reports"}


def observe(store: Store, event: StateEvent) -> dict[str, int]:
    (observation,) = store.observe([share([event], start=store.positions(0) or 0)])
    return dict(zip(STATE, observation.state[-1].tolist(), strict=True))


def unknown(row: dict[str, int]) -> set[str]:
    return {name for name, value in row.items() if value == UNKNOWN}


def late_start(store: Store, since_ms: int = START_MS - TOLERANCE_MS, *, at: int = 5) -> None:
    """Start partition 0 where nothing that happened from START_MS on is missing."""
    store.observe([share([], start=at)], initial=True, since_ms=since_ms)


def test_a_state_from_the_logs_beginning_is_whole(store: Store) -> None:
    store.observe([share([])], initial=True)
    assert unknown(observe(store, payment(0))) == set()


@pytest.mark.parametrize("timestamp_ms", [None, -1, 0, START_MS * 1000, 2**62])
def test_a_log_whose_oldest_record_has_no_time_may_lack_all_that_was_before_now(
    store: Store, timestamp_ms: int | None
) -> None:
    """A timestamp of 1970 would say that nothing is missing, whatever was deleted before it."""
    late_start(store, since_of(timestamp_ms, START_MS - TOLERANCE_MS))
    row = observe(store, payment(5, START_MS))
    assert (row["account_count_24h"], row["is_new_beneficiary"]) == (UNKNOWN, UNKNOWN)


def test_a_log_is_whole_since_the_time_of_its_oldest_record() -> None:
    assert since_of(START_MS, START_MS + DAY_MS) == START_MS


def test_all_that_looks_back_before_the_start_is_unknown(store: Store) -> None:
    late_start(store)
    row = observe(store, payment(5, START_MS))
    assert (unknown(row), row["is_unpaid_beneficiary"]) == (set(STATE) - FACTS - {"is_unpaid_beneficiary"}, 1)


@pytest.mark.parametrize(
    ("feature", "days"),
    [
        ("account_count_24h", 1),
        ("account_distinct_beneficiaries_24h", 1),
        ("account_near_limit_count_24h", 1),
        ("account_volume_minor_24h", 1),
        ("account_sum_minor_7d", 7),
        ("account_count_30d", 30),
        ("account_volume_count_30d", 30),
        ("account_volume_minor_30d", 30),
        ("beneficiary_count_24h", 1),
        ("beneficiary_senders_7d", 7),
        ("beneficiary_labelled_1d", 8),
        ("beneficiary_frauds_7d", 14),
        ("beneficiary_labelled_30d", 37),
    ],
)
@pytest.mark.parametrize("early_ms", [0, 1])
def test_a_window_is_known_once_it_lies_after_the_start(store: Store, feature: str, days: int, early_ms: int) -> None:
    late_start(store)
    row = observe(store, payment(5, START_MS + days * DAY_MS - early_ms))
    assert (row[feature] == UNKNOWN) == bool(early_ms)


def test_a_normal_month_is_known_once_its_blocks_are_whole(store: Store) -> None:
    block_ms = 30 * DAY_MS
    first_whole = -(-START_MS // block_ms)
    late_start(store)
    months = [
        observe(store, payment(5 + back, (first_whole + back) * block_ms))["account_normal_month_minor"]
        for back in range(5)
    ]
    assert [month == UNKNOWN for month in months] == [True, True, True, False, False]


def test_a_declared_month_needs_no_past(store: Store) -> None:
    late_start(store)
    store.upsert_account(Account("payer", 1, 777), LogPlace(START_MS, 0))
    assert observe(store, payment(5))["account_normal_month_minor"] == 777


def test_what_was_seen_since_the_start_is_known(store: Store) -> None:
    late_start(store)
    observe(store, payment(5, START_MS))
    row = observe(store, payment(6, START_MS + 1))
    assert (row["account_ms_since_last"], row["is_new_beneficiary"]) == (1, 0)
    assert observe(store, payment(7, START_MS + 2, beneficiary_account_id="other"))["is_new_beneficiary"] == UNKNOWN


def test_the_last_payment_before_a_gap_may_not_be_the_last(store: Store) -> None:
    observe(store, payment(0, START_MS - DAY_MS))
    late_start(store)
    assert observe(store, payment(5, START_MS))["account_ms_since_last"] == UNKNOWN


def test_a_beneficiary_is_as_whole_as_the_latest_start_of_any_partition(store: Store) -> None:
    store.observe([share([payment(0)], partition=1)])
    late_start(store)
    (observation,) = store.observe([share([payment(1)], start=1, partition=1)])
    row = dict(zip(STATE, observation.state[0].tolist(), strict=True))
    assert unknown(row) == {name for name in STATE if name.startswith("beneficiary_")}


def test_what_does_not_count_has_no_features_and_none_that_are_unknown(store: Store) -> None:
    late_start(store)
    (observation,) = store.observe([share([payment(5, is_counted=False)], start=5)])
    assert set(observation.state[0].tolist()) == {NONE}


def test_a_redelivered_payment_is_as_unknown_as_the_first_time(store: Store) -> None:
    late_start(store)
    (first,) = store.observe([share([payment(5)], start=5)])
    assert same([first], store.observe([share([payment(5)], start=5)]))


def unique(log: Log) -> Log:
    """Return the log in one partition, without copies and what is too old."""
    first_of: dict[str, StateEvent] = {}
    latest_ms = 0
    for _, event in log.records:
        latest_ms = max(latest_ms, event.event_time_ms)
        if event.event_time_ms >= latest_ms - CLAIM_KEPT_MS:
            first_of.setdefault(event.transaction_id, event)
    records = [replace(event, offset=place) for place, event in enumerate(first_of.values())]
    return Log([(0, event) for event in records], [len(records)])


def known_by_ms(event: StateEvent) -> int:
    """A time by which the record was on its topic; these logs have some that were written before their event."""
    return max(event.event_time_ms, event.log_time_ms)


@given(log=logs(), seed=st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_invariants_1_and_2_what_a_late_state_knows_is_true(log: Log, seed: int) -> None:
    """The whole state and one that lacks the beginning of the payments, of the outcomes, or of both."""
    events, random = [event for _, event in unique(log).records], Random(seed)
    told = [event for event in events if random.random() < 0.8]
    outcomes = [outcome_of(event, random.choice((*OutcomeKind,))) for event in told]
    log_times = list(accumulate(map(known_by_ms, events), max))
    start = random.randrange(len(events))
    missing = random.randrange(len(outcomes) + 1)
    whole, late = MemoryState(), MemoryState()
    whole.observe([share(events[:start])])
    if start:
        late.observe([share([], start=start)], initial=True, since_ms=log_times[start])
    whole.apply_outcomes(0, 0, len(outcomes), outcomes)
    if missing:  # an outcome comes after its payment, whose own time may lie days before that
        told_at_ms = max(map(known_by_ms, told[:missing]))
        late.apply_outcomes(0, missing, missing, [], initial=True, since_ms=told_at_ms)
    late.apply_outcomes(0, missing, len(outcomes), outcomes[missing:])
    for event in events[start:]:
        rows = [store.observe([share([event], start=event.offset)])[0].state[0].tolist() for store in (whole, late)]
        for name, true, known in zip(STATE, *rows, strict=True):
            assert known in (true, UNKNOWN), name
        if event.offset % 3 == 0:
            whole.label(label_of(event))
            late.label(label_of(event))


@given(log=logs(), shards=st.sampled_from((1, 3)), seed=st.integers(0, 2**32))
@on_redis
def test_redis_says_unknown_where_the_reference_does(
    redis_at: str, redis_state: Callable[..., SyncRedisState], log: Log, shards: int, seed: int
) -> None:
    with redis.Redis.from_url(redis_at) as client:
        client.flushall()
    random, events = Random(seed), [event for _, event in unique(log).records]
    stores: list[Store] = [MemoryState(shards=shards), redis_state(shards=shards)]
    cut, gap = sorted(random.choices(range(len(events) + 1), k=2))
    since_ms = START_MS + random.choice((0, HOUR_MS, 9 * DAY_MS))
    for store in stores:
        store.observe([share(events[:cut])])
        store.observe([share([], start=gap)], initial=True, since_ms=since_ms)
        store.apply_outcomes(0, 1, 1, [], initial=True, since_ms=since_ms + DAY_MS)
    expected, actual = (store.observe([share(events[gap:], start=gap)]) for store in stores)
    assert same(expected, actual)


def test_every_feature_of_state_has_its_coverage() -> None:
    """A new feature of the state must say when it is unknown."""
    store = MemoryState()
    late_start(store)
    store.apply_outcomes(0, 1, 1, [], initial=True, since_ms=START_MS)
    assert unknown(observe(store, payment(5))) == set(STATE) - FACTS
    assert set(ACCOUNT_STATE) <= set(STATE)
