"""A normal month holds nothing that wasn't made, and a volume all that may still be made: each is strict in its own
direction, whatever becomes of payments, and in whatever order that is told."""

from __future__ import annotations

from random import Random
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.domain.features import NONE, UNKNOWN
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from pipeline.domain.refusals import FUTURE_TOLERANCE_MS
from pipeline.state import outcomes as reference
from pipeline.state.outcomes import DOUBTFUL, TO_ANYONE, Effect
from pipeline.state.periods import BLOCK_MS, NORMAL_MONTH_BLOCKS
from pipeline.state.state_event import StateEvent
from pipeline.state.windows import MemoryState
from tests.state.stores import DAY_MS, HOUR_MS, START_MS, Store, payment
from tests.state.streams import outcome_of
from tests.state.test_outcomes import apply, observe

MADE, WITHDRAWN, UNMADE = OutcomeKind
BEGIN_MS: Final = (START_MS // BLOCK_MS + 1) * BLOCK_MS
HELD, REVERSED = UNMADE, UNMADE
TRANSITIONS: Final = {  # what is told of a payment → whether it is of the normal month, and of the volume
    (): (True, True),
    (MADE,): (True, True),
    (HELD,): (False, True),
    (WITHDRAWN,): (False, False),
    (HELD, MADE): (True, True),
    (HELD, WITHDRAWN): (False, False),
    (MADE, REVERSED): (False, True),
    (MADE, REVERSED, MADE): (True, True),
    (MADE, REVERSED, WITHDRAWN): (False, False),
    (WITHDRAWN, HELD): (False, True),
    (WITHDRAWN, MADE): (True, True),
    (WITHDRAWN, HELD, MADE): (True, True),
    (HELD, MADE, REVERSED, WITHDRAWN, HELD, MADE, REVERSED): (False, True),
}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(("kinds", "counts"), TRANSITIONS.items())
def test_i4_a_payment_is_of_the_month_where_it_was_made_and_of_the_volume_where_it_may_be(
    store: Store, kinds: tuple[OutcomeKind, ...], counts: tuple[bool, bool], times: int
) -> None:
    """Each is told once, or twice in a row."""
    standing = payment(0, BEGIN_MS - DAY_MS, amount_gbp_minor=100)
    doubted = payment(1, BEGIN_MS - DAY_MS + 1, amount_gbp_minor=5_000)
    observe(store, standing)
    observe(store, doubted)
    apply(store, *[outcome_of(doubted, kind) for kind in kinds for _ in range(times)])
    row = observe(store, payment(2, BEGIN_MS + DAY_MS, amount_gbp_minor=7))
    is_of_month, is_volume = counts
    assert row["account_normal_month_minor"] == 100 + 5_000 * is_of_month
    assert row["account_volume_minor_30d"] == row["account_sum_minor_30d"] - 5_000 * (not is_volume)
    assert row["account_volume_count_30d"] == 3 - (not is_volume)


def test_i4_payments_that_were_held_or_taken_back_make_no_normal_month(store: Store) -> None:
    """Otherwise whoever has ten large payments held or reversed may make them all a month later."""
    events = [payment(place, BEGIN_MS + place * DAY_MS + 1, amount_gbp_minor=1_000_000) for place in range(10)]
    for event in events:
        observe(store, event)
        apply(store, outcome_of(event, HELD if event.offset % 2 else MADE))
    apply(store, *[outcome_of(event, REVERSED) for event in events[::2]])
    row = observe(store, payment(10, BEGIN_MS + BLOCK_MS, amount_gbp_minor=1_000_000))
    assert (row["account_normal_month_minor"], row["account_volume_minor_30d"]) == (0, 11_000_000)


def test_a_payment_that_is_set_aside_without_its_amount_leaves_the_month_unknown_for_as_long_as_it_may_be_in_it(
    store: Store,
) -> None:
    """A reversal by decisions doesn't say when and for how much the payment counted."""
    for block in range(2):
        observe(store, payment(block, BEGIN_MS + block * BLOCK_MS))
    taken_back_ms = BEGIN_MS + BLOCK_MS + DAY_MS
    apply(store, PaymentOutcome("payer", "", REVERSED, -1, -1, -1, b"unknown", taken_back_ms))
    months = [
        observe(store, payment(block + 2, BEGIN_MS + (block + 2) * BLOCK_MS))["account_normal_month_minor"]
        for block in range(4)
    ]
    assert months == [UNKNOWN, UNKNOWN, UNKNOWN, 100]


def test_a_withdrawn_payment_that_is_set_aside_without_its_amount_is_volume_again(store: Store) -> None:
    blocked = payment(0, amount_gbp_minor=5_000)
    observe(store, blocked)
    told = [
        outcome_of(blocked, WITHDRAWN),
        outcome_of(blocked, UNMADE)._replace(payment_time_ms=-1, counted_until_ms=-1),
    ]
    apply(store, told[0])
    assert observe(store, payment(1, START_MS + 1))["account_volume_minor_30d"] == 100
    apply(store, told[1])
    assert observe(store, payment(2, START_MS + 2))["account_volume_minor_30d"] == 5_200
    row = observe(store, payment(3, (START_MS // BLOCK_MS + 1) * BLOCK_MS))
    assert row["account_normal_month_minor"] == 200


def test_what_was_set_aside_and_is_not_remembered_any_more_stays_out_of_the_month(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = 4
    for module in ("outcomes", "outcome_store"):
        monkeypatch.setattr(f"pipeline.state.{module}.WITHDRAWN_MAX", bound)
    if not isinstance(store, MemoryState):
        limits = store.state._outcome_limits  # type: ignore[attr-defined]
        store.state._outcome_limits = (limits[0], bound, *limits[2:])  # type: ignore[attr-defined]
    events = [payment(place, BEGIN_MS + place, amount_gbp_minor=10**place) for place in range(6)]
    for event in events:
        observe(store, event)
    apply(store, *[outcome_of(event, HELD) for event in events], *[outcome_of(event) for event in events])
    row = observe(store, payment(6, BEGIN_MS + BLOCK_MS))
    assert row["account_normal_month_minor"] == 111_100


@pytest.mark.parametrize("blocks_before", [1, 2, 3])
@pytest.mark.parametrize("kind", [WITHDRAWN, HELD])
@pytest.mark.parametrize("lag_ms", [0, HOUR_MS, 7 * DAY_MS])
def test_i4_a_log_that_is_a_block_ahead_of_the_account_forgets_no_block_that_its_month_reads(
    store: Store, blocks_before: int, kind: OutcomeKind, lag_ms: int
) -> None:
    """At a block's end the outcome is of the next block already, by the log's time."""
    now_ms = BEGIN_MS + 4 * BLOCK_MS - 1
    events = [payment(block, BEGIN_MS + block * BLOCK_MS) for block in range(3)]
    not_made = payment(3, BEGIN_MS + (3 - blocks_before) * BLOCK_MS + 1, amount_gbp_minor=3_000_000)
    for place, event in enumerate(sorted([*events, not_made], key=lambda each: each.event_time_ms)):
        observe(store, payment(place, event.event_time_ms, amount_gbp_minor=event.amount_gbp_minor))
    late = payment(4, now_ms, log_time_ms=now_ms + lag_ms, amount_gbp_minor=5)
    observe(store, late)
    apply(store, outcome_of(not_made, kind), outcome_of(late, kind))
    row = observe(store, payment(5, now_ms, log_time_ms=now_ms + lag_ms))
    assert row["account_normal_month_minor"] == 100


def test_a_month_of_blocks_that_are_forgotten_is_unknown(store: Store) -> None:
    """A payment that lies a whole block behind the log: what was taken out of the oldest block isn't kept any more."""
    for block in range(4):
        observe(store, payment(block, BEGIN_MS + block * BLOCK_MS))
    ahead_ms = BEGIN_MS + 5 * BLOCK_MS
    late = payment(4, BEGIN_MS + 3 * BLOCK_MS + 1, log_time_ms=ahead_ms)
    observe(store, late)
    apply(store, outcome_of(late, WITHDRAWN))
    row = observe(store, payment(5, BEGIN_MS + 3 * BLOCK_MS + 2, log_time_ms=ahead_ms))
    assert row["account_normal_month_minor"] == UNKNOWN


def test_the_script_and_the_reference_agree_on_numbers() -> None:
    effects = {each.name: each.value for each in Effect}
    assert effects == {"WITHDRAW": 1, "MAKE": 2, "ALLOW": 3, "HOLD": 4, "UNMAKE": 5, "UNSETTLE": 6}
    assert (TO_ANYONE, DOUBTFUL, reference.BLOCKS_KEPT) == (16, 32, NORMAL_MONTH_BLOCKS + 2)


STEPS_MS: Final = (0, 1, DAY_MS, 11 * DAY_MS, BLOCK_MS - 1, BLOCK_MS, 2 * BLOCK_MS)
LAGS_MS: Final = (-FUTURE_TOLERANCE_MS, 0, 0, 1, HOUR_MS, 6 * DAY_MS, 7 * DAY_MS)
"""By how much the log's time is ahead of a payment's that isn't late (LATE_HOURS)."""


class Truth:
    """One account's payments, each at the time it counted at, and the last that was told of each."""

    def __init__(self) -> None:
        self.counted: list[tuple[int, StateEvent]] = []
        self.told: dict[str, OutcomeKind] = {}

    def observe(self, event: StateEvent) -> tuple[int, int]:
        """Return the normal month and the volume of 30 days, with full knowledge of what was told."""
        now_ms = max(event.event_time_ms, self.counted[-1][0] if self.counted else 0)
        self.counted.append((now_ms, event))
        block, first = now_ms // BLOCK_MS, self.counted[0][0] // BLOCK_MS
        complete = min(NORMAL_MONTH_BLOCKS, block - first)
        kinds = [(at_ms, each, self.told.get(each.transaction_id, MADE)) for at_ms, each in self.counted]
        month = sum(
            each.amount_gbp_minor
            for at_ms, each, kind in kinds
            if kind is MADE and block - complete <= at_ms // BLOCK_MS < block
        )
        volume = sum(
            each.amount_gbp_minor
            for at_ms, each, kind in kinds
            if kind is not WITHDRAWN and at_ms > now_ms - 30 * DAY_MS
        )
        return (2 * month + complete) // (2 * complete) if complete else NONE, volume


def a_life(random: Random, lags_ms: tuple[int, ...]) -> list[StateEvent | PaymentOutcome]:
    """Return payments of an account in the order of the log, and what becomes of them at some time afterwards."""
    now_ms, logged_ms = BEGIN_MS - random.choice((0, 1, DAY_MS)), 0
    life: list[StateEvent | PaymentOutcome] = []
    pending: list[PaymentOutcome] = []
    for place in range(random.randint(2, 14)):
        now_ms += random.choice(STEPS_MS)
        logged_ms = max(logged_ms, now_ms + random.choice(lags_ms))
        made_ms = max(now_ms - random.choice((0, 0, 0, 2 * DAY_MS)), logged_ms - 7 * DAY_MS)
        event = payment(place, made_ms, log_time_ms=logged_ms, amount_gbp_minor=10 ** (place % 6))
        life.append(event)
        kinds = random.choice(list(TRANSITIONS))
        pending += [outcome_of(event, kind) for kind in kinds for _ in range(random.choice((1, 1, 2)))]
        while pending and random.random() < 0.7:
            life.append(pending.pop(0))
    return life


@given(seed=st.integers(0, 2**32))
@settings(max_examples=500, deadline=None)
def test_i4_a_month_is_never_larger_and_a_volume_never_smaller_than_with_full_knowledge(seed: int) -> None:
    """What isn't late is also known: nothing that its month reads is forgotten."""
    store, truth, position = MemoryState(), Truth(), 0
    for each in a_life(Random(seed), LAGS_MS):
        if isinstance(each, PaymentOutcome):
            truth.told[each.name.decode()] = each.kind
            position = store.apply_outcomes(0, position, position + 1, [each])
            continue
        row = observe(store, each)
        month, volume = truth.observe(each)
        assert UNKNOWN != row["account_normal_month_minor"] <= month
        assert row["account_volume_minor_30d"] >= volume
