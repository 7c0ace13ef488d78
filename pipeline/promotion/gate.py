"""The gate: whether a version may take over, from facts alone; every reason against it at once.

Invariants
1. No fact that is missing, unreadable, old, of another digest or against itself is ever a pass.
2. Worse facts never turn a refusal into a pass: each reason that stood still stands.
3. The answer depends on the facts alone, and its order is always the same.
4. What the shadow's process wrote is a claim: it counts where the audit log and the version itself say the same.
5. Every run of a check counts, not only the one that passed, also where its file was taken away; what compares was
   compared with the champion of now, under the policy of now; and what chance enters has the seed that follows from
   both, and from what was drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from fractions import Fraction
from itertools import product
from typing import Final, NamedTuple

from models.versions.approvals import APPROVING_ROLES
from models.versions.evidence import ASKED_KINDS, seed_of
from pipeline.decide.rollout.limits import DAY_MS, Promotion
from pipeline.domain.money import count_text
from pipeline.domain.times import utc_text
from pipeline.people.roles import Role, is_same
from pipeline.promotion.facts import (
    CLOCKS_MS,
    COMPARED_KINDS,
    Approval,
    Facts,
    Found,
    Shadow,
    Unread,
    shadow_fault,
)

FINDINGS_SHOWN_MAX: Final = 3
STRATA_SHOWN_MAX: Final = 5
NAMES_A_ROLE_MAX: Final = 16
"""Approvals of a role that are looked at: more would make combinations of three a search."""


class Reason(StrEnum):
    """Why a promotion is refused, in the order in which the reasons are told."""

    POLICY = "POLICY"
    PROMOTER = "PROMOTER"
    STANDING = "STANDING"
    ARTEFACT = "ARTEFACT"
    EVIDENCE = "EVIDENCE"
    SHADOW = "SHADOW"
    SHADOW_SPAN = "SHADOW_SPAN"
    SHADOW_SAMPLE = "SHADOW_SAMPLE"
    AGREEMENT = "AGREEMENT"
    AGREEMENT_STOPPED = "AGREEMENT_STOPPED"
    REVIEWS = "REVIEWS"
    VERDICTS = "VERDICTS"
    APPROVALS = "APPROVALS"
    ROLLOUT = "ROLLOUT"
    REASON = "REASON"


class Refusal(NamedTuple):
    """A reason with figure and limit, as a whole sentence."""

    reason: Reason
    text: str


def refusals(facts: Facts) -> list[Refusal]:
    """Return every reason against the promotion; none where it may go on."""
    found = [Refusal(reason, text) for reason, text in _reasons(facts)]
    return sorted(found, key=lambda refusal: list(Reason).index(refusal.reason))


def _reasons(facts: Facts) -> Iterator[tuple[Reason, str]]:
    if facts.limits is None:
        yield Reason.POLICY, "The policy in force has no [promotion], so nothing says what a promotion takes."
    if facts.promoter_fault is not None:
        yield Reason.PROMOTER, f"Whoever asks may not: {facts.promoter_fault}."
    if facts.standing_fault is not None:
        yield Reason.STANDING, f"The champion can't be moved so: {facts.standing_fault}."
    if isinstance(facts.digest, Unread):
        yield Reason.ARTEFACT, f"The artefact of {facts.version} can't be used: {facts.digest.why}."
    if isinstance(facts.champion, Unread):
        yield Reason.STANDING, f"It isn't known what decides now: {facts.champion.why}."
    elif facts.version == facts.champion:
        yield Reason.ARTEFACT, f"{facts.version} is the champion already."
    if isinstance(facts.evidence, Unread):
        yield Reason.EVIDENCE, f"The evidence can't be relied upon: {facts.evidence.why}."
    else:
        for kind in ASKED_KINDS:
            for text in _evidence_faults(facts, kind, facts.evidence.get(kind)):
                yield Reason.EVIDENCE, text
    for each in facts.evidence_gone:
        result = "passed" if each.passed else "did not pass"
        yield (
            Reason.EVIDENCE,
            f"'{each.name}', which {result} and was filed at {utc_text(each.at_ms)}, is not in the registry any more.",
        )
    yield from shadow_reasons(facts.version, facts.shadow, facts.limits, facts.now_ms)
    for text in _approval_faults(facts):
        yield Reason.APPROVALS, text


def _evidence_faults(facts: Facts, kind: str, found: Found | None) -> Iterator[str]:
    if found is None:
        yield f"There is no evidence of {kind} for {facts.version} (`{filed_by(kind, facts.version)}`)."
        return
    if found.digest != facts.digest:
        yield f"The evidence of {kind} is about another artefact, {found.digest[:16]}."
    if not found.passed:
        yield f"The evidence of {kind} did not pass: {_findings(found)}."
    if not found.is_recorded:
        yield f"The database has no record of the evidence of {kind}; have it checked again."
    yield from _age_faults(f"The evidence of {kind}", found.made_at_ms, facts, _days(facts.limits, "evidence_days"))
    if facts.limits is not None and found.failed > facts.limits.failed_runs:
        failed = count_text(found.failed, "run")
        yield f"{failed} of {kind} failed, and {facts.limits.failed_runs} may before one passes."
    if kind in COMPARED_KINDS:
        yield from _grounds_faults(facts, kind, found)
    if kind == "red-team" and facts.limits is not None:
        yield from _red_team_faults(facts, facts.limits, found)


def filed_by(kind: str, version: str) -> str:
    """Return the command that files evidence of a kind that the gate asks for."""
    match kind:
        case "red-team":
            return f"fraud models red-team {version} --evidence KEYFILE"
        case "bias":
            return f"fraud models bias {version} --evidence"
        case _:
            return f"fraud models check {version} --evidence"


def _grounds_faults(facts: Facts, kind: str, found: Found) -> Iterator[str]:
    if found.champion is None:
        yield f"The evidence of {kind} doesn't say with which champion it compares."
    elif found.champion != facts.champion_digest:
        yield f"The evidence of {kind} compares with another champion, {found.champion[:16]}, than decides now."
    if found.policy is None:
        yield f"The evidence of {kind} doesn't say under which policy it was made."
    elif found.policy != facts.policy:
        yield f"The evidence of {kind} was made under another policy, {found.policy[:16]}."


def _red_team_faults(facts: Facts, limits: Promotion, found: Found) -> Iterator[str]:
    if limits.red_team is None:
        yield "The policy in force has no [promotion.red_team], so nothing says how far a red team's findings may rise."
        return
    asked = (limits.red_team.budget, limits.red_team.trials)
    if found.effort != asked:
        tried = "it doesn't say how often" if found.effort is None else f"{found.effort[0]} and {found.effort[1]} times"
        yield f"The red team searched and tried {tried}, and must {asked[0]} and {asked[1]} times."
    if isinstance(facts.digest, Unread) or facts.champion_digest is None or facts.policy is None:
        return  # each is a reason of its own
    if facts.drawn is None:
        yield "No seed of a red team was drawn for it beside the champion and under the policy of now."
    elif found.seed != seed_of(facts.digest, facts.champion_digest, facts.policy, facts.drawn):
        yield "The red team's seed is not the one that follows from both artefacts, the policy and what was drawn."


def _findings(found: Found) -> str:
    shown = [each.rstrip(".") for each in found.findings[:FINDINGS_SHOWN_MAX]]
    more = len(found.findings) - len(shown)
    return ("; ".join(shown) + (f"; and {more} more" if more else "")) or "it doesn't say why"


def _age_faults(what: str, at_ms: int, facts: Facts, days: int | None) -> Iterator[str]:
    if at_ms > facts.now_ms + CLOCKS_MS:
        yield f"{what} says a time that has not come, {utc_text(at_ms)}."
    elif days is not None and facts.now_ms - at_ms > days * DAY_MS:
        yield f"{what} is {(facts.now_ms - at_ms) // DAY_MS} days old, and counts for {days}."


def _days(limits: Promotion | None, name: str) -> int | None:
    return None if limits is None else int(getattr(limits, name))


def shadow_reasons(
    version: str, shadow: Shadow | Unread, limits: Promotion | None, now_ms: int
) -> Iterator[tuple[Reason, str]]:
    """Yield what a version's time in the shadow says against it."""
    if isinstance(shadow, Unread):
        yield Reason.SHADOW, f"It isn't known how {version} did in shadow: {shadow.why}."
        return
    if shadow.doubt is not None:
        yield Reason.SHADOW, f"What {version} is said to have answered can't be relied upon: {shadow.doubt}."
    if (fault := shadow_fault(shadow)) is not None:
        yield Reason.SHADOW, f"The figures of the shadow contradict themselves: {fault}."
    if shadow.reviews_unproved:
        yield Reason.REVIEWS, f"{shadow.reviews_unproved:,} reviews of disagreements are signed by nobody who may."
    if limits is not None:
        yield from _span_reasons(shadow, limits, now_ms)
        yield from _agreement_reasons(shadow, limits)
        yield from _review_reasons(shadow, limits)
        yield from _verdict_reasons(shadow, limits)


def _span_reasons(shadow: Shadow, limits: Promotion, now_ms: int) -> Iterator[tuple[Reason, str]]:
    if shadow.days < limits.shadow_days:
        yield Reason.SHADOW_SPAN, f"It ran in shadow on {shadow.days} days, and must on {limits.shadow_days}."
    if shadow.until_ms > now_ms + CLOCKS_MS:
        yield Reason.SHADOW_SPAN, f"Its shadow says a time that has not come, {utc_text(shadow.until_ms)}."
    elif now_ms - shadow.until_ms > limits.evidence_days * DAY_MS:
        days = (now_ms - shadow.until_ms) // DAY_MS
        yield Reason.SHADOW_SPAN, f"Its shadow ended {days} days ago, and counts for {limits.evidence_days}."
    if shadow.payments < limits.shadow_payments:
        yield (
            Reason.SHADOW_SAMPLE,
            f"It answered {shadow.payments:,} payments beside the champion of now, and must answer "
            f"{limits.shadow_payments:,}.",
        )


def _agreement_reasons(shadow: Shadow, limits: Promotion) -> Iterator[tuple[Reason, str]]:
    """Where there is nothing to agree about, nothing is shown, so it is too little.

    What the champion's model answered, and the version could not, agrees with nothing: once live, it would be silent
    there, and the fallback decide.
    """
    payments, stopped = shadow.payments + shadow.unanswered, shadow.stopped + shadow.stopped_unanswered
    if payments == 0 or shadow.agreed * 100 < limits.agreement_percent * payments:
        part = _percent(shadow.agreed, payments) + _unanswered(shadow.unanswered)
        yield Reason.AGREEMENT, f"It agreed with the champion in {part}, and must in {limits.agreement_percent} %."
    if stopped == 0 or shadow.stopped_agreed * 100 < limits.agreement_stopped_percent * stopped:
        part = _percent(shadow.stopped_agreed, stopped) + _unanswered(shadow.stopped_unanswered)
        yield (
            Reason.AGREEMENT_STOPPED,
            f"Among what the champion doesn't allow it agreed in {part}, and must in "
            f"{limits.agreement_stopped_percent} %.",
        )


def _unanswered(count: int) -> str:
    return "" if count == 0 else f", could not answer {count:,}"


def _review_reasons(shadow: Shadow, limits: Promotion) -> Iterator[tuple[Reason, str]]:
    large = shadow.large
    if large.reviewed < large.disagreements:
        yield (
            Reason.REVIEWS,
            f"{large.reviewed:,} of {large.disagreements:,} disagreements from "
            f"£{limits.review_all_from_gbp_minor / 100:,.2f} on are reviewed, and all must be.",
        )
    short = {
        name: (some, needed)
        for name, some in sorted(shadow.strata.items())
        if some.reviewed < (needed := min(some.disagreements, limits.review_each_stratum))
    }
    for name, (some, needed) in list(short.items())[:STRATA_SHOWN_MAX]:
        yield (
            Reason.REVIEWS,
            f"{some.reviewed:,} of {some.disagreements:,} disagreements of {name} are reviewed, and {needed:,} must "
            "be.",
        )
    if len(short) > STRATA_SHOWN_MAX:
        yield Reason.REVIEWS, f"{len(short) - STRATA_SHOWN_MAX} more strata of disagreements are short of reviews."


def _verdict_reasons(shadow: Shadow, limits: Promotion) -> Iterator[tuple[Reason, str]]:
    """What people say of the disagreements. An unclear one is nobody's word for the challenger.

    A stratum of which a part was reviewed stands for as many as it holds: 20 of 900 don't weigh as 20 of 20. One that
    nobody has looked at is short of reviews, which is a reason of its own.
    """
    asked = limits.challenger_right_percent
    if asked is None:
        yield (
            Reason.VERDICTS,
            "The policy in force has no challenger_right_percent, so nothing says what reviews find.",
        )
        return
    large, strata = shadow.large, [each for each in shadow.strata.values() if each.reviewed]
    if large.reviewed and large.challenger_right * 100 < asked * large.reviewed:
        part = _percent(large.challenger_right, large.reviewed)
        amount = f"£{limits.review_all_from_gbp_minor / 100:,.2f}"
        yield Reason.VERDICTS, f"From {amount} on reviews find it right in {part}, and must in {asked} %."
    right = sum(Fraction(each.disagreements * each.challenger_right, each.reviewed) for each in strata)
    there = sum(each.disagreements for each in strata)
    if right * 100 < asked * there:
        reviewed = sum(each.reviewed for each in strata)
        yield (
            Reason.VERDICTS,
            f"By the {reviewed:,} reviews of all strata it is right in {int(right * 10_000 / there) / 100:.2f} % of "
            f"the {there:,} disagreements, and must be in {asked} %.",
        )


def _approval_faults(facts: Facts) -> Iterator[str]:
    if isinstance(facts.approvals, Unread):
        yield f"The approvals can't be relied upon: {facts.approvals.why}."
        return
    counting: dict[Role, list[Approval]] = {role: [] for role in APPROVING_ROLES}
    for role in APPROVING_ROLES:
        own = [each for each in facts.approvals if each.role == role]
        faults = [(each, _approval_fault(each, facts)) for each in own]
        counting[role] = [each for each, fault in faults if fault is None]
        if not counting[role]:
            reasons = "; ".join(f"that of {each.name} doesn't count: {fault}" for each, fault in faults)
            yield f"Nobody has approved it as {role}" + (f" ({reasons})." if reasons else ".")
    if not all(counting.values()):
        yield from (f"An approval counts as nothing: {fault.rstrip('.')}." for fault in facts.approvals_void)
    elif not _are_three_people(list(counting.values())):
        yield "Three different people must approve it, and one has approved it under more than one role."


def _approval_fault(approval: Approval, facts: Facts) -> str | None:
    if approval.digest != facts.digest:
        return f"it is over another artefact, {approval.digest[:16]}"
    if is_same(approval.name, facts.promoter):
        return "its author is the one who asks, and nobody both approves and promotes"
    if not approval.answer and _has_failed(facts):
        return "it answers for no run that failed"
    faults = _age_faults("it", approval.at_ms, facts, _days(facts.limits, "approval_days"))
    return next((fault.rstrip(".") for fault in faults), None)


def _has_failed(facts: Facts) -> bool:
    return not isinstance(facts.evidence, Unread) and any(each.failed for each in facts.evidence.values())


def _are_three_people(approvals: Sequence[Sequence[Approval]]) -> bool:
    for chosen in product(*(each[:NAMES_A_ROLE_MAX] for each in approvals)):
        first, second, third = (each.name for each in chosen)
        if not (is_same(first, second) or is_same(first, third) or is_same(second, third)):
            return True
    return False


def _percent(part: int, whole: int) -> str:
    """In hundredths, rounded down, so that what is below a limit never reads as the limit."""
    return "none" if whole == 0 else f"{part * 10_000 // whole / 100:.2f} % ({part:,} of {whole:,})"
