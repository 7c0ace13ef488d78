"""The review of an escalation, as one table: from the case's opening to its outcome's place on the topic.

Invariants
1. A missing key of TRANSITIONS is a bug: AssertionError.
2. A round has at most one outcome that counts: from DECIDED only VOIDED leads back to OPEN.
3. From the four-eyes amount on, or where the amount is not known, people's outcome has two different authors, and the
   second is a SENIOR_REVIEWER.
4. A claim that has not lapsed is exclusive: nobody else claims, and nobody else decides at first.
5. From its expiry on a case takes nothing from people; it expires to BLOCK, the safe side.
6. An act of a person counts once it is proved; what waits for something more counts only while its author has role and
   key. What doesn't count is VOIDED, and the case is open again.

A case is one round of one decision: round 1 for its escalation, one more each time that a reversal escalates it again.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final, Literal, NamedTuple

from pipeline.domain.decision import Outcome
from pipeline.domain.features import NONE
from pipeline.domain.free_text import ReasonFault, reason_fault, tidied
from pipeline.domain.identities import DecisionId
from pipeline.people.acts import ActKind, Subject
from pipeline.people.registry import Expected
from pipeline.people.roles import REVIEWERS, Person, Role, is_same

EXPIRY: Final = "system:expiry"
SERVICE: Final = "system:review"
EXPIRY_REASON: Final = "Nobody decided in time, so the payment is not made."
JudgedOutcome = Literal[Outcome.ALLOW, Outcome.BLOCK]


class State(StrEnum):
    NEW = "NEW"
    OPEN = "OPEN"
    CLAIMED = "CLAIMED"
    PROPOSED = "PROPOSED"
    DECIDED = "DECIDED"  # its outcome is on its way to the topic
    CLOSED = "CLOSED"  # and was read back from there, or the case was withdrawn


class Kind(StrEnum):
    OPENED = "OPENED"
    CLAIMED = "CLAIMED"
    RELEASED = "RELEASED"
    PROPOSED = "PROPOSED"  # from the four-eyes amount on: the first person's outcome
    DECLINED = "DECLINED"  # the second person disagrees: the case is open again
    DECIDED = "DECIDED"
    EXPIRED = "EXPIRED"
    WITHDRAWN = "WITHDRAWN"  # a reversal took the decision back
    PUBLISHED = "PUBLISHED"
    VOIDED = "VOIDED"  # nobody proved what came last, or its author has lost role or key since


_S, _K = State, Kind
TRANSITIONS: Final[dict[tuple[State, Kind], State]] = {
    (_S.NEW, _K.OPENED): _S.OPEN,
    (_S.OPEN, _K.CLAIMED): _S.CLAIMED,
    (_S.OPEN, _K.EXPIRED): _S.DECIDED,
    (_S.OPEN, _K.WITHDRAWN): _S.CLOSED,
    (_S.CLAIMED, _K.CLAIMED): _S.CLAIMED,
    (_S.CLAIMED, _K.RELEASED): _S.OPEN,
    (_S.CLAIMED, _K.PROPOSED): _S.PROPOSED,
    (_S.CLAIMED, _K.DECIDED): _S.DECIDED,
    (_S.CLAIMED, _K.EXPIRED): _S.DECIDED,
    (_S.CLAIMED, _K.WITHDRAWN): _S.CLOSED,
    (_S.PROPOSED, _K.DECLINED): _S.OPEN,
    (_S.PROPOSED, _K.DECIDED): _S.DECIDED,
    (_S.PROPOSED, _K.EXPIRED): _S.DECIDED,
    (_S.PROPOSED, _K.WITHDRAWN): _S.CLOSED,
    (_S.DECIDED, _K.WITHDRAWN): _S.CLOSED,
    (_S.DECIDED, _K.PUBLISHED): _S.CLOSED,
    (_S.CLAIMED, _K.VOIDED): _S.OPEN,
    (_S.PROPOSED, _K.VOIDED): _S.OPEN,
    (_S.DECIDED, _K.VOIDED): _S.OPEN,
}


class ReviewRules(NamedTuple):
    """`four_eyes_gbp_minor`: the amount in pence from which two people decide."""

    four_eyes_gbp_minor: int
    claim_ms: int
    reason_characters_min: int


class Case(NamedTuple):
    """`amount_gbp_minor` is NONE where the currency has no rate, or the decision can't be found any more."""

    decision_id: DecisionId
    round: int
    transaction_id: str
    account_id: str
    currency: str
    amount_minor: int
    amount_gbp_minor: int
    opened_at_ms: int
    expires_at_ms: int


class CaseEvent(NamedTuple):
    """`outcome` and `reason` where a person or the expiry judges; `claimed_until_ms` of a claim.

    `act`: the digest of what its person signed; None where no person acted.
    """

    sequence: int
    kind: Kind
    actor: str
    at_ms: int
    outcome: Outcome | None = None
    reason: str | None = None
    claimed_until_ms: int | None = None
    act: str | None = None


class CaseStanding(NamedTuple):
    """The sum of a case's events. `first` is the open claim or proposal, `last` the event that decided."""

    state: State
    sequence: int
    first: CaseEvent | None
    last: CaseEvent | None


UNOPENED: Final = CaseStanding(State.NEW, 0, None, None)


class Judgement(NamedTuple):
    outcome: JudgedOutcome
    reason: str


class ReviewRefusal(StrEnum):
    """Refusals of an act, in order of precedence; each is the sentence that the person reads."""

    ALREADY_DECIDED = "the case is decided already"
    EXPIRED = "the case has expired, to BLOCK"
    NOT_AUTHORISED = "only a REVIEWER or SENIOR_REVIEWER may act on a case"
    REASON_HIDDEN = f"the reason {ReasonFault.HIDDEN}"
    REASON_TOO_SHORT = f"the reason {ReasonFault.TOO_SHORT}"
    REASON_TOO_LONG = f"the reason {ReasonFault.TOO_LONG}"
    CLAIMED_BY_ANOTHER = "somebody else has claimed the case"
    AWAITS_SECOND = "an outcome is proposed: it waits to be confirmed or declined by another person"
    NOT_CLAIMED = "the case must be claimed first, or the claim has lapsed"
    OWN_PROPOSAL = "another person must confirm or decline what you proposed"
    NOT_SENIOR = "only a SENIOR_REVIEWER confirms or declines what was proposed"
    ACTED_MEANWHILE = "somebody acted on the case at the same moment; look at it again"


def standing(events: Iterable[CaseEvent]) -> CaseStanding:
    """`events` in the order of their sequence."""
    at = UNOPENED
    for event in events:
        at = advanced(at, event)
    return at


def advanced(at: CaseStanding, event: CaseEvent) -> CaseStanding:
    after = TRANSITIONS.get((at.state, event.kind))
    assert after is not None, f"no transition from {at.state} on {event.kind}"
    assert event.sequence == at.sequence + 1, "events of a case have no gaps"
    first = event if after in (State.CLAIMED, State.PROPOSED) else at.first if after is State.DECIDED else None
    last = event if after is State.DECIDED else None if event.kind is Kind.VOIDED else at.last
    return CaseStanding(after, event.sequence, first, last)


def is_possible(at: CaseStanding, kind: Kind) -> bool:
    return (at.state, kind) in TRANSITIONS


def needs_second(case: Case, rules: ReviewRules) -> bool:
    return case.amount_gbp_minor == NONE or case.amount_gbp_minor >= rules.four_eyes_gbp_minor


def claim(case: Case, at: CaseStanding, person: Person, now_ms: int, rules: ReviewRules) -> CaseEvent | ReviewRefusal:
    """Claim a case. A claim of one's own is renewed, and one that has lapsed is taken over."""
    if refusal := _refusal(case, at, person, now_ms):
        return refusal
    if at.state is State.PROPOSED:
        return ReviewRefusal.AWAITS_SECOND
    if _is_claimed_by_another(at, person, now_ms):
        return ReviewRefusal.CLAIMED_BY_ANOTHER
    until_ms = min(now_ms + rules.claim_ms, case.expires_at_ms)
    return CaseEvent(at.sequence + 1, Kind.CLAIMED, person.name, now_ms, claimed_until_ms=until_ms)


def release(case: Case, at: CaseStanding, person: Person, now_ms: int) -> CaseEvent | ReviewRefusal:
    """Gives one's own claim back."""
    if refusal := _refusal(case, at, person, now_ms):
        return refusal
    if at.state is State.PROPOSED:
        return ReviewRefusal.AWAITS_SECOND
    if _is_claimed_by_another(at, person, now_ms):
        return ReviewRefusal.CLAIMED_BY_ANOTHER
    if not _is_claimed_by(at, person, now_ms):
        return ReviewRefusal.NOT_CLAIMED
    return CaseEvent(at.sequence + 1, Kind.RELEASED, person.name, now_ms)


def judge(
    case: Case, at: CaseStanding, person: Person, judgement: Judgement, now_ms: int, rules: ReviewRules
) -> CaseEvent | ReviewRefusal:
    """A person's outcome: it decides, proposes to a second person, or answers what a first one proposed."""
    if refusal := _refusal(case, at, person, now_ms) or _reason_refusal(judgement.reason, rules):
        return refusal
    if at.state is State.PROPOSED:
        return _answer(at, person, judgement, now_ms)
    if _is_claimed_by_another(at, person, now_ms):
        return ReviewRefusal.CLAIMED_BY_ANOTHER
    if not _is_claimed_by(at, person, now_ms):
        return ReviewRefusal.NOT_CLAIMED
    kind = Kind.PROPOSED if needs_second(case, rules) else Kind.DECIDED
    return _judged(at, kind, person, judgement, now_ms)


def expiry(case: Case, at: CaseStanding, now_ms: int) -> CaseEvent | None:
    """The event that ends a case which nobody decided in time; None where there is nothing to end."""
    if now_ms < case.expires_at_ms or not is_possible(at, Kind.EXPIRED):
        return None
    return CaseEvent(at.sequence + 1, Kind.EXPIRED, EXPIRY, now_ms, Outcome.BLOCK, EXPIRY_REASON)


def is_expired_otherwise(case: Case, at: CaseStanding) -> bool:
    """Whether a case is said to have expired, but not in the service's words or before its time was up."""
    if at.last is None or at.last.kind is not Kind.EXPIRED:
        return False
    said = at.last.actor, at.last.outcome, at.last.reason
    return said != (EXPIRY, Outcome.BLOCK, EXPIRY_REASON) or at.last.at_ms < case.expires_at_ms


def withdrawal(at: CaseStanding, reason: str, at_ms: int) -> CaseEvent | None:
    """A reversal took the decision back: what people would say of it counts no more."""
    if not is_possible(at, Kind.WITHDRAWN):
        return None
    return CaseEvent(at.sequence + 1, Kind.WITHDRAWN, SERVICE, at_ms, reason=reason)


def voiding(at: CaseStanding, reason: str, at_ms: int) -> CaseEvent | None:
    """Return the event that opens a case again because what came last counts as nothing.

    None where nothing waits that a person did.
    """
    if not is_possible(at, Kind.VOIDED) or (at.state is State.DECIDED and not is_by_people(at)):
        return None
    return CaseEvent(at.sequence + 1, Kind.VOIDED, SERVICE, at_ms, reason=reason)


def is_by_people(at: CaseStanding) -> bool:
    """Return whether a decided case's outcome is people's, and not the expiry's."""
    return at.last is not None and at.last.kind is Kind.DECIDED


ACT_KINDS: Final[dict[Kind, ActKind]] = {
    Kind.CLAIMED: ActKind.CASE_CLAIMED,
    Kind.RELEASED: ActKind.CASE_RELEASED,
    Kind.PROPOSED: ActKind.CASE_PROPOSED,
    Kind.DECLINED: ActKind.CASE_DECLINED,
    Kind.DECIDED: ActKind.CASE_DECIDED,
}


def subject_of(case: Case, event: CaseEvent) -> Subject:
    """Return what a person signs: the event, and the payment as the case shows it."""
    return {
        "decision_id": case.decision_id,
        "round": case.round,
        "sequence": event.sequence,
        "event_at_ms": event.at_ms,
        "outcome": None if event.outcome is None else event.outcome.value,
        "reason": event.reason,
        "claimed_until_ms": event.claimed_until_ms,
        "transaction_id": case.transaction_id,
        "currency": case.currency,
        "amount_minor": case.amount_minor,
        "amount_gbp_minor": case.amount_gbp_minor,
    }


def claimed_acts(case: Case, at: CaseStanding) -> dict[str | None, Expected]:
    """The acts that must be proved before what waits in a case counts, by digest."""
    if at.state is State.DECIDED and not is_by_people(at):
        return {}
    waiting = [event for event in (at.first, at.last) if event is not None and event.kind in ACT_KINDS]
    answers = at.first is not None and at.first.kind is Kind.PROPOSED
    return {
        event.act: Expected(
            ACT_KINDS[event.kind],
            event.actor,
            subject_of(case, event),
            (Role.SENIOR_REVIEWER,) if answers and event is at.last else REVIEWERS,
        )
        for event in waiting
    }


def rule_fault(case: Case, at: CaseStanding, rules: ReviewRules) -> str | None:
    """Return why people's outcome breaks the rules, whoever stored it, or None where it keeps them."""
    if not is_by_people(at):
        return None
    first, last = at.first, at.last
    assert last is not None, "people's outcome is an event"
    if first is None or first.kind not in (Kind.CLAIMED, Kind.PROPOSED):
        return "nobody had claimed the case"
    if first.kind is Kind.CLAIMED and not is_same(first.actor, last.actor):
        return "another person had claimed the case"
    if first.kind is Kind.PROPOSED and (is_same(first.actor, last.actor) or first.outcome is not last.outcome):
        return "no other person had proposed that outcome"
    if last.at_ms >= case.expires_at_ms:
        return "the case had expired"
    return "two people must decide it" if first.kind is Kind.CLAIMED and needs_second(case, rules) else None


def opening(case: Case) -> CaseEvent:
    return CaseEvent(1, Kind.OPENED, SERVICE, case.opened_at_ms)


def publication(at: CaseStanding, at_ms: int) -> CaseEvent | None:
    """The outcome was read back from the topic; None where that is recorded, or the case was withdrawn meanwhile."""
    if not is_possible(at, Kind.PUBLISHED):
        return None
    return CaseEvent(at.sequence + 1, Kind.PUBLISHED, SERVICE, at_ms)


class Authors(NamedTuple):
    reviewed_by: str
    second_reviewer: str | None


def authors(at: CaseStanding) -> Authors:
    """The authors of a decided case's outcome: who judged first, and who confirmed."""
    assert at.last is not None, "the case is decided"
    if at.last.kind is Kind.DECIDED and at.first is not None and at.first.kind is Kind.PROPOSED:
        return Authors(at.first.actor, at.last.actor)
    return Authors(at.last.actor, None)


def diagram() -> str:
    """TRANSITIONS as a Mermaid state diagram."""
    arrows = [f"    {before} --> {after}: {kind}" for (before, kind), after in TRANSITIONS.items()]
    return "\n".join(["stateDiagram-v2", "    [*] --> NEW", *arrows, "    CLOSED --> [*]"]) + "\n"


def _answer(at: CaseStanding, person: Person, judgement: Judgement, now_ms: int) -> CaseEvent | ReviewRefusal:
    assert at.first is not None, "a proposal has an author"
    if is_same(at.first.actor, person.name):
        return ReviewRefusal.OWN_PROPOSAL
    if not person.holds(Role.SENIOR_REVIEWER):
        return ReviewRefusal.NOT_SENIOR
    kind = Kind.DECIDED if judgement.outcome is at.first.outcome else Kind.DECLINED
    return _judged(at, kind, person, judgement, now_ms)


def _judged(at: CaseStanding, kind: Kind, person: Person, judgement: Judgement, now_ms: int) -> CaseEvent:
    return CaseEvent(at.sequence + 1, kind, person.name, now_ms, judgement.outcome, tidied(judgement.reason))


def _refusal(case: Case, at: CaseStanding, person: Person, now_ms: int) -> ReviewRefusal | None:
    if at.state in (State.DECIDED, State.CLOSED):
        return ReviewRefusal.ALREADY_DECIDED
    if now_ms >= case.expires_at_ms:
        return ReviewRefusal.EXPIRED
    if not person.holds(Role.REVIEWER, Role.SENIOR_REVIEWER):
        return ReviewRefusal.NOT_AUTHORISED
    return None


def _reason_refusal(reason: str, rules: ReviewRules) -> ReviewRefusal | None:
    fault = reason_fault(reason, characters_min=rules.reason_characters_min)
    return None if fault is None else ReviewRefusal(f"the reason {fault}")


def _is_live(claimed: CaseEvent | None, now_ms: int) -> bool:
    return claimed is not None and claimed.claimed_until_ms is not None and now_ms < claimed.claimed_until_ms


def _is_claimed_by(at: CaseStanding, person: Person, now_ms: int) -> bool:
    return _is_live(at.first, now_ms) and at.first is not None and at.first.actor == person.name


def _is_claimed_by_another(at: CaseStanding, person: Person, now_ms: int) -> bool:
    return _is_live(at.first, now_ms) and at.first is not None and at.first.actor != person.name
