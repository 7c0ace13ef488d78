"""What is told on executions.v1 against what the ledger has done: decision workers learn from it who has been paid.

Invariants
1. What an executor of this ledger told is never a fault, whenever it died: it tells of a step that it has stored, or
   stores next.
2. What the ledger doesn't bear out is one, whatever it tells: another payment, another amount, a state that the payment
   never came to, or a step, or a life of the ledger, that there is none of.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.domain.execution import Execution
from pipeline.domain.times import claim_ms
from pipeline.execute.restoring.lives import told_step
from pipeline.execute.saga import ANNOUNCED, PLAN, TRANSITIONS, Aim, State

CLOCKS_DIFFER_MS: Final = 5 * 60_000


class ToldFault(StrEnum):
    """Why nobody who keeps this ledger can have told it, in order of precedence."""

    UNPROVED = "UNPROVED"  # it bears no seal of an executor, once executors seal what they tell
    UNREADABLE = "UNREADABLE"  # it is no execution
    NO_SUCH_LIFE = "NO_SUCH_LIFE"  # of a life of the ledger that is over, or has not begun
    UNKNOWN_PAYMENT = "UNKNOWN_PAYMENT"  # the ledger has no such execution
    OTHER_PAYMENT = "OTHER_PAYMENT"  # it is another payment than the ledger has
    OTHER_STATE = "OTHER_STATE"  # the payment never came to this state, or not at this step


class Lives(NamedTuple):
    """The ledger's present life, since when, and the one that a restore is to begin; that is 0 where none is under
    way."""

    present: int
    began_at_ms: int
    to_come: int


class Subject(NamedTuple):
    """What is told of a payment, whatever became of it; fields as those of Execution."""

    decision_id: str
    transaction_id: str
    account_id: str
    beneficiary_account_id: str
    amount_minor: int
    currency: str
    payment_time_ms: int
    amount_gbp_minor: int
    payment_logged_at_ms: int


class Booked(NamedTuple):
    """What the ledger has of an execution. at_step: the state after the step that is told of; None: not taken.

    returned_minor: of parts that were recalled, in all.
    """

    subject: Subject
    at_step: str | None
    sequence: int
    state: str
    aim: str
    returned_minor: int


def step_of(told: Execution) -> int:
    """The saga's step that is told of."""
    return told_step(told.sequence)[1]


def is_comparable(told: Execution, told_at_ms: int, lives: Lives) -> bool:
    """Whether the ledger can say anything about it. An earlier life may have taken other steps, and before the first
    another system paid; both ended before the present one began."""
    life, _ = told_step(told.sequence)
    return life >= lives.present or told_at_ms > lives.began_at_ms + CLOCKS_DIFFER_MS


def fault_of(told: Execution, booked: Booked | None, lives: Lives) -> ToldFault | None:
    """Of what is comparable."""
    life, sequence = told_step(told.sequence)
    if not life or life not in (lives.present, lives.to_come):
        return ToldFault.NO_SUCH_LIFE
    if booked is None:
        return ToldFault.UNKNOWN_PAYMENT
    if _subject_of(told) != booked.subject or not 0 <= told.returned_minor <= booked.returned_minor:
        return ToldFault.OTHER_PAYMENT
    if booked.at_step is not None:
        return None if booked.at_step == told.state else ToldFault.OTHER_STATE
    is_next = sequence == booked.sequence + 1 and _next_rest(booked) == told.state
    return None if is_next else ToldFault.OTHER_STATE


def _subject_of(told: Execution) -> Subject:
    return Subject(
        told.decision_id,
        told.transaction_id,
        told.account_id,
        told.beneficiary_account_id,
        told.amount_minor,
        told.currency,
        claim_ms(told.payment_time_ms),
        told.amount_gbp_minor,
        told.payment_logged_at_ms,
    )


def _next_rest(booked: Booked) -> str | None:
    """The state that is announced before its step is stored; None where the next step is none of those."""
    state = State(booked.state)
    step = PLAN[state, Aim(booked.aim)]
    return TRANSITIONS[state, step].value if step is not None and step in ANNOUNCED else None
