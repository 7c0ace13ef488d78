"""Records that are read again, and what stood at their offsets before: on the reference and on Redis."""

from __future__ import annotations

import pytest

from pipeline.state.state_event import StateEvent
from pipeline.state.windows import CLAIM_KEPT_MS, Freshness, LogReplaced, PartitionEvents
from tests.state.stores import START_MS, Store, column, payment, share

FRESH, DUPLICATE, CONFLICT = Freshness.FRESH, Freshness.DUPLICATE, Freshness.CONFLICT


def freshness(store: Store, *events: StateEvent, start: int = 0) -> list[Freshness]:
    (observation,) = store.observe([share(events, start=start)])
    return [Freshness(each) for each in observation.freshness.tolist()]


def read_without(store: Store, *events: StateEvent, end: int) -> None:
    """Have the log read to `end` by a worker that could read these only."""
    store.observe([PartitionEvents(0, 0, end, 0, events)])


@pytest.mark.parametrize(("digest", "expected"), [(b"digest", DUPLICATE), (b"another", CONFLICT)])
def test_what_could_not_be_read_at_first_and_is_a_copy_is_not_decided_again(
    store: Store, digest: bytes, expected: Freshness
) -> None:
    """A release that lacks a schema sees one of two copies; the next, which has it, reads the batch again."""
    copy = payment(1, START_MS + 1_000, transaction_id="tx-0", payment_digest=digest)
    read_without(store, payment(0), end=2)
    for _ in range(2):
        assert [FRESH, expected] == freshness(store, payment(0), copy)
    assert [FRESH] == freshness(store, payment(2), start=2)


@pytest.mark.parametrize("later_ms", [1_000, 3_600_000])
def test_of_two_copies_the_first_is_decided_although_only_the_second_could_be_read(store: Store, later_ms: int) -> None:
    copy = payment(1, START_MS + later_ms, transaction_id="tx-0")
    read_without(store, copy, end=2)
    for _ in range(3):
        assert [FRESH, DUPLICATE] == freshness(store, payment(0), copy)
    assert [DUPLICATE] == freshness(store, payment(2, START_MS + 2 * later_ms, transaction_id="tx-0"), start=2)


def test_what_is_read_again_and_was_stamped_by_a_clock_behind_the_others_stays_fresh(store: Store) -> None:
    behind = payment(1, START_MS - 60_000)
    for _ in range(3):
        assert [FRESH, FRESH] == freshness(store, payment(0), behind)


def test_what_could_not_be_read_at_first_and_is_a_copy_of_another_account_s_is_a_conflict(store: Store) -> None:
    store.observe([share([payment(0)], partition=1)])
    read_without(store, end=1)
    assert [CONFLICT] == freshness(store, payment(0, START_MS, payment_digest=b"another"))


def test_what_could_not_be_read_at_first_and_is_new_counts(store: Store) -> None:
    read_without(store, payment(0), end=2)
    for _ in range(2):
        (observation,) = store.observe([share([payment(0), payment(1)])])
        assert [FRESH, FRESH] == observation.freshness.tolist()
        assert [1, 2] == column(observation.state, "account_count_24h")


def test_a_payment_is_never_judged_on_what_was_counted_of_another_at_its_offset(store: Store) -> None:
    """An unclean election of a leader: records are gone, and their offsets are given out anew."""
    store.observe([share([payment(0), payment(1, beneficiary_account_id="known")])])
    successor = payment(1, START_MS + 1, transaction_id="another", account_id="victim", amount_gbp_minor=4_500_000)
    for _ in range(2):
        with pytest.raises(LogReplaced, match="at 1 isn't the one that was counted"):
            store.observe([share([payment(0), successor])])
    with pytest.raises(LogReplaced):
        store.observe([share([payment(2)], start=2)])


def test_a_copy_that_came_to_stand_where_another_was_counted_is_a_duplicate(store: Store) -> None:
    store.observe([share([payment(0), payment(1, START_MS + 1)])])
    assert [FRESH, DUPLICATE] == freshness(store, payment(0), payment(1, START_MS + 1, transaction_id="tx-0"))


def test_what_holds_its_id_no_more_because_that_was_long_ago_is_no_other_record(store: Store) -> None:
    """A replay of history: a batch of weeks is under way, and is read again."""
    later = [payment(n, START_MS + n * CLAIM_KEPT_MS // 2) for n in range(1, 60)]
    for _ in range(3):
        assert [FRESH] * 60 == freshness(store, payment(0), *later)


def test_who_claimed_an_id_after_it_was_free_again_leaves_the_first_one_what_it_was(store: Store) -> None:
    again = payment(1, START_MS + CLAIM_KEPT_MS + 1, transaction_id="tx-0", payment_digest=b"another")
    for _ in range(2):
        assert [FRESH, FRESH] == freshness(store, payment(0), again)
