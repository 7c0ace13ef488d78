"""Records as outcomes of payments: what the state is to know of each payment that was decided.

Invariants
1. Each record of a payment says all that is known of it, so the last one holds: what is MADE is volume, what is UNMADE
   is volume too, and what is WITHDRAWN is neither.
2. What this release can't read makes nobody known, and takes nothing out of the volume (I4).
3. A payee's age never counts from before the payment's place in the log, whatever event time the payment claims.
4. The same record gives the same outcome, so a record that is told twice changes nothing.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pipeline.domain.decision import Decision
from pipeline.domain.execution import Execution, ExecutionState
from pipeline.domain.features import COLUMN, NONE
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from pipeline.domain.refusals import Refusal

KINDS: Final = {
    ExecutionState.SETTLED: OutcomeKind.MADE,
    ExecutionState.HELD: OutcomeKind.UNMADE,
    ExecutionState.REFUSED: OutcomeKind.WITHDRAWN,
    ExecutionState.REVERSED: OutcomeKind.UNMADE,  # the money came back, but it was spent once
    ExecutionState.RELEASED: OutcomeKind.WITHDRAWN,  # the payment that is decided anew counts itself
    ExecutionState.OTHER: OutcomeKind.UNMADE,
}
_AMOUNT: Final = COLUMN["amount_gbp_minor"]
_COUNT_1H: Final = COLUMN["account_count_1h"]


class Unusable(NamedTuple):
    """A record from which nothing can be learned, and why."""

    refusal: Refusal


Told = PaymentOutcome | Unusable
"""The content of a record."""


def counted_amount_gbp_minor(decision: Decision) -> int:
    """Return the amount as the state counted it; NONE where a static guardrail blocked the payment before.

    A payment that was counted has counts of its account; they are UNKNOWN at least, where some of them were lost.
    """
    features = decision.snapshot.features
    return NONE if features[_COUNT_1H] == NONE else features[_AMOUNT]


def told_by_execution(execution: Execution | Refusal) -> Told:
    return Unusable(execution) if isinstance(execution, Refusal) else outcome_of_execution(execution)


def outcome_of_execution(execution: Execution) -> PaymentOutcome:
    """Return what an execution says of its payment. What it doesn't know, the state takes strictly."""
    kind = KINDS[execution.state]
    made_at_ms = NONE
    if kind is OutcomeKind.MADE:
        made_at_ms = max(execution.payment_time_ms, execution.payment_logged_at_ms, execution.event_time_ms)
    return PaymentOutcome(
        execution.account_id,
        execution.beneficiary_account_id,
        kind,
        execution.payment_time_ms,
        made_at_ms,
        execution.amount_gbp_minor,
        execution.execution_id.encode(),
    )
