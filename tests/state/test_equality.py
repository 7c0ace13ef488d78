"""Invariants 3 and 4: Redis answers as the reference does, however a log is cut, redelivered or torn."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from zlib import crc32

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.domain.context import Account, RiskSignal, RiskSignalKind
from pipeline.io.clock import now_ms
from pipeline.state.context.facts import LogPlace
from pipeline.state.store import LEAVERS_MAX, StateLost, StateUnavailable
from pipeline.state.windows import Freshness, MemoryState, PartitionEvents, PartitionObservation
from tests.state.stores import START_MS, Store, SyncRedisState, payment, same, share
from tests.state.streams import Log, labels_of, logs

MakeState = Callable[..., SyncRedisState]
LEAVERS = st.sampled_from((LEAVERS_MAX, 3, 0))
on_redis = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def fresh(redis_at: str, redis_state: MakeState) -> Callable[..., SyncRedisState]:
    """Empty Redis for each example; the connection stays."""
    stores: dict[tuple[int, int], SyncRedisState] = {}

    def make(shards: int = 1, leavers_max: int = LEAVERS_MAX) -> SyncRedisState:
        with redis.Redis.from_url(redis_at) as client:
            client.flushall()
        if (shards, leavers_max) not in stores:
            made = redis_state(shards=shards, claim_buckets=3, leavers_max=leavers_max)
            stores[shards, leavers_max] = made
        return stores[shards, leavers_max]

    return make


def feed_context(stores: list[Store], log: Log, number: int, batches: int) -> None:
    """Apply labels spread over the batches, and now and then a signal and a declaration."""
    labels = labels_of(log)
    for label in labels[number * len(labels) // batches : (number + 1) * len(labels) // batches]:
        assert len({store.label(label) for store in stores}) == 1
    for store in stores:
        place = LogPlace(START_MS, number)
        store.upsert_risk_signal(RiskSignal(RiskSignalKind.IP_ADDRESS, "192.0.2.1", number, number % 3), place)
        if number % 2:
            store.upsert_account(Account("account-0-1", number, None if number % 3 else number), place)


@given(log=logs(), shards=st.sampled_from((1, 3)), leavers_max=LEAVERS)
@on_redis
def test_redis_answers_as_the_reference(fresh: MakeState, log: Log, shards: int, leavers_max: int) -> None:
    """One shard counts the partitions of a batch in order; with more, what stops early doesn't stop the others."""
    actual, expected = fresh(shards, leavers_max), MemoryState(shards=shards, clock_ms=now_ms)
    batches = log.batches() if shards == 1 else [[part] for batch in log.batches() for part in batch]
    for number, batch in enumerate(batches):
        assert same(expected.observe(batch), actual.observe(batch))
        feed_context([expected, actual], log, number, len(batches))


def test_a_shard_that_counts_for_none_of_its_beneficiaries_still_answers(fresh: MakeState) -> None:
    """One payment is a conflict, and its beneficiary's shard has nothing but a fact for the other."""
    assert [crc32(name.encode()) % 3 for name in ("payer", "payee-0", "payee-4")] == [2, 1, 2]
    events = [
        payment(0, beneficiary_account_id="payee-0"),
        payment(3, transaction_id="tx-0", payment_digest=b"others", beneficiary_account_id="payee-4"),
    ]
    actual, expected = fresh(shards=3), MemoryState(shards=3, clock_ms=now_ms)
    observed = expected.observe([share(events)])
    assert observed[0].freshness.tolist() == [Freshness.FRESH, Freshness.CONFLICT]
    assert same(observed, actual.observe([share(events)]))


@given(log=logs(), shards=st.sampled_from((1, 3)), leavers_max=LEAVERS, seed=st.integers(0, 2**32))
@on_redis
def test_a_torn_batch_read_again_with_other_boundaries_is_answered_as_if_never_torn(
    fresh: MakeState, log: Log, shards: int, leavers_max: int, seed: int
) -> None:
    """Some scripts of a batch ran, others did not; nothing was committed; the next reading is longer.

    One partition: with several, what they share depends on the order in which they are read.
    """
    actual, expected = fresh(shards, leavers_max), MemoryState(shards=shards, clock_ms=now_ms)
    batches, random = log.of_one_partition().batches(), Random(seed)
    for (batch, *_), following in zip(batches, [*batches[1:], None], strict=True):
        actual.state.commands_left = random.randint(0, 2 + 2 * shards)
        try:
            observed = actual.observe([batch])
        except StateUnavailable:
            longer = batch if following is None else joined(batch, following[0], random)
            (again,) = actual.observe([longer])
            count = len(batch.events)
            observed = [
                PartitionObservation(again.freshness[:count], again.state[:count], again.outcomes_position[:count])
            ]
        actual.state.commands_left = None
        assert same(expected.observe([batch]), observed)


def joined(share: PartitionEvents, following: PartitionEvents, random: Random) -> PartitionEvents:
    """Return the share together with the beginning of the next one."""
    taken = following.events[: random.randint(0, len(following.events))]
    end = taken[-1].offset + 1 if taken else share.end_offset
    return share._replace(end_offset=end, events=[*share.events, *taken])


def rebuild(store: Store, log: Log, partition: int, resume_from: int | None, until: int) -> None:
    """Observe the partition's log again from where the state ends, as the worker does."""
    begin = resume_from or 0
    events = [event for place, event in log.records if place == partition and begin <= event.offset < until]
    if resume_from is None:
        store.observe([PartitionEvents(partition, 0, 0, 0, [])], initial=True)
    store.observe([PartitionEvents(partition, begin, until, until, events)], is_rebuild=True)


@given(log=logs(), data=st.data())
@on_redis
def test_state_that_was_lost_or_partly_lost_says_so_and_is_rebuilt(
    redis_at: str, fresh: MakeState, log: Log, data: st.DataObject
) -> None:
    """A flush, or a failover that set some hash tags back to what they were some batches ago."""
    log = log.of_one_partition()
    actual, expected = fresh(leavers_max=data.draw(LEAVERS)), MemoryState(clock_ms=now_ms)
    batches = [[batch[0]] for batch in log.batches()]
    lost_at = data.draw(st.integers(0, len(batches) - 1))
    saved_at = data.draw(st.one_of(st.none(), st.integers(0, lost_at)))
    tags = data.draw(st.sets(st.sampled_from((b"{p0}", b"{s0}")), min_size=1))
    with redis.Redis.from_url(redis_at) as client:
        saved: dict[bytes, bytes] = {}
        resumes_before: list[bool] = []
        for number, batch in enumerate(batches):
            if number == saved_at:
                saved = {key: client.dump(key) for key in client.scan_iter()}
            if number == lost_at:
                set_back(client, saved, tags)
            try:
                observed = actual.observe(batch)
            except StateLost as lost:
                resumes_before.append((lost.resume_from or 0) < batch[0].start_offset)
                rebuild(actual, log, lost.partition, lost.resume_from, batch[0].start_offset)
                observed = actual.observe(batch)
            assert same(expected.observe(batch), observed)
    assert all(resumes_before)


def set_back(client: redis.Redis, saved: dict[bytes, bytes], tags: set[bytes]) -> None:
    for key in list(client.scan_iter()):
        if any(tag in key for tag in tags):
            client.delete(key)
    for key, value in saved.items():
        if any(tag in key for tag in tags):
            client.restore(key, 0, value, replace=True)
