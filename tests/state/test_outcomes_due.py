"""Outcomes that the state had and lost: until all are back, what they could tell is UNKNOWN and not what some tell."""

from __future__ import annotations

import pytest

from pipeline.domain.features import UNKNOWN
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from pipeline.state.outcomes import PAYEES_SEARCHED_MAX
from tests.state.stores import DAY_MS, START_MS, Store, column, payment, share

BY_OUTCOMES = (
    "account_volume_minor_24h",
    "account_volume_count_30d",
    "account_volume_minor_30d",
    "account_normal_month_minor",
    "is_unpaid_beneficiary",
)


def outcome(kind: str, name: bytes = b"first", time_ms: int = START_MS) -> PaymentOutcome:
    made_at_ms = time_ms if kind == "MADE" else -1
    return PaymentOutcome("payer", "payee", OutcomeKind(kind), time_ms, made_at_ms, 100, name)


def observed(store: Store, offset: int, time_ms: int, due: int = 0) -> tuple[dict[str, int], int]:
    """Return what outcomes tell of a further payment of 100, and the position of the outcomes."""
    (observation,) = store.observe([share([payment(offset, time_ms)], start=offset)._replace(outcomes_due=due)])
    return {name: column(observation.state, name)[0] for name in BY_OUTCOMES}, int(observation.outcomes_position[0])


UNKNOWN_ALL = dict.fromkeys(BY_OUTCOMES, UNKNOWN)


def test_what_outcomes_tell_is_unknown_until_all_are_back(store: Store) -> None:
    store.await_outcomes(0, 3)
    assert observed(store, 0, START_MS) == (UNKNOWN_ALL, UNKNOWN)
    store.apply_outcomes(0, 0, 2, [outcome("MADE"), outcome("WITHDRAWN", b"second")])
    assert observed(store, 1, START_MS + DAY_MS) == (UNKNOWN_ALL, UNKNOWN)
    store.apply_outcomes(0, 2, 3, [outcome("UNMADE")])
    known, position = observed(store, 2, START_MS + DAY_MS)
    assert (known["is_unpaid_beneficiary"], known["account_volume_count_30d"], position) == (1, 2, 3)


def test_i4_what_outcomes_tell_is_unknown_until_those_are_back_that_a_worker_knows_of(store: Store) -> None:
    """The state may not know what it had: whoever restores a snapshot of Redis restores that, too."""
    store.apply_outcomes(0, 0, 2, [outcome("MADE"), outcome("WITHDRAWN", b"second")])
    assert observed(store, 0, START_MS + DAY_MS, due=3) == (UNKNOWN_ALL, UNKNOWN)
    store.apply_outcomes(0, 2, 3, [outcome("UNMADE")])
    known, position = observed(store, 1, START_MS + DAY_MS, due=3)
    assert (known["is_unpaid_beneficiary"], known["account_volume_count_30d"], position) == (1, 1, 3)
    assert observed(store, 1, START_MS + DAY_MS, due=2**47) == (known, position), "an answer that was given stays"


def test_nothing_is_awaited_of_a_log_that_has_nothing(store: Store) -> None:
    store.await_outcomes(0, 0)
    known, position = observed(store, 0, START_MS)
    assert (known["is_unpaid_beneficiary"], known["account_volume_count_30d"], position) == (1, 1, -1)


def test_a_payment_that_comes_again_is_as_unknown_as_it_was(store: Store) -> None:
    """Its row was made without outcomes, so it stays strict when they are back."""
    store.await_outcomes(0, 1)
    first = observed(store, 0, START_MS)
    store.apply_outcomes(0, 0, 1, [outcome("MADE")])
    assert observed(store, 0, START_MS) == first == (UNKNOWN_ALL, UNKNOWN)


def test_i4_the_first_outcomes_alone_would_make_a_payee_known_whose_payment_was_reversed(store: Store) -> None:
    """Why a state that lost outcomes may not go by those that are back: the claim that fewer are stricter is untrue."""
    store.apply_outcomes(0, 0, 1, [outcome("MADE")])
    by_the_first, _ = observed(store, 0, START_MS + 2 * DAY_MS)
    store.apply_outcomes(0, 1, 2, [outcome("UNMADE")])
    by_all, _ = observed(store, 1, START_MS + 2 * DAY_MS)
    assert (by_the_first["is_unpaid_beneficiary"], by_all["is_unpaid_beneficiary"]) == (0, 1)


def test_a_payment_that_is_held_again_counts_towards_volume_again(store: Store) -> None:
    """It was refused, and a reversal has sent it to review: it isn't withdrawn any more, and not made either."""
    (_,) = store.observe([share([payment(0)])])
    store.apply_outcomes(0, 0, 1, [outcome("WITHDRAWN")])
    without, _ = observed(store, 1, START_MS + 1)
    store.apply_outcomes(0, 1, 2, [outcome("UNMADE")])
    held, _ = observed(store, 2, START_MS + 2)
    assert (without["account_volume_minor_30d"], held["account_volume_minor_30d"]) == (100, 300)


@pytest.mark.parametrize("kind", ["UNMADE", "WITHDRAWN"])
def test_a_payment_is_taken_back_although_it_is_not_said_who_was_paid(store: Store, kind: str) -> None:
    first, other = outcome("MADE"), outcome("MADE", b"other")._replace(beneficiary_account_id="other")
    store.apply_outcomes(0, 0, 3, [first, other, outcome("WITHDRAWN", b"second")])
    to_anyone = PaymentOutcome("payer", "", OutcomeKind(kind), -1, -1, -1, b"first")
    store.apply_outcomes(0, 3, 4, [to_anyone])
    known, _ = observed(store, 0, START_MS + DAY_MS)
    payment_to_other = payment(1, START_MS + DAY_MS, beneficiary_account_id="other")
    (observation,) = store.observe([share([payment_to_other], start=1)])
    assert (known["is_unpaid_beneficiary"], column(observation.state, "is_unpaid_beneficiary")) == (1, [0])


def test_an_account_with_very_many_payees_knows_none_of_them_where_one_cannot_be_found(store: Store) -> None:
    made = [
        outcome("MADE", b"%d" % number)._replace(beneficiary_account_id=f"payee-{number}")
        for number in range(PAYEES_SEARCHED_MAX + 1)
    ]
    store.apply_outcomes(0, 0, len(made), made)
    store.apply_outcomes(0, len(made), len(made) + 1, [outcome("WITHDRAWN")])
    store.apply_outcomes(0, len(made) + 1, len(made) + 2, [outcome("UNMADE", b"1")._replace(beneficiary_account_id="")])
    last = payment(0, START_MS + DAY_MS, beneficiary_account_id="payee-2")
    (observation,) = store.observe([share([last])])
    assert column(observation.state, "is_unpaid_beneficiary") == [1]
