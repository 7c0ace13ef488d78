"""Records as outcomes of payments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.execution import Execution, ExecutionState
from pipeline.domain.identities import DecisionId, ExecutionId
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from pipeline.domain.refusals import FUTURE_TOLERANCE_MS
from pipeline.state.outcome_records import KINDS, held_outcome, held_text, outcome_of_execution, within_log
from pipeline.state.outcomes import ORDER_MAX
from tests.records import NOON_MS

HOUR_MS = 3_600_000
TOLD = Execution(
    "event",
    ExecutionId("execution"),
    5,
    DecisionId("decision"),
    "tx-1",
    "payer",
    "payee",
    700,
    "EUR",
    ExecutionState.SETTLED,
    "DECIDED_ALLOW",
    NOON_MS,
    NOON_MS,
    600,
    NOON_MS + 40,
)


def test_every_state_has_an_outcome():
    assert set(KINDS) == set(ExecutionState)


def test_what_was_settled_was_made_to_its_payee():
    times = NOON_MS, NOON_MS + 40, 600
    made = PaymentOutcome("payer", "payee", OutcomeKind.MADE, *times, b"execution", NOON_MS + 40, order=5)
    assert outcome_of_execution(TOLD) == made


@pytest.mark.parametrize("sequence", [-1, ORDER_MAX, 2**62])
def test_i4_a_sequence_that_can_be_none_leaves_the_payment_unmade_for_good(sequence):
    told = outcome_of_execution(TOLD._replace(sequence=sequence))
    assert (told.kind, told.order) == (OutcomeKind.UNMADE, ORDER_MAX)


AHEAD_MS = NOON_MS + FUTURE_TOLERANCE_MS + 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, (NOON_MS, NOON_MS + 40, NOON_MS + 40)),
        ({"payment_time_ms": AHEAD_MS - 1}, (AHEAD_MS - 1, AHEAD_MS - 1, NOON_MS + 40)),
        ({"payment_time_ms": AHEAD_MS}, (-1, -1, NOON_MS + 40)),
        ({"event_time_ms": AHEAD_MS}, (NOON_MS, -1, NOON_MS + 40)),
        ({"payment_logged_at_ms": AHEAD_MS}, (NOON_MS, -1, NOON_MS)),
        ({"payment_logged_at_ms": -1, "event_time_ms": AHEAD_MS}, (NOON_MS, -1, NOON_MS)),
    ],
)
def test_what_lies_ahead_of_its_record_is_not_known(change, expected):
    told = within_log(outcome_of_execution(TOLD._replace(**change)), NOON_MS)
    assert (told.payment_time_ms, told.made_at_ms, told.counted_until_ms) == expected


@pytest.mark.parametrize("logged_at_ms", [-1, 0, NOON_MS * 1000, 2**62])
@pytest.mark.parametrize("claimed_ms", [NOON_MS, NOON_MS * 1000, 2**62])
def test_i4_a_record_whose_timestamp_is_no_time_of_the_logs_dates_nothing(logged_at_ms, claimed_ms):
    """One that is stamped in microseconds would let every time be believed that it tells of."""
    execution = TOLD._replace(payment_time_ms=claimed_ms, event_time_ms=claimed_ms)
    told = within_log(outcome_of_execution(execution), logged_at_ms)
    assert (told.payment_time_ms, told.made_at_ms, told.counted_until_ms) == (-1, -1, NOON_MS + 40)


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("HELD", "UNMADE"),
        ("REFUSED", "WITHDRAWN"),
        ("REVERSED", "UNMADE"),
        ("RELEASED", "WITHDRAWN"),
        ("OTHER", "UNMADE"),
    ],
)
def test_nothing_but_what_was_settled_makes_a_payee_known(state, kind):
    outcome = outcome_of_execution(TOLD._replace(state=ExecutionState(state)))
    assert (outcome.kind, outcome.payment_time_ms, outcome.made_at_ms) == (kind, NOON_MS, -1)


@pytest.mark.parametrize(
    ("payment_time_ms", "logged_at_ms", "event_time_ms"),
    [
        (NOON_MS, NOON_MS - 30 * HOUR_MS, NOON_MS),  # a clock that runs ahead
        (NOON_MS - 30 * HOUR_MS, NOON_MS, NOON_MS - 30 * HOUR_MS),  # dated back, to make its payee known at once
        (NOON_MS - 30 * HOUR_MS, NOON_MS - 30 * HOUR_MS, NOON_MS),  # reviewed a day later
    ],
)
def test_a_payee_is_known_from_the_latest_time_that_the_payment_has(payment_time_ms, logged_at_ms, event_time_ms):
    told = TOLD._replace(
        payment_time_ms=payment_time_ms, payment_logged_at_ms=logged_at_ms, event_time_ms=event_time_ms
    )
    outcome = outcome_of_execution(told)
    assert (outcome.payment_time_ms, outcome.made_at_ms) == (payment_time_ms, NOON_MS)


@pytest.mark.parametrize(("logged_at_ms", "until_ms"), [(NOON_MS + 5, NOON_MS + 5), (-1, NOON_MS + 40)])
def test_a_payment_was_counted_by_the_time_of_its_record_or_at_least_by_that_of_the_execution(logged_at_ms, until_ms):
    told = TOLD._replace(payment_logged_at_ms=logged_at_ms, event_time_ms=NOON_MS + 40)
    assert outcome_of_execution(told).counted_until_ms == until_ms


@given(st.integers(-1, 2**50), st.integers(-1, 2**50), st.integers(-1, 10**11), st.text(max_size=64))
def test_what_is_remembered_of_a_decision_reads_back(payment_time_ms, made_at_ms, amount_gbp_minor, beneficiary):
    numbers = payment_time_ms, made_at_ms, amount_gbp_minor
    outcome = PaymentOutcome("payer", beneficiary, OutcomeKind.UNMADE, *numbers, b"decision", made_at_ms)
    assert held_outcome("payer", "decision", held_text(outcome)) == outcome
