"""A drill's figures against its objective: what is met, what is not, and what the drill comes to.

Invariants
1. A figure that is missing, one that can't be (below 0, as of a clock that was put back), and one without an objective
   is not met.
2. A drill passes only where every one of its measures is met and nothing else was found.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from pipeline.drills.drills import MEASURES, DrillName, Measure, Verdict
from pipeline.drills.objectives import Objective

LIVE_MEASURES: Final = (Measure.TRIP_S, Measure.PAGE_S, Measure.RECOVER_S)
"""The figures of a drill on the live breaker: there is no fault to notice, and nothing that it gets wrong."""
LIVE_TRIP_S: Final = 5
NO_AMOUNTS: Final[Mapping[str, int]] = MappingProxyType({})


class Measured(NamedTuple):
    """The figures of a drill; None: it was not seen, or can't be said.

    leaked: decisions that the fault got wrong before it was contained; leaked_minor: their amounts, by currency.
    """

    detect_s: float | None = None
    trip_s: float | None = None
    page_s: float | None = None
    recover_s: float | None = None
    leaked: int | None = None
    leaked_minor: Mapping[str, int] | None = None


class Finding(NamedTuple):
    """One measure against its objective. why: in words, where it isn't met."""

    measure: Measure
    is_met: bool
    why: str


def judged(
    drill: DrillName, measured: Measured, objective: Objective | None, measures: Sequence[Measure] | None = None
) -> list[Finding]:
    """Return a finding for each of the drill's measures, in their order.

    measures: other ones than the drill has in a lane.
    """
    found = []
    for measure in MEASURES[drill] if measures is None else measures:
        why = _shortfall(measure, getattr(measured, measure), getattr(objective, measure, None))
        found.append(Finding(measure, why is None, why or ""))
    return found


def live_objective(objective: Objective | None) -> Objective | None:
    """Return what a live drill is compared with: the policy's figures, but for the time to trip.

    In a lane that one holds the time to notice, too. On the live breaker it is that of a switch, which every worker has
    within LIVE_TRIP_S, whatever the policy says.
    """
    return None if objective is None else objective.model_copy(update={"trip_s": LIVE_TRIP_S})


def verdict_of(findings: Sequence[Finding], faults: Sequence[str]) -> Verdict:
    """Return PASSED or FAILED. faults: what was found beside the figures, in sentences."""
    return Verdict.PASSED if findings and not faults and all(each.is_met for each in findings) else Verdict.FAILED


def _shortfall(measure: Measure, figure: object, limit: object) -> str | None:
    if limit is None:
        return "the policy has no objective for it"
    if figure is None:
        return "it was not seen"
    if measure is Measure.LEAKED_MINOR:
        assert isinstance(figure, Mapping)
        assert isinstance(limit, Mapping)
        return _amounts_over(figure, limit)
    assert isinstance(figure, int | float)
    assert isinstance(limit, int)
    if not figure >= 0:  # nan among them
        return f"{figure:,} can't be"
    return None if figure <= limit else f"{figure:,} is over {limit:,}"


def _amounts_over(amounts_minor: Mapping[str, int], limits_minor: Mapping[str, int]) -> str | None:
    over = [f"{currency} {amount:,} can't be" for currency, amount in sorted(amounts_minor.items()) if amount < 0]
    over += [
        f"{currency} {amount:,} is over {limits_minor[currency]:,}" if currency in limits_minor
        else f"{currency} {amount:,} has no limit"
        for currency, amount in sorted(amounts_minor.items())
        if amount > limits_minor.get(currency, 0)
    ]  # fmt: skip
    return ", ".join(over) or None
