"""Records as outcomes of payments: what the state is to know of each payment that was decided.

Invariants
1. Each record of a payment says all that is known of it, so the latest one holds: what is MADE is of the volume and the
   normal month, what is UNMADE is of the volume only, and what is WITHDRAWN is of neither. Executions say by their
   sequence which one is the latest; of records about a decision it is the one that came last, where one that is told
   again counts from where it came first.
2. What this release can't read makes nobody known, and takes nothing out of the volume (I4).
3. A payee's age never counts from before the payment's place in the log, whatever event time the payment claims.
4. The same record gives the same outcome, so a record that is told twice changes nothing.
5. Nothing that a record says was after it: a time that lies ahead of the record's own in the log isn't known.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.execution import Execution, ExecutionState
from pipeline.domain.features import COLUMN, NONE
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from pipeline.domain.refusals import FUTURE_TOLERANCE_MS, Refusal, is_log_time
from pipeline.domain.reversal import Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.state.outcomes import ORDER_MAX

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


class Later(NamedTuple):
    """What is said of a decision after it was made. The record doesn't say whom the payment was to."""

    account_id: str
    decision_id: str
    event_id: str  # the same where it is told again
    kind: OutcomeKind
    at_ms: int
    was_made: bool  # what was decided before stood as made, so the payment was of the normal month


class Held(NamedTuple):
    """A decision that waits for a person. It is remembered, because the person's record says less."""

    decision_id: str
    outcome: PaymentOutcome


Told = PaymentOutcome | Held | Later | Unusable
"""The content of a record."""

_DECIDED: Final = {
    Outcome.ALLOW: OutcomeKind.MADE,
    Outcome.BLOCK: OutcomeKind.WITHDRAWN,
    Outcome.ESCALATE: OutcomeKind.UNMADE,
}
_REVERSED: Final = {
    Outcome.ALLOW: OutcomeKind.MADE,
    Outcome.BLOCK: OutcomeKind.UNMADE,  # the money came back, but it was spent once
    Outcome.ESCALATE: OutcomeKind.UNMADE,
    None: OutcomeKind.WITHDRAWN,  # the payment that is decided anew counts itself
}
_HELD: Final = Struct(">qqq")


def counted_amount_gbp_minor(decision: Decision) -> int:
    """Return the amount as the state counted it; NONE where a static guardrail blocked the payment before.

    A payment that was counted has counts of its account; they are UNKNOWN at least, where some of them were lost.
    """
    features = decision.snapshot.features
    return NONE if features[_COUNT_1H] == NONE else features[_AMOUNT]


def told_by_execution(execution: Execution | Refusal) -> Told:
    return Unusable(execution) if isinstance(execution, Refusal) else outcome_of_execution(execution)


def told_by_decision(record: DecisionRecord | Refusal) -> Told:
    """Return what decisions say where no executor of ours does: what is allowed is made, what is blocked is not."""
    match record:
        case Refusal():
            return Unusable(record)
        case Decision():
            outcome = outcome_of_decision(record)
            return Held(record.decision_id, outcome) if record.outcome is Outcome.ESCALATE else outcome
        case ReviewOutcome():
            kind = _DECIDED[record.outcome]
            return Later(
                record.account_id, record.decision_id, record.review_id, kind, record.reviewed_at_ms, was_made=False
            )
        case Reversal():
            kind = _REVERSED[record.corrected_outcome]
            was_made = record.reversed_outcome is Outcome.ALLOW
            return Later(
                record.account_id, record.decision_id, record.reversal_id, kind, record.reversed_at_ms, was_made
            )


def outcome_of_decision(decision: Decision) -> PaymentOutcome:
    payment, kind = decision.snapshot.transaction, _DECIDED[decision.outcome]
    made_at_ms = max(payment.event_time_ms, decision.source_timestamp_ms)
    return PaymentOutcome(
        payment.account_id,
        payment.beneficiary_account_id,
        kind,
        payment.event_time_ms,
        NONE if kind is OutcomeKind.WITHDRAWN else made_at_ms,
        counted_amount_gbp_minor(decision),
        decision.decision_id.encode(),
        made_at_ms,
    )


def outcome_of_later(later: Later, held: PaymentOutcome | None) -> PaymentOutcome:
    """Return what was said later of a decision; `held`: as it was remembered, None where it wasn't.

    Without memory of it nobody becomes known and nothing leaves the volume, but what was made is taken back all the
    same: it may be of any normal month up to then.
    """
    if held is None:
        kind = OutcomeKind.WITHDRAWN if later.kind is OutcomeKind.WITHDRAWN else OutcomeKind.UNMADE
        until_ms = later.at_ms if later.was_made and later.kind is not OutcomeKind.MADE else NONE
        return PaymentOutcome(later.account_id, "", kind, NONE, NONE, NONE, later.decision_id.encode(), until_ms)
    made_at_ms = max(held.made_at_ms, later.at_ms) if later.kind is OutcomeKind.MADE else NONE
    return held._replace(kind=later.kind, made_at_ms=made_at_ms)


def within_log(outcome: PaymentOutcome, logged_at_ms: int) -> PaymentOutcome:
    """Return the outcome as a record can tell it that was logged then; what it says of times after that isn't known.

    A clock may be ahead of the log's by FUTURE_TOLERANCE_MS, as with payments. A record whose timestamp is no time of
    the log's dates nothing: nobody becomes known by it, and what it says of until when a payment counted, which only
    makes a normal month UNKNOWN, holds.
    """
    if not is_log_time(logged_at_ms):
        return outcome._replace(payment_time_ms=NONE, made_at_ms=NONE)
    latest_ms = logged_at_ms + FUTURE_TOLERANCE_MS
    payment_ms, made_ms, until_ms = outcome.payment_time_ms, outcome.made_at_ms, outcome.counted_until_ms
    if max(payment_ms, made_ms, until_ms) <= latest_ms:
        return outcome
    return outcome._replace(
        payment_time_ms=payment_ms if payment_ms <= latest_ms else NONE,
        made_at_ms=made_ms if made_ms <= latest_ms else NONE,
        counted_until_ms=until_ms if NONE != until_ms <= latest_ms else logged_at_ms,
    )


def held_text(outcome: PaymentOutcome) -> bytes:
    """Encode what is remembered of a decision that waits; its account and name are the reader's."""
    numbers = outcome.payment_time_ms, outcome.made_at_ms, outcome.amount_gbp_minor
    return _HELD.pack(*numbers) + outcome.beneficiary_account_id.encode()


def held_outcome(account_id: str, decision_id: str, text: bytes) -> PaymentOutcome:
    payment_time_ms, made_at_ms, amount_gbp_minor = _HELD.unpack_from(text)
    beneficiary = text[_HELD.size :].decode()
    numbers = payment_time_ms, made_at_ms, amount_gbp_minor
    return PaymentOutcome(account_id, beneficiary, OutcomeKind.UNMADE, *numbers, decision_id.encode(), made_at_ms)


def outcome_of_execution(execution: Execution) -> PaymentOutcome:
    """Return what an execution says of its payment. What it doesn't know, the state takes strictly.

    A sequence that can't be one is the last: the payment makes nobody known any more.
    """
    is_ordered = 0 <= execution.sequence < ORDER_MAX
    kind = KINDS[execution.state] if is_ordered else OutcomeKind.UNMADE
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
        execution.event_time_ms if execution.payment_logged_at_ms == NONE else execution.payment_logged_at_ms,
        execution.sequence if is_ordered else ORDER_MAX,
    )
