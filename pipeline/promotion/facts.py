"""What is known when somebody asks to promote a version: evidence, shadow, reviews and approvals, each known or not.

What is missing or can't be read has a form of its own, so that no code can take it for a figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from models.versions.evidence import Recorded
from pipeline.decide.rollout.limits import Promotion

COMPARED_KINDS: Final = ("shadow", "bias", "red-team")
"""What compares with a champion, by a policy's limits: it counts where both are those of now."""
STRATA_MAX: Final = 10_000
CLOCKS_MS: Final = 5 * 60_000
"""How far apart two clocks may be: what was made later than that from now was made at no time that counts."""


class Found(NamedTuple):
    """The latest evidence of a kind, its signature proved.

    champion, policy: digest and SHA-256 of what it says it was made with; None where it doesn't say. seed, effort: of a
    check by chance, the effort as budget and trials. failed: how many runs of the kind ever failed, this one too.
    is_recorded: the database has a record of this very file.
    """

    digest: str
    made_at_ms: int
    passed: bool
    findings: tuple[str, ...] = ()
    champion: str | None = None
    policy: str | None = None
    seed: int | None = None
    effort: tuple[int, int] | None = None
    failed: int = 0
    is_recorded: bool = False


class Unread(NamedTuple):
    """There may be something, but it can't be relied upon; why, in a sentence without its full stop."""

    why: str


class Reviewed(NamedTuple):
    """Disagreements, how many of them a person has reviewed, and in how many the review finds the challenger right."""

    disagreements: int
    reviewed: int
    challenger_right: int


class Shadow(NamedTuple):
    """How a version did beside the champion of now, and no other. `stopped`: what the champion did not ALLOW.

    unanswered, stopped_unanswered: payments beside these that the champion's model answered and the version could not.
    days: those on which it answered in good time. large: the disagreements from the policy's amount on, which stand in
    strata too. strata: all of them.
    reviews_unproved: what stands as a review, and was signed by nobody who may.
    doubt: why these figures can't be relied upon, in a sentence without its full stop; None where they can.
    """

    days: int
    until_ms: int
    payments: int
    agreed: int
    stopped: int
    stopped_agreed: int
    large: Reviewed
    strata: Mapping[str, Reviewed]
    reviews_unproved: int = 0
    unanswered: int = 0
    stopped_unanswered: int = 0
    doubt: str | None = None


class Approval(NamedTuple):
    """A person's signature over a version's digest as one of the roles, proved, by a key and a role that count now.

    It was given on the evidence and the policy of now. answer: what it says of runs that failed.
    """

    name: str
    role: str
    digest: str
    at_ms: int
    answer: str = ""


class Facts(NamedTuple):
    """digest: of the artefact as it was loaded and verified, or why it can't be. champion: what decides all of now.

    champion_digest: its artefact's, and policy: the SHA-256 of the file that limits come from; None where they aren't
    known. drawn: what the database drew for the version beside this champion under this policy; None where nothing was.

    evidence_gone: what the database has a record of, and the registry no file.
    promoter: whoever asks. promoter_fault: why they may not; None where they may. standing_fault: why the registry's
    aliases can't move now, whatever the version: a rollout under way, or a registry older than what was seen of it.
    approvals_void: why other approvals count as nothing, in sentences without their full stops.
    """

    version: str
    digest: str | Unread
    champion: str | Unread
    champion_digest: str | None
    policy: str | None
    drawn: str | None
    limits: Promotion | None
    evidence: Mapping[str, Found] | Unread
    evidence_gone: Sequence[Recorded]
    shadow: Shadow | Unread
    approvals: Sequence[Approval] | Unread
    approvals_void: Sequence[str]
    promoter: str
    promoter_fault: str | None
    standing_fault: str | None
    now_ms: int


def shadow_fault(shadow: Shadow) -> str | None:
    """Return why figures of a shadow can't be true, or None where they can.

    A disagreement that stands in no stratum would be one that nobody has to review.
    """
    strata, large = shadow.strata.values(), shadow.large
    each = (large, *strata)
    counts = (shadow.days, shadow.payments, shadow.agreed, shadow.stopped)
    if (
        shadow.stopped_agreed < 0
        or min(shadow.reviews_unproved, shadow.unanswered, shadow.stopped_unanswered) < 0
        or any(count < 0 for count in counts)
        or any(min(some) < 0 for some in each)
    ):
        return "a count is below 0"
    if len(shadow.strata) > STRATA_MAX:
        return f"there are more than {STRATA_MAX} strata"
    if max(shadow.agreed, shadow.stopped) > shadow.payments:
        return "a part is more than the whole"
    if shadow.stopped_agreed > min(shadow.stopped, shadow.agreed) or shadow.stopped_unanswered > shadow.unanswered:
        return "a part is more than the whole"
    if any(some.reviewed > some.disagreements for some in each):
        return "more disagreements were reviewed than there are"
    if any(some.challenger_right > some.reviewed for some in each):
        return "the challenger was found right in more disagreements than were reviewed"
    if sum(some.disagreements for some in strata) != shadow.payments - shadow.agreed:
        return "the disagreements to review are not those that there are"
    if large.disagreements > shadow.payments - shadow.agreed:
        return "a part is more than the whole"
    return None
