"""What is known when somebody asks to promote a version: evidence, shadow, reviews and approvals, each known or not.

What is missing or can't be read has a form of its own, so that no code can take it for a figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from pipeline.decide.rollout.limits import Promotion

EVIDENCE_KINDS: Final = ("shadow", "bias", "latency", "red-team", "golden", "calibration")
"""What must have passed. Drift is watched beside it, and is no condition."""
STRATA_MAX: Final = 10_000


class Found(NamedTuple):
    """The latest evidence of a kind, its signature proved."""

    digest: str
    made_at_ms: int
    passed: bool
    findings: tuple[str, ...] = ()


class Unread(NamedTuple):
    """There may be something, but it can't be relied upon; why, in a sentence without its full stop."""

    why: str


class Reviewed(NamedTuple):
    """Disagreements, and how many of them a person has reviewed."""

    disagreements: int
    reviewed: int


class Shadow(NamedTuple):
    """How a version did beside the champion. `stopped`: what the champion did not ALLOW.

    large: the disagreements from the policy's amount on. strata: the others, by what they are drawn by.
    objections: reviews which say that the version is wrong in a way that must not go live.
    """

    champion_digest: str
    from_ms: int
    until_ms: int
    payments: int
    agreed: int
    stopped: int
    stopped_agreed: int
    large: Reviewed
    strata: Mapping[str, Reviewed]
    objections: int = 0


class Approval(NamedTuple):
    """A person's signature over a version's digest as one of the roles. fault: why it doesn't count; None: it does."""

    name: str
    role: str
    digest: str
    at_ms: int
    fault: str | None = None


class Facts(NamedTuple):
    """digest: of the artefact as it was loaded and verified, or why it can't be. champion_digest: of what decides now.

    promoter_fault: why whoever asks may not; None where they may. standing_fault: why the registry's aliases can't move
    now, whatever the version: a rollout under way, or a registry older than what was seen of it.
    """

    version: str
    digest: str | Unread
    champion_digest: str | Unread
    limits: Promotion | None
    evidence: Mapping[str, Found | Unread]
    shadow: Shadow | Unread
    approvals: Sequence[Approval] | Unread
    promoter_fault: str | None
    standing_fault: str | None
    now_ms: int


def shadow_fault(shadow: Shadow) -> str | None:
    """Return why figures of a shadow can't be true, or None where they can.

    A disagreement that stands in no stratum would be one that nobody has to review.
    """
    each = (shadow.large, *shadow.strata.values())
    counts = (shadow.payments, shadow.agreed, shadow.stopped, shadow.stopped_agreed, shadow.objections)
    if any(count < 0 for count in counts) or any(some.reviewed < 0 or some.disagreements < 0 for some in each):
        return "a count is below 0"
    if len(shadow.strata) > STRATA_MAX:
        return f"there are more than {STRATA_MAX} strata"
    if shadow.agreed > shadow.payments or shadow.stopped > shadow.payments:
        return "a part is more than the whole"
    if shadow.stopped_agreed > min(shadow.stopped, shadow.agreed):
        return "a part is more than the whole"
    if any(some.reviewed > some.disagreements for some in each):
        return "more disagreements were reviewed than there are"
    if sum(some.disagreements for some in each) != shadow.payments - shadow.agreed:
        return "the disagreements to review are not those that there are"
    return None
