"""A state is asked by those only that count as it was built, and not after Redis forgot any of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator

import pytest
import redis

from pipeline.decide.rebuild_agent import require_shape
from pipeline.io.clock import now_ms
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.state import marks_store
from pipeline.state.evictions import CLOCK, NO_EVICTION, early_ms, evicted_since, evicting_policies, eviction_fault
from pipeline.state.requests import Keys
from pipeline.state.shape import ShapeChanged
from tests.redis_servers import RedisName, StartedRedis
from tests.state.stores import DAY_MS, HOUR_MS, SyncRedisState, payment, share

MakeState = Callable[..., SyncRedisState]
PAYEES = 5_000
CRC32, MURMUR2 = Partitioner.CRC32, Partitioner.MURMUR2
TOPIC, SPREAD = "transactions.v1", Partitioning(CRC32, 4)


@pytest.mark.parametrize(
    ("settings", "topic", "spread", "named"),
    [
        ({}, f"other.{TOPIC}", SPREAD, "FRAUD_TOPIC_PREFIX"),
        ({}, TOPIC, Partitioning(CRC32, 6), "partitions 4, not 6"),
        ({}, TOPIC, Partitioning(MURMUR2, 4), "FRAUD_PARTITIONER"),
        ({"shards": 2}, TOPIC, SPREAD, "FRAUD_STATE_SHARDS"),
        ({"label_delay_days": 3}, TOPIC, SPREAD, "FRAUD_LABEL_DELAY_DAYS"),
        ({"claim_buckets": 64}, TOPIC, SPREAD, "claim_buckets 32768, not 64"),
        ({"beneficiary_kept_ms": 1}, TOPIC, SPREAD, "beneficiary_kept_ms"),
    ],
)
def test_whoever_would_count_apart_is_refused_by_what_differs(
    redis_at: str,
    redis_state: MakeState,
    settings: dict[str, int],
    topic: str,
    spread: Partitioning,
    named: str,
) -> None:
    first, other = redis_state(), redis_state(**settings)
    for _ in range(2):
        first.run(require_shape(first.state, TOPIC, SPREAD))
    with pytest.raises(ShapeChanged, match=named):
        other.run(require_shape(other.state, topic, spread))
    with redis.Redis.from_url(redis_at) as client:
        client.flushall()
    other.run(require_shape(other.state, topic, spread))
    with pytest.raises(ShapeChanged):
        first.run(require_shape(first.state, TOPIC, SPREAD))


def test_a_state_of_before_topics_were_told_is_taken_on_trust(redis_at: str, redis_state: MakeState) -> None:
    store = redis_state()
    held = store.state.shape(TOPIC, SPREAD.partitions, CRC32)._asdict()
    del held["topic"]
    with redis.Redis.from_url(redis_at) as client:
        client.set(Keys("fraud", 1).shape(), json.dumps(held))
    store.run(require_shape(store.state, f"other.{TOPIC}", SPREAD))


@pytest.mark.parametrize(
    "bound", ["ACCOUNT_PAYMENTS_MAX", "ACCOUNT_BENEFICIARIES_MAX", "BENEFICIARY_PAYMENTS_MAX", "WITHDRAWN_MAX"]
)
def test_a_bound_that_a_script_applies_is_of_the_shape(
    redis_state: MakeState, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    """A release with another bound would answer otherwise about the same state."""
    store = redis_state()
    store.run(require_shape(store.state, TOPIC, SPREAD))
    monkeypatch.setattr(f"pipeline.state.store.{bound}", 1)
    with pytest.raises(ShapeChanged, match=bound.lower()):
        store.run(require_shape(store.state, TOPIC, SPREAD))


@pytest.fixture
def own_redis(started_redis: StartedRedis) -> Iterator[redis.Redis]:
    """A server whose settings the test may change."""
    with redis.Redis.from_url(started_redis(RedisName.VALKEY_9)) as client:
        client.flushall()
        client.config_resetstat()
        yield client
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", NO_EVICTION)
        client.flushall()
        client.config_resetstat()


@pytest.fixture
def at_own(started_redis: StartedRedis) -> Iterator[MakeState]:
    made: list[SyncRedisState] = []

    def make(**settings: str) -> SyncRedisState:
        made.append(SyncRedisState(started_redis(RedisName.VALKEY_9), **settings))
        made[-1].run(require_shape(made[-1].state, TOPIC, SPREAD))
        return made[-1]

    yield make
    for store in made:
        store.close()


def _evict(client: redis.Redis, store: SyncRedisState) -> None:
    """Let Redis evict payees, which have a time to live, and then set it right again."""
    client.config_set("maxmemory-policy", "volatile-lru")
    start = 0
    while not client.info("stats")["evicted_keys"]:
        events = [payment(place, beneficiary_account_id=f"payee-{place}") for place in range(start, start + 500)]
        store.observe([share(events, start=start)])
        start += 500
        if start == PAYEES:
            client.config_set("maxmemory", client.info("memory")["used_memory"] + (1 << 18))
    client.config_set("maxmemory", 0)
    client.config_set("maxmemory-policy", NO_EVICTION)


def _fault(store: SyncRedisState) -> str | None:
    return store.run(store.state.evictions(never_evicts=False)).fault


@pytest.mark.parametrize("policy", ["volatile-lru", "volatile-ttl", "allkeys-lru", "allkeys-random"])
def test_a_server_that_may_evict_is_refused_for_as_long_as_it_may(
    own_redis: redis.Redis, at_own: MakeState, policy: str
) -> None:
    store = at_own()
    assert _fault(store) is None
    own_redis.config_set("maxmemory-policy", policy)
    assert policy in (_fault(store) or "")
    own_redis.config_set("maxmemory-policy", NO_EVICTION)
    assert _fault(store) is None


def test_a_state_that_keys_were_evicted_from_is_lost_for_ever(own_redis: redis.Redis, at_own: MakeState) -> None:
    store = at_own()
    _evict(own_redis, store)
    assert "is lost as a whole" in (_fault(store) or "")
    own_redis.config_resetstat()
    assert "is lost as a whole" in (_fault(store) or ""), "the state itself remembers"
    own_redis.flushall()
    store.run(require_shape(store.state, TOPIC, SPREAD))
    assert _fault(store) is None


def test_what_was_evicted_before_a_state_began_was_none_of_it(own_redis: redis.Redis, at_own: MakeState) -> None:
    _evict(own_redis, at_own(prefix="before"))
    assert _fault(at_own(prefix="new")) is None


@pytest.mark.parametrize("ahead_hours", [-2, 2, 90 * 24])
def test_a_server_whose_clock_is_wrong_is_refused_for_as_long_as_it_is(
    at_own: MakeState, monkeypatch: pytest.MonkeyPatch, ahead_hours: int
) -> None:
    """Here it is the worker's that is wrong, and nobody can tell which: no state is lost by it."""
    store = at_own()
    assert _fault(store) is None
    with monkeypatch.context() as patched:
        patched.setattr(marks_store, "now_ms", lambda: now_ms() - ahead_hours * HOUR_MS)
        said = rf"clock is \d+ minutes {'ahead of' if ahead_hours > 0 else 'behind'} this worker's"
        assert re.search(said, _fault(store) or "")
    assert _fault(store) is None


@pytest.mark.parametrize(("ahead_hours", "is_lost"), [(23, False), (25, True), (90 * 24, True)])
def test_a_state_whose_server_was_days_ahead_is_lost_for_ever(
    own_redis: redis.Redis, at_own: MakeState, ahead_hours: int, is_lost: bool
) -> None:
    """Payees, and their frauds, expired by that clock; it is right again, and nothing shows."""
    store = at_own()
    own_redis.hset(Keys("fraud", 1).evictions(), CLOCK, now_ms() + ahead_hours * HOUR_MS)
    fault = _fault(store)
    assert (fault is not None) == is_lost
    own_redis.hset(Keys("fraud", 1).evictions(), CLOCK, 0)
    assert _fault(store) == fault, "the state itself remembers"


def test_the_state_holds_the_latest_time_that_a_server_told(own_redis: redis.Redis, at_own: MakeState) -> None:
    store, before_ms = at_own(), now_ms()
    for _ in range(2):
        assert _fault(store) is None
        held = int(own_redis.hget(Keys("fraud", 1).evictions(), CLOCK) or 0)
        assert before_ms - 1_000 <= held <= now_ms() + 1_000


@pytest.mark.parametrize(
    ("held_ms", "apart_ms", "expected"),
    [
        (2 * DAY_MS, 0, 2 * DAY_MS),
        (2 * DAY_MS, 2 * DAY_MS, 0),  # it is ahead still, or the asker is behind
        (2 * DAY_MS, -2 * DAY_MS, 0),
        (DAY_MS, 0, 0),
        (0, 0, 0),
    ],
)
def test_a_clock_is_known_to_have_been_wrong_where_two_agree(held_ms: int, apart_ms: int, expected: int) -> None:
    assert early_ms(held_ms, apart_ms, 0) == expected


@pytest.mark.parametrize(
    ("told", "never_evicts", "expected"),
    [
        ([NO_EVICTION, NO_EVICTION], False, []),
        ([NO_EVICTION, "volatile-lru"], False, ["volatile-lru"]),
        ([NO_EVICTION, "volatile-lru"], True, ["volatile-lru"]),
        ([NO_EVICTION, None], False, ["untold"]),
        ([NO_EVICTION, None], True, []),
    ],
)
def test_a_server_that_tells_nothing_is_believed_only_on_somebody_s_word(
    told: list[str | None], never_evicts: bool, expected: list[str]
) -> None:
    masters: list[dict[str, object]] = [{} if each is None else {"maxmemory_policy": each} for each in told]
    found = evicting_policies(masters, never_evicts=never_evicts)
    assert found == expected
    assert (eviction_fault(found) is None) == (not expected)


@pytest.mark.parametrize(
    ("counts", "begun", "expected"),
    [
        ({"a": 5}, {"a": 5}, 0),
        ({"a": 7}, {"a": 5}, 2),
        ({"a": 3}, {"a": 5}, 3),  # the count was reset
        ({"b": 3}, {"a": 5}, 3),  # restarted, with the state
        ({"a": 5, "b": 1}, {"a": 5, "b": 0}, 1),
    ],
)
def test_what_was_evicted_since_a_state_began(counts: dict[str, int], begun: dict[str, int], expected: int) -> None:
    assert evicted_since(counts, begun) == expected
