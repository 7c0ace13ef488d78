"""What a state store gives back and what it holds to: ids of poison, and the number of partitions."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import redis

from pipeline.state.windows import Freshness
from tests.state.stores import SyncRedisState, payment, share

MakeState = Callable[..., SyncRedisState]


@pytest.mark.parametrize("shards", [1, 4])
def test_an_id_that_was_given_back_is_fresh_once_more(redis_state: MakeState, shards: int) -> None:
    store = redis_state(shards=shards)
    store.observe([share([payment(0), payment(1)])])
    assert store.release_claims(share([payment(0)])) == 1
    again = [payment(2, transaction_id="tx-0"), payment(3, transaction_id="tx-1"), payment(4, transaction_id="tx-0")]
    (observation,) = store.observe([share(again, start=2)])
    assert [Freshness.FRESH, Freshness.DUPLICATE, Freshness.DUPLICATE] == list(observation.freshness)


def test_an_id_that_another_payment_holds_is_not_given_back(redis_state: MakeState) -> None:
    store = redis_state()
    held = payment(0, payment_digest=b"another digest!!")
    store.observe([share([held])])
    assert store.release_claims(share([payment(0)])) == 0
    (observation,) = store.observe([share([payment(1, transaction_id="tx-0")], start=1)])
    assert [Freshness.CONFLICT] == list(observation.freshness)


def test_what_is_not_held_is_given_back_in_vain(redis_state: MakeState) -> None:
    store = redis_state()
    assert (0, 0) == (store.release_claims(share([payment(0)])), store.release_claims(share([])))


def test_the_first_number_of_partitions_stands_until_the_state_is_lost(redis_at: str, redis_state: MakeState) -> None:
    store = redis_state()
    assert [4, 4, 4] == [store.hold_partitions(each) for each in (4, 6, 4)]
    with redis.Redis.from_url(redis_at) as client:
        client.flushall()
    assert 6 == store.hold_partitions(6)
