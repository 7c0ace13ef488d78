"""What a state store gives back: the ids of poison."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pipeline.state.windows import Freshness
from tests.state.stores import START_MS, SyncRedisState, payment, share

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


@pytest.mark.parametrize("later_ms", [0, 1])
@pytest.mark.parametrize("partition", [0, 1])
def test_a_copy_gives_back_nothing_of_what_the_first_one_holds(
    redis_state: MakeState, later_ms: int, partition: int
) -> None:
    """I2: the first was decided. Its copy became poison; one more copy is still a copy."""
    store = redis_state()
    store.observe([share([payment(0)])])
    start = 1 if partition == 0 else 0
    copy = payment(start, START_MS + later_ms, transaction_id="tx-0")
    (observation,) = store.observe([share([copy], start=start, partition=partition)])
    assert [Freshness.DUPLICATE] == list(observation.freshness)
    assert store.release_claims(share([copy], start=start, partition=partition)) == 0
    again = payment(start + 1, START_MS + later_ms, transaction_id="tx-0")
    (observation,) = store.observe([share([again], start=start + 1, partition=partition)])
    assert [Freshness.DUPLICATE] == list(observation.freshness)


def test_an_id_is_given_back_once_and_then_a_copy_holds_it(redis_state: MakeState) -> None:
    """I2: poison gave its id back and its copy was decided; a redrive of the poison must not free the copy's id."""
    store = redis_state()
    store.observe([share([payment(0)])])
    assert store.release_claims(share([payment(0)])) == 1
    copies = [payment(offset, transaction_id="tx-0") for offset in (1, 2)]
    (observation,) = store.observe([share(copies[:1], start=1)])
    assert [Freshness.FRESH] == list(observation.freshness)
    assert store.release_claims(share([payment(0)])) == 0
    (observation,) = store.observe([share(copies[1:], start=2)])
    assert [Freshness.DUPLICATE] == list(observation.freshness)


def test_poison_that_never_claimed_gives_back_nothing_of_what_a_copy_before_holds(redis_state: MakeState) -> None:
    store = redis_state()
    store.observe([share([payment(0)])])
    assert store.release_claims(share([payment(1, START_MS + 1, transaction_id="tx-0")], start=1)) == 0


def test_what_is_not_held_is_given_back_in_vain(redis_state: MakeState) -> None:
    store = redis_state()
    assert (0, 0) == (store.release_claims(share([payment(0)])), store.release_claims(share([])))
