"""Taking decisions back: what a plan says of each, what that comes to, and the records that carry it out.

Invariants
1. A decision gets a Reversal only where what is in force differs from what should have been.
2. What a person has decided stands; what an earlier reversal gave back is decided anew, and no business of this plan.
3. A plan's hash covers its header and every line in order: a plan that was altered is not the plan that was approved.
4. The records are a function of plan and approval: made again, they are the same bytes under the same ids.
5. Nobody applies what they planned themselves.
6. What was stopped and should not have been is never released as paid: it is decided anew, by whoever decides now.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID, uuid5

from pipeline.domain.decision import Outcome
from pipeline.domain.identities import DecisionId, reversal_id
from pipeline.domain.payment import Transaction
from pipeline.domain.reversal import Reversal
from pipeline.people.roles import Person, Role

TRANSACTION_ID_CHARACTERS_MAX: Final = 64
EVENT_TIME_KEPT_MS: Final = 6 * 86_400_000
"""A payment is late from 7 days on, and decided strictly for that; a day to spare for backlog."""
_NAMESPACE_RELEASED: Final = UUID("c7a1e0d4-63b9-5b1f-9e28-4d05f8a6b372")
_ROUND: Final = re.compile(r"(.*):r([1-9][0-9]{0,5})-([0-9a-f]{8})", re.ASCII)


class Disposition(StrEnum):
    """A plan's effect on a decision, in order of precedence."""

    GIVEN_BACK = "GIVEN_BACK"  # an earlier reversal released it to be decided anew
    REVIEWED = "REVIEWED"  # a person decided: that stands
    UNDECIDABLE = "UNDECIDABLE"  # its payment would be refused today, so there is nothing to compare with
    UNCHANGED = "UNCHANGED"
    REVERSE = "REVERSE"  # a Reversal with the corrected outcome
    RELEASE = "RELEASE"  # a Reversal without one, and the payment published anew


CHANGING: Final = (Disposition.REVERSE, Disposition.RELEASE)


def disposition(before: Outcome | None, after: Outcome | None, *, is_reviewed: bool) -> Disposition:
    """`before`: what is in force, None where it was given back. `after`: None where it can't be decided again."""
    if before is None:
        return Disposition.GIVEN_BACK
    if is_reviewed:
        return Disposition.REVIEWED
    if after is None:
        return Disposition.UNDECIDABLE
    if before is after:
        return Disposition.UNCHANGED
    return Disposition.RELEASE if before is Outcome.BLOCK else Disposition.REVERSE


class PlanHeader(NamedTuple):
    """The request: criteria, versions to decide again under, and time. `criteria`: names and values as they were
    given."""

    plan_id: str
    requested_by: str
    requested_at_ms: int
    expires_at_ms: int
    reason: str
    criteria: Mapping[str, str]
    good_model_version: str
    good_model_hash: str
    good_policy_version: str
    good_policy_hash: str
    breaker: str


class PlanLine(NamedTuple):
    """One decision of a plan.

    `before` and `after` as in `disposition`. `why`: the good regime's summary, or why there is none.
    `amount_gbp_minor`: UNKNOWN where the currency has no rate. `payment_hex`: of RELEASE only, the payment in Avro.
    """

    decision_id: DecisionId
    transaction_id: str
    account_id: str
    topic_partition: int
    topic_offset: int
    currency: str
    amount_minor: int
    amount_gbp_minor: int
    before: Outcome | None
    after: Outcome | None
    disposition: Disposition
    is_held: bool
    is_in_review: bool
    why: str
    payment_hex: str


class PlanDigest:
    """SHA-256 over the header and the lines in order, a line at a time: plans may have a million."""

    def __init__(self, header: PlanHeader) -> None:
        self._digest = hashlib.sha256(_canonical(header._replace(criteria=dict(sorted(header.criteria.items())))))

    def add(self, line: PlanLine) -> None:
        self._digest.update(_canonical(line))

    def value(self) -> bytes:
        return self._digest.digest()


def plan_digest(header: PlanHeader, lines: Iterable[PlanLine]) -> bytes:
    digest = PlanDigest(header)
    for line in lines:
        digest.add(line)
    return digest.value()


def _canonical(fields: tuple[object, ...]) -> bytes:
    """A JSON array and a line feed: JSON escapes line feeds, so no two sequences of lines have the same bytes."""
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


class ApplyRefusal(StrEnum):
    """Refusals of a plan, in order of precedence; each is the sentence that the person reads."""

    ALTERED = "the stored plan is not the one that was made: its hash differs"
    NOT_AUTHORISED = "only a ROLLBACK_APPROVER applies a plan"
    OWN_PLAN = "a plan is applied by another person than the one who made it"
    EXPIRED = "the plan has expired; make a new one"
    OVERTAKEN = "decisions of the plan were reviewed or reversed since it was made; make a new one"


class Approval(NamedTuple):
    approved_by: str
    approved_at_ms: int


def plan_refusal(requester: Person) -> str | None:
    return None if requester.holds(Role.ROLLBACK_REQUESTER) else "only a ROLLBACK_REQUESTER makes a rollback plan"


def apply_refusal(
    header: PlanHeader, approver: Person, now_ms: int, *, is_intact: bool, is_approved: bool, overtaken: int
) -> ApplyRefusal | None:
    """Why `approver` may not apply the plan. What is approved already is finished, past its expiry too."""
    if not is_intact:
        return ApplyRefusal.ALTERED
    if not approver.holds(Role.ROLLBACK_APPROVER):
        return ApplyRefusal.NOT_AUTHORISED
    if approver.name == header.requested_by:
        return ApplyRefusal.OWN_PLAN
    if is_approved:
        return None
    if now_ms >= header.expires_at_ms:
        return ApplyRefusal.EXPIRED
    return ApplyRefusal.OVERTAKEN if overtaken else None


def reversal(header: PlanHeader, line: PlanLine, approval: Approval) -> Reversal:
    """The record of one line that changes. `reversed_at_ms` is the approval's time; the topic has the record's own."""
    assert line.before is not None, "what changes is in force"
    return Reversal(
        reversal_id(header.plan_id, line.decision_id),
        line.decision_id,
        line.transaction_id,
        line.account_id,
        header.plan_id,
        approval.approved_at_ms,
        line.before,
        None if line.disposition is Disposition.RELEASE else line.after,
        _reason(header, line),
        header.requested_by,
        approval.approved_by,
    )


def _reason(header: PlanHeader, line: PlanLine) -> str:
    regime = f"model {header.good_model_version} and policy {header.good_policy_version}"
    return f"{header.reason.rstrip('.')}. Under {regime}: {line.why}"


def released_payment(payment: Transaction, decision_id: str, approval: Approval) -> Transaction:
    """The payment as a new transaction. What would be late is asked for as of the approval."""
    age_ms = approval.approved_at_ms - payment.event_time_ms
    event_time_ms = payment.event_time_ms if age_ms < EVENT_TIME_KEPT_MS else approval.approved_at_ms
    name = released_id(payment.transaction_id, decision_id)
    return payment._replace(transaction_id=name, event_time_ms=event_time_ms)


class OriginIds(NamedTuple):
    """The range that the id of a decision lies in."""

    first: str
    last: str


def released_id(transaction_id: str, decision_id: str) -> str:
    """`T:r1-` and the first 8 digits of the decision's id, since several payments may have the id T; then `T:r2-` and
    so on. Where that is too long, the UUID that follows from it."""
    found = _ROUND.fullmatch(transaction_id)
    begun = f"{transaction_id}:r1" if found is None else f"{found[1]}:r{int(found[2]) + 1}"
    name = f"{begun}-{decision_id[:8]}"
    if len(name) <= TRANSACTION_ID_CHARACTERS_MAX:
        return name
    return str(uuid5(_NAMESPACE_RELEASED, f"{begun}-{decision_id}"))


def origin_ids(transaction_id: str) -> OriginIds | None:
    """The ids that the decision may have whose reversal gave the payment back under this id; None where it says
    nothing of that."""
    found = _ROUND.fullmatch(transaction_id)
    if found is None:
        return None
    return OriginIds(f"{found[3]}-0000-0000-0000-000000000000", f"{found[3]}-ffff-ffff-ffff-ffffffffffff")
