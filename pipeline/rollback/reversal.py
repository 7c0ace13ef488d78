"""Taking decisions back: what a plan says of each, what that comes to, and the records that carry it out.

Invariants
1. A decision gets a Reversal only where what became of its payment differs from what should have been. That is what the
   ledger says, and never what a reversal asked for: a payment whose recall failed is paid.
2. What a person has decided stands; what an earlier reversal gave back is decided anew, and no business of this plan.
   So is what nobody knows yet (under way, in doubt), and what a person sees to (a recovery).
3. A plan's digest covers its header and every line in order: a plan that was altered is not the plan that was approved.
4. The records are a function of plan and approval: made again, they are the same bytes under the same ids.
5. Nobody applies what they planned themselves.
6. What was stopped and should not have been is never released as paid: it is decided anew, by whoever decides now, and
   only once the ledger has released it.
7. Every Reversal names the record that was in force when the plan was made; where another is, it changes nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple
from uuid import UUID, uuid5

from pipeline.domain.decision import Outcome
from pipeline.domain.identities import DecisionId, reversal_id
from pipeline.domain.payment import Transaction
from pipeline.domain.reversal import RecordKind, RecordName, Reversal
from pipeline.people.roles import Person, Role, is_same

TRANSACTION_ID_CHARACTERS_MAX: Final = 64
EVENT_TIME_KEPT_MS: Final = 6 * 86_400_000
"""A payment is late from 7 days on, and decided strictly for that; a day to spare for backlog."""
_NAMESPACE_RELEASED: Final = UUID("c7a1e0d4-63b9-5b1f-9e28-4d05f8a6b372")
_ROUND: Final = re.compile(r"(.*):r([1-9][0-9]{0,5})-([0-9a-f]{8})", re.ASCII)


class Place(StrEnum):
    """Where a payment's money is, for a plan."""

    UNKNOWN = "UNKNOWN"  # the ledger has no execution for the decision
    UNDER_WAY = "UNDER_WAY"  # or in doubt
    RELEASED = "RELEASED"
    PARTLY_PAID = "PARTLY_PAID"  # some of it was had back
    PAID = "PAID"
    HELD = "HELD"
    UNPAID = "UNPAID"


class Standing(NamedTuple):
    """What the ledger and the reviews say about a decision.

    `replaces` and `outcome`: the record in force, and its word, None where it gives the payment back. `state`: the
    ledger's own word. `is_reviewed`: a person's outcome is in force, or on its way to the topic.
    """

    place: Place
    state: str
    replaces: RecordName
    outcome: Outcome | None
    is_reviewed: bool
    is_in_review: bool


class Disposition(StrEnum):
    """A plan's effect on a decision, in order of precedence."""

    NOT_EXECUTED = "NOT_EXECUTED"  # its payment is executed as another decision says
    UNSETTLED = "UNSETTLED"  # its payment is under way or in doubt
    GIVEN_BACK = "GIVEN_BACK"  # an earlier reversal released it to be decided anew
    REVIEWED = "REVIEWED"  # a person decided: that stands
    RECOVERING = "RECOVERING"  # part of its money was had back: a person sees to the rest
    NOT_MADE = "NOT_MADE"  # its payment failed for want of funds, or on the rail, and not by the decision
    UNDECIDABLE = "UNDECIDABLE"  # its payment would be refused today, so there is nothing to compare with
    UNCHANGED = "UNCHANGED"
    REVERSE = "REVERSE"  # a Reversal with the corrected outcome
    RELEASE = "RELEASE"  # a Reversal without one, and the payment published anew


CHANGING: Final = (Disposition.REVERSE, Disposition.RELEASE)


_MADE_OF: Final = {Place.PAID: Outcome.ALLOW, Place.HELD: Outcome.ESCALATE, Place.UNPAID: Outcome.BLOCK}
_LEFT: Final = {
    Place.UNKNOWN: Disposition.NOT_EXECUTED,
    Place.UNDER_WAY: Disposition.UNSETTLED,
    Place.RELEASED: Disposition.GIVEN_BACK,
}


def outcome_before(stands: Standing) -> Outcome | None:
    """The outcome that the payment's money is at; None where it is at none."""
    return _MADE_OF.get(stands.place)


def disposition(stands: Standing, after: Outcome | None) -> Disposition:
    """`after`: None where it can't be decided again."""
    if stands.place in _LEFT:
        return _LEFT[stands.place]
    if stands.is_reviewed:
        return Disposition.REVIEWED
    if stands.place is Place.PARTLY_PAID:
        return Disposition.RECOVERING
    if stands.place is Place.UNPAID and stands.outcome is not Outcome.BLOCK:
        return Disposition.NOT_MADE
    if after is None:
        return Disposition.UNDECIDABLE
    if after is outcome_before(stands) is stands.outcome:
        return Disposition.UNCHANGED
    if stands.place is Place.UNPAID:
        return Disposition.RELEASE
    return Disposition.REVERSE


class PlanHeader(NamedTuple):
    """The request: criteria, versions to decide again under, and time. `criteria`: names and values as they were
    given. `good_feeds`: by kind its hash in hexadecimal, a blank, and its version; none where each decision's own was
    good."""

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
    good_feeds: Mapping[str, str] = MappingProxyType({})


class PlanLine(NamedTuple):
    """One decision of a plan.

    `before` as in `outcome_before`, `after` as in `disposition`. `why`: the good regime's summary, or why there is
    none.
    `amount_gbp_minor`: UNKNOWN where the currency has no rate. `payment_hex`: of RELEASE only, the payment in Avro.
    `state`: the ledger's, empty where it has none. `replaces_…`: the record in force.
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
    state: str
    replaces_kind: RecordKind
    replaces_id: str


def header_bytes(header: PlanHeader) -> bytes:
    """The first line of a plan's canonical bytes. Its SHA-256 over all lines is what is approved, and to be signed."""
    criteria, feeds = (dict(sorted(each.items())) for each in (header.criteria, header.good_feeds))
    whole = header._replace(criteria=criteria, good_feeds=feeds)
    return _canonical(whole if feeds else whole[:-1])  # as plans of before there were good feeds


def line_bytes(line: PlanLine) -> bytes:
    """One more line of a plan's canonical bytes."""
    return _canonical(line)


def header_of(read: bytes) -> PlanHeader:
    """From bytes whose digest is known to be a plan's."""
    return PlanHeader(*json.loads(read))


def line_of(read: bytes) -> PlanLine:
    """From bytes whose digest is known to be a plan's."""
    line = PlanLine(*json.loads(read))
    return line._replace(
        before=None if line.before is None else Outcome(line.before),
        after=None if line.after is None else Outcome(line.after),
        disposition=Disposition(line.disposition),
        replaces_kind=RecordKind(line.replaces_kind),
    )


def plan_digest(header: PlanHeader, lines: Iterable[PlanLine]) -> bytes:
    digest = hashlib.sha256(header_bytes(header))
    for line in lines:
        digest.update(line_bytes(line))
    return digest.digest()


def _canonical(fields: tuple[object, ...]) -> bytes:
    """A JSON array and a line feed: JSON escapes line feeds, so no two sequences of lines have the same bytes."""
    return json.dumps(fields, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


class ApplyRefusal(StrEnum):
    """Refusals of a plan, in order of precedence; each is the sentence that the person reads."""

    ALTERED = "the stored plan is not the one that was made, or not the one that was approved: its digest differs"
    NOT_AUTHORISED = "only a ROLLBACK_APPROVER applies a plan"
    OWN_PLAN = "a plan is applied by another person than the one who made it"
    UNPROVED = "nobody proved who made or approved the plan, or whoever made it may make none any more"
    EXPIRED = "the plan has expired; make a new one"
    ADDED_OTHERWISE = "its totals are not what its lines add up to"
    OVERTAKEN = "decisions of the plan were reviewed or reversed since it was made, says the ledger; make a new one"
    APPLIED_BEFORE = (
        "reversals of it stand on decisions.v1, and the database has lost who approved them; make a new one"
    )


class Approval(NamedTuple):
    approved_by: str
    approved_at_ms: int


def plan_refusal(requester: Person) -> str | None:
    return None if requester.holds(Role.ROLLBACK_REQUESTER) else "only a ROLLBACK_REQUESTER makes a rollback plan"


def apply_refusal(
    header: PlanHeader,
    approver: Person,
    now_ms: int,
    *,
    is_intact: bool,
    is_proved: bool,
    is_approved: bool,
    overtaken: int,
) -> ApplyRefusal | None:
    """Why `approver` may not apply the plan. What is approved already is finished, past its expiry too."""
    if not is_intact:
        return ApplyRefusal.ALTERED
    if not approver.holds(Role.ROLLBACK_APPROVER):
        return ApplyRefusal.NOT_AUTHORISED
    if is_same(approver.name, header.requested_by):
        return ApplyRefusal.OWN_PLAN
    if not is_proved:
        return ApplyRefusal.UNPROVED
    if is_approved:
        return None
    if now_ms >= header.expires_at_ms:
        return ApplyRefusal.EXPIRED
    return ApplyRefusal.OVERTAKEN if overtaken else None


def reversal(header: PlanHeader, digest: bytes, line: PlanLine, approval: Approval) -> Reversal:
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
        line.replaces_kind,
        line.replaces_id,
        digest.hex(),
    )


class ReleaseEnd(StrEnum):
    """What became of a line that gives a payment back."""

    PUBLISHED = "PUBLISHED"  # the ledger released it, and it was published anew
    OVERTAKEN = "OVERTAKEN"  # something else was in force by then
    NOT_RECALLED = "NOT_RECALLED"  # its money could not be had back: the payment stays as it is


class Heard(NamedTuple):
    """What the executor made of a line's reversal, and where the payment is now.

    `is_last`: no later record has set what the executor works towards.
    """

    is_ignored: bool
    is_last: bool
    place: Place


def release_end(heard: Heard | None) -> ReleaseEnd | None:
    """None where it isn't known yet: the executor hasn't heard the reversal, or is at work on it."""
    if heard is None:
        return None
    if heard.is_ignored:
        return ReleaseEnd.OVERTAKEN
    if heard.place is Place.UNDER_WAY:
        return None
    if not heard.is_last:
        return ReleaseEnd.OVERTAKEN
    return ReleaseEnd.PUBLISHED if heard.place is Place.RELEASED else ReleaseEnd.NOT_RECALLED


def _reason(header: PlanHeader, line: PlanLine) -> str:
    regime = regime_words(header.good_model_version, header.good_policy_version, header.good_feeds)
    return f"{header.reason.rstrip('.')}. Under {regime}: {line.why}"


def regime_words(model_version: str, policy_version: str, feeds: Mapping[str, str]) -> str:
    """Return what a plan decides again under, as people read it; feeds as a plan's header has them."""
    named = [f"{kind.lower().replace('_', ' ')} {name.partition(' ')[2]}" for kind, name in sorted(feeds.items())]
    return f"model {model_version} and policy {policy_version}" + (f", with {' and '.join(named)}" if named else "")


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
