"""The sequential test of a model on probation: whether it goes on to the next share, or back.

Invariants
1. Only what the model really answered on this scope's probation counts, since the present share began.
2. A share is passed only by the test's own evidence; time alone passes nothing.
3. No single evaluation decides, whatever burst it holds, and what is likely to be usual condemns nobody.

Blocks are tested where it is known what is usual; payments that the model fails on count with them. What it no longer
holds back is tested, too, where too many allows had tripped the scope, and what it escalates by itself where that had.
In shadow the model answers everything meanwhile, and all conditions go on being judged on that.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Final

from pipeline.breaker.detecting.conditions import Observation, Watch
from pipeline.breaker.detecting.detectors import likely_range, sprt, usual_share
from pipeline.breaker.settings import BreakerSettings, Condition

BAD_SHARE_MIN: Final = 0.001
"""Least share of blocks and failures that counts as usual: no test can tell less from a wrong model in good time."""


class Standing(StrEnum):
    """How the test stands at the present share."""

    UNDECIDED = "UNDECIDED"
    PASSED = "PASSED"
    FAILED = "FAILED"


def probes_added(seen: Observation, watch: Watch, settings: BreakerSettings) -> Watch:
    """Return the watch with this span's probes added to the tests."""
    probes, bound = seen.probes, evidence_bound(settings)
    (bad_usual, bad_sought), lax = bad_shares(seen, settings), lax_shares(seen, settings)
    bad = probes.errors + (0 if seen.baseline is None else probes.block)
    bad_evidence = sprt(watch.bad_evidence, bad, probes.handled, bad_usual, bad_sought, bound)
    lax_evidence = 0.0
    if lax is not None:
        lax_evidence = sprt(watch.lax_evidence, probes.answered - probes.allow, probes.answered, *lax, bound)
    doubt_evidence = 0.0
    if (doubtful := doubt_shares(seen, settings)) is not None:
        doubt_evidence = sprt(watch.doubt_evidence, probes.doubt, probes.doubt_known, *doubtful, bound)
    return watch._replace(
        doubt_evidence=float(doubt_evidence),
        probes=watch.probes + probes.handled,
        bad_evidence=float(bad_evidence),
        lax_evidence=float(lax_evidence),
        sampled=watch.sampled + seen.span.handled,
    )


def standing(watch: Watch, tripped_by: tuple[Condition, ...], settings: BreakerSettings) -> Standing:
    bound = evidence_bound(settings)
    relevant = [watch.bad_evidence]
    if Condition.ALLOW_RATE_SPIKE in tripped_by:
        relevant.append(watch.lax_evidence)
    if Condition.ESCALATE_RATE_SPIKE in tripped_by:
        relevant.append(watch.doubt_evidence)
    if any(evidence >= bound for evidence in relevant):
        return Standing.FAILED
    return Standing.PASSED if all(evidence <= -bound for evidence in relevant) else Standing.UNDECIDED


def conditions_tested(seen: Observation) -> frozenset[Condition]:
    """Return the conditions that the test itself judges, be there ever so few payments in a window."""
    if seen.baseline is None:
        return frozenset()
    return _TESTED if seen.baseline.doubts is None else _TESTED | {Condition.ESCALATE_RATE_SPIKE}


_TESTED: Final = frozenset({Condition.BLOCK_RATE_SPIKE, Condition.ALLOW_RATE_SPIKE})


def evidence_bound(settings: BreakerSettings) -> float:
    """Return the evidence, in nats, that decides the test either way at the policy's risk."""
    risk = settings.half_open_risk_percent / 100
    return math.log((1 - risk) / risk)


def bad_shares(seen: Observation, settings: BreakerSettings) -> tuple[float, float]:
    """Return the most blocks and failures that are likely usual, as a share, and that at which the model is wrong.

    A yardstick of a few hundred answers without a block knows little of what is usual: taken at its word, two blocks
    condemned a good model. The wrong share is the limit in points above usual, and half as far above what is likely.
    """
    usual = likely = BAD_SHARE_MIN
    if seen.baseline is not None:
        blocks, answered = seen.baseline.block, seen.baseline.answered
        usual = max(usual, usual_share(blocks, answered))
        likely = max(usual, float(likely_range(blocks, answered)[1]))
    return _shares_told_apart(usual, likely, settings.block_rate_spike_points)


def doubt_shares(seen: Observation, settings: BreakerSettings) -> tuple[float, float] | None:
    """Return the same two shares of what the model escalates by itself; None where what is usual isn't known."""
    if seen.baseline is None or (known := seen.baseline.doubts) is None:
        return None
    usual = max(BAD_SHARE_MIN, usual_share(known.counted, known.answered))
    likely = max(usual, float(likely_range(known.counted, known.answered)[1]))
    return _shares_told_apart(usual, likely, settings.escalate_rate_spike_points)


def _shares_told_apart(usual: float, likely: float, limit_points: int) -> tuple[float, float]:
    points = limit_points / 100
    return likely, min(max(usual + points, likely + points / 2), (1 + likely) / 2)


def lax_shares(seen: Observation, settings: BreakerSettings) -> tuple[float, float] | None:
    """Return the least share held back that is likely usual, and that at which the model is lax; None where none is
    known. The latter is likewise half as far below what is likely as it is below usual."""
    if seen.baseline is None:
        return None
    held, answered = seen.baseline.answered - seen.baseline.allow, seen.baseline.answered
    usual, likely = usual_share(held, answered), float(likely_range(held, answered)[0])
    points, shift = settings.allow_rate_spike_points / 100, settings.shift_percent / 100
    sought = max(usual - points, usual / (1 + shift))
    return likely, min(sought, max(likely - points / 2, likely / (1 + shift / 2)))
