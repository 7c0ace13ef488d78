"""Executions as values: where payments stand, as the executor tells upstream systems."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from pipeline.domain.identities import DecisionId, ExecutionId


class ExecutionState(StrEnum):
    """SETTLED: with the beneficiary. HELD: set aside until a review. REFUSED, REVERSED: with the payer. RELEASED: with
    the payer, and decided anew under another id. OTHER: what a reader of this release doesn't know."""

    OTHER = "OTHER"
    SETTLED = "SETTLED"
    HELD = "HELD"
    REFUSED = "REFUSED"
    REVERSED = "REVERSED"
    RELEASED = "RELEASED"


class Execution(NamedTuple):
    """A value of `executions.v1`; fields in the order of `schemas/execution.v1.avsc`. The highest sequence holds."""

    event_id: str
    execution_id: ExecutionId
    sequence: int
    decision_id: DecisionId
    transaction_id: str
    account_id: str
    beneficiary_account_id: str
    amount_minor: int
    currency: str
    state: ExecutionState
    why: str
    event_time_ms: int
    payment_time_ms: int = -1  # the payment's event time; -1 where it isn't known
    amount_gbp_minor: int = -1  # as the state counted it; -1 where it never counted, or isn't known
    payment_logged_at_ms: int = -1  # of the payment's record on transactions.v1; -1 where it isn't known
    returned_minor: int = 0  # of a SETTLED payment: the part that was recalled and is with the payer again
