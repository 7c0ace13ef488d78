"""Conclusions from the facts: the newest of each check, who has signed, where the model falls short. Pure questions."""

from __future__ import annotations

from typing import Final

from models.card.facts import CardFacts, Check, FraudKind, Measurement, Rate, Shape, Slice
from models.card.measuring.intervals import rate, ratio
from models.versions.approvals import APPROVING_ROLES
from models.versions.evidence import EVIDENCE_KINDS

CHECK_KINDS: Final = EVIDENCE_KINDS
HALF_PPM: Final = 500_000
ROLES: Final = tuple(role.value for role in APPROVING_ROLES)
PAIRS_DRAWN_MAX: Final = 10
"""The strongest pairs have drawings; every pair stands in the table of what moves the score."""


def newest_checks(facts: CardFacts) -> dict[str, Check]:
    found: dict[str, Check] = {}
    for check in facts.checks or ():
        if check.kind not in found or check.made_at_ms >= found[check.kind].made_at_ms:
            found[check.kind] = check
    return found


def failed_before(facts: CardFacts) -> list[Check]:
    """Return the runs that failed and have a newer one of their kind, the oldest first."""
    newest = newest_checks(facts).values()
    failed = [each for each in facts.checks or () if not each.passed and not any(each is one for one in newest)]
    return sorted(failed, key=lambda each: each.made_at_ms)


def roles_signed(facts: CardFacts) -> set[str]:
    """Return the roles of those needed that somebody has signed under. Whether they are three people, faults say."""
    return {each.role.upper() for each in facts.approvals or ()} & set(ROLES)


def is_missed(part: Slice, found: Measurement) -> bool:
    """Say whether more of this part's frauds pass than of the others of its segment, by the whole interval."""
    return _is_worse(_rest(part.caught), _rest(found.overall.caught), _parts_of(part, found))


def is_stopped_more(part: Slice, found: Measurement) -> bool:
    """Say whether more of this part's honest payments are blocked than of the others, by the whole interval."""
    return _is_worse(part.stopped, found.overall.stopped, _parts_of(part, found))


def is_kind_missed(kind: FraudKind, found: Measurement) -> bool:
    """Say whether more frauds of a kind pass than of the other kinds, or, by the whole interval, more than half."""
    high_ppm = kind.caught.high_ppm
    is_below_half = high_ppm is not None and high_ppm < HALF_PPM
    return is_below_half or _is_worse(_rest(kind.caught), _rest(found.overall.caught), len(found.kinds))


def strongest_pairs(facts: CardFacts) -> list[Shape]:
    pairs = [shape for shape in facts.shapes if len(shape.features) == 2]
    return sorted(pairs, key=strength, reverse=True)[:PAIRS_DRAWN_MAX]


def strength(shape: Shape) -> int:
    return shape.mean_micro if shape.mean_micro is not None else max(map(abs, shape.contribution_micro), default=0)


def _is_worse(part: Rate, everything: Rate, comparisons: int) -> bool:
    """Compare a rate of harm with that of all others, at a level corrected for the number of comparisons."""
    others = rate(everything.part - part.part, everything.whole - part.whole)
    compared = ratio(part, others, comparisons)
    return compared is not None and compared[2] < 1_000_000


def _rest(found: Rate) -> Rate:
    return rate(found.whole - found.part, found.whole)


def _parts_of(part: Slice, found: Measurement) -> int:
    return sum(each.segment == part.segment for each in found.slices)
