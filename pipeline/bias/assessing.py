"""What is said of each segment over a span of time: its rates beside the rest's, and what could not have been seen.

Invariants
1. Every interval holds at every look at once, and all of them together with the policy's risk (Bonferroni over segments
   and measures, as in `evidence`).
2. "No gap" is said only where a gap worth seeing would have been seen; else it is not enough data.
3. Outcomes differ between segments with reason or without. Only false positives are held to the policy's floor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from models.anytime import rate_interval
from pipeline.bias.counting import COLUMNS, TOTAL, Column
from pipeline.bias.settings import BiasSettings
from pipeline.bias.smallest import RATIO_MAX, Sample, ratio_interval, smallest_ratio
from pipeline.bias.watching import MEASURES, Measure

Row = tuple[int, ...]
"""Counts of a scope, in the order of Column."""
PPM: Final = 1_000_000


class Verdict(StrEnum):
    GAP = "GAP"
    NO_GAP = "NO_GAP"
    UNDECIDED = "UNDECIDED"
    NOT_ENOUGH_DATA = "NOT_ENOUGH_DATA"


class Finding(NamedTuple):
    """One segment on one measure. Rates are in ppm, ratios are of the segment's rate to the rest's.

    smallest_ratio: the smallest that would have been told from the ratio that is let pass.
    """

    scope: str
    measure: Measure
    verdict: Verdict
    payments: int
    events: int
    rate_ppm: int
    rate_low_ppm: int
    rate_high_ppm: int
    rest_rate_ppm: int
    ratio_low: float
    ratio_high: float
    smallest_ratio: float

    @property
    def ratio(self) -> float:
        return self.rate_ppm / self.rest_rate_ppm if self.rest_rate_ppm else RATIO_MAX


class Assessment(NamedTuple):
    payments: int
    known_honest: int
    known_frauds: int
    stopped: int
    false_stops: int
    findings: tuple[Finding, ...]

    def gaps(self, measure: Measure) -> list[Finding]:
        return [each for each in self.findings if each.measure is measure and each.verdict is Verdict.GAP]

    @property
    def judged(self) -> int:
        return sum(each.verdict is not Verdict.NOT_ENOUGH_DATA for each in self.findings)


def assessed(counts: Mapping[str, Row], scopes: Sequence[str], settings: BiasSettings) -> Assessment:
    """Judge what was counted of each scope; one without a row had no payments."""
    total = counts.get(TOTAL, (0,) * COLUMNS)
    risk = settings.year_risk_percent / 100 / max(len(scopes) * MEASURES, 1)
    findings = [
        _finding(scope, measure, counts.get(scope, (0,) * COLUMNS), total, risk, settings)
        for scope in scopes
        for measure in Measure
    ]
    stopped = total[Column.BLOCKED] + total[Column.ESCALATED]
    known = total[Column.HONEST], total[Column.FRAUDS]
    return Assessment(total[Column.PAYMENTS], *known, stopped, total[Column.FALSE_STOPS], tuple(findings))


def _finding(scope: str, measure: Measure, own: Row, total: Row, risk: float, settings: BiasSettings) -> Finding:
    payments, events = exposed(own, measure)
    all_payments, all_events = exposed(total, measure)
    sample = Sample(payments, events, max(all_payments - payments, 0), max(all_events - events, 0))
    allowed = 100 / settings.ratio_floor_percent
    low, high = ratio_interval(sample, risk)
    smallest = smallest_ratio(sample, allowed, math.log(1 / risk))
    rates = rate_interval(min(events, payments), payments, risk)
    return Finding(
        scope,
        measure,
        _verdict(sample, low, high, smallest, settings),
        payments,
        events,
        _ppm(events, payments),
        *rates,
        _ppm(sample.rest_events, sample.rest),
        low,
        high,
        smallest,
    )


def exposed(row: Row, measure: Measure) -> tuple[int, int]:
    """Return the payments that a measure is about, and its events.

    False stops are a share of the payments that aren't known to be fraud: few banks label what is honest.
    """
    payments, blocked, escalated = row[Column.PAYMENTS], row[Column.BLOCKED], row[Column.ESCALATED]
    match measure:
        case Measure.BLOCK:
            return payments, blocked
        case Measure.ESCALATE:
            return payments, escalated
        case Measure.STOP:
            return payments, blocked + escalated
        case Measure.FALSE_STOP:
            return max(payments - row[Column.FRAUDS], row[Column.FALSE_STOPS]), row[Column.FALSE_STOPS]


def _verdict(sample: Sample, low: float, high: float, smallest: float, settings: BiasSettings) -> Verdict:
    allowed = 100 / settings.ratio_floor_percent
    if sample.own < settings.minimum_sample:
        return Verdict.NOT_ENOUGH_DATA
    if low > allowed:
        return Verdict.GAP
    if high <= allowed:
        return Verdict.NO_GAP
    seen = allowed * (1 + settings.gap_seen_percent / 100)
    return Verdict.UNDECIDED if smallest <= seen else Verdict.NOT_ENOUGH_DATA


def verdict_words(finding: Finding) -> str:
    """Say the verdict in a sentence."""
    smallest = f"{finding.smallest_ratio:.2f}" if finding.smallest_ratio < RATIO_MAX else ""
    match finding.verdict:
        case Verdict.GAP:
            what = "a gap" if finding.measure is Measure.FALSE_STOP else "it differs, with reason or without"
            return f"{what}: at least {finding.ratio_low:.2f} times the rest"
        case Verdict.NO_GAP:
            return f"no gap: at most {finding.ratio_high:.2f} times the rest"
        case Verdict.UNDECIDED:
            return f"no gap was seen; one of {smallest} times would have been"
        case Verdict.NOT_ENOUGH_DATA:
            return f"not enough data: a gap below {smallest} times can't be seen" if smallest else "not enough data"


def summed(rows: Sequence[Mapping[str, Row]]) -> dict[str, Row]:
    """Return the sum of counts by scope."""
    total: dict[str, Row] = {}
    for counts in rows:
        for scope, row in counts.items():
            before = total.get(scope)
            total[scope] = row if before is None else tuple([a + b for a, b in zip(before, row, strict=True)])
    return total


def _ppm(events: int, payments: int) -> int:
    return events * PPM // payments if payments else 0
