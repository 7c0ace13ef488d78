"""Ids that follow from what they name, so that doing a thing again writes the same row (I2).

Invariants
1. Same arguments, same id; on every machine, for ever. The namespaces below never change.
2. Ids of different kinds never meet: each kind has a namespace of its own, and fundings a version of UUID.
3. Arguments can't be shifted into each other: parts are joined by a line feed, and no id holds one.
4. No two payments share an id: the ids of decision and execution follow from the payment's digest too, since a
   publisher's reference may come again. What is decided about a payment once more is executed under the same id.
"""

from __future__ import annotations

import hashlib
from typing import Final, NewType
from uuid import UUID

from pipeline.domain.log import Source
from pipeline.domain.payment import Transaction, payment_digest

DecisionId = NewType("DecisionId", str)
ExecutionId = NewType("ExecutionId", str)
ReversalId = NewType("ReversalId", str)
ReviewId = NewType("ReviewId", str)
PostingId = NewType("PostingId", str)

LATE_AFTER_MS: Final = 7 * 86_400_000
"""A payment is late whose event time lies more than this before its log time: it may have been decided and forgotten.
So it is decided strictly, and its decision's id says where it stands."""

_FUNDING: Final = b"fraud-funding-v1\n"
NAMESPACE_DECISION: Final = UUID("8f0c9a3e-1f1b-5c52-9d7e-6c1a5f0e2b47")
NAMESPACE_EXECUTION: Final = UUID("2d3f1c52-7b0e-5a44-9c1d-51f7a0c8e6b1")
NAMESPACE_REVERSAL: Final = UUID("b1f6c9a4-0d2e-5f83-8a57-3e94d2c7f018")
NAMESPACE_REVIEW: Final = UUID("6e0a7d19-c43b-5e21-b7f8-90d15a2c4e63")
NAMESPACE_POSTING: Final = UUID("94c8e2b7-51fa-5d06-a3c9-7f1b6e0d8a25")

_DECISION: Final = NAMESPACE_DECISION.bytes
_EXECUTION: Final = NAMESPACE_EXECUTION.bytes
_REVERSAL: Final = NAMESPACE_REVERSAL.bytes
_REVIEW: Final = NAMESPACE_REVIEW.bytes
_POSTING: Final = NAMESPACE_POSTING.bytes

_VARIANTS: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""The digit with a UUID's variant, by the one that the hash has there."""


def decision_id(transaction: Transaction, digest: bytes, source: Source) -> DecisionId:
    """`digest`: the payment's, whole. `source`: of the record that was decided, which counts where that is late."""
    system, transaction_id = transaction.source_system or "", transaction.transaction_id
    if source.timestamp_ms - transaction.event_time_ms > LATE_AFTER_MS:
        place = str(source.partition), str(source.offset)
        return DecisionId(uuid5_text(_DECISION, system, transaction_id, digest.hex(), *place))
    return DecisionId(uuid5_text(_DECISION, system, transaction_id, digest.hex()))


def execution_id(transaction: Transaction) -> ExecutionId:
    """The id of everything that is done about one payment, whatever is decided about it, and however often."""
    system, digest = transaction.source_system or "", payment_digest(transaction)
    return ExecutionId(uuid5_text(_EXECUTION, system, transaction.transaction_id, digest.hex()))


def reversal_id(plan_id: str, decision_id: str) -> ReversalId:
    return ReversalId(uuid5_text(_REVERSAL, plan_id, decision_id))


def review_id(decision_id: str, review_round: int) -> ReviewId:
    """`review_round`: 1 for the escalation itself, then one more each time that a reversal sends it to review again."""
    return ReviewId(uuid5_text(_REVIEW, decision_id, str(review_round)))


def posting_id(execution: str, step: str, attempt: int) -> PostingId:
    """`step`: a saga step's name. `attempt`: 1, then one more each time that the saga takes the same step again."""
    return PostingId(uuid5_text(_POSTING, execution, step, str(attempt)))


def funding_id(what_for: str) -> PostingId:
    """The id of money that comes in from outside. A UUID of version 8, of which the database lets nothing else be, so
    that no funding takes an id that a payment's posting needs."""
    digest = hashlib.sha256(_FUNDING + what_for.encode()).hexdigest()
    variant = _VARIANTS[digest[16]]
    return PostingId(f"{digest[:8]}-{digest[8:12]}-8{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}")


def uuid5_text(namespace: bytes, *parts: str) -> str:
    """The same text as `uuid.uuid5` of the parts, one a line, without building a UUID for each of a batch."""
    digest = hashlib.sha1(namespace + "\n".join(parts).encode(), usedforsecurity=False).hexdigest()
    variant = _VARIANTS[digest[16]]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"
