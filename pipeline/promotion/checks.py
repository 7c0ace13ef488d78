"""What the checks of a version find that need no champion's decisions to be made again: its golden vectors, how fast it
answers, whether its probabilities hold, and what its time in the shadow says.

Invariants
1. What could not be looked at has not passed.
2. Selection hides frauds, and never makes them: of what the champion allowed, fewer may be fraud than a model says, so
   only more than it says tells against it there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from models.anytime import PPM, rate_interval
from models.artefact.strict import Json
from models.artefact.vectors import GoldenVector
from pipeline.bias.trial import Trial
from pipeline.decide.rollout.limits import Promotion
from pipeline.domain.trials.shadow_answer import Band
from pipeline.promotion.facts import Shadow, Unread
from pipeline.promotion.gate import Reason, shadow_reasons

BATCH_US_MAX: Final = 3.0
"""Microseconds a payment in batches of 500, the reasons included: a tenth of what deciding one takes."""
ALONE_US_MAX: Final = 60.0
CALIBRATION_ERROR_PPM_MAX: Final = 20_000
"""Mean distance of probability and share of fraud, over ten bins, on payments that training held back."""
BANDS_PPM: Final = (0, 2_000, 10_000, 50_000, 200_000, 500_000)
EXCESS_PERCENT: Final = 125
"""Most that frauds may surely come to in a band, in percent of what the probabilities say."""
RISK: Final = 0.01
"""Chance that any band of a sound model is found wanting, however often somebody looks."""
LABELLED_FRAUDS_MIN: Final = 30
"""Frauds among what the champion allowed, below which nothing can be said."""


TOO_EARLY: Final = frozenset({Reason.SHADOW, Reason.SHADOW_SPAN, Reason.SHADOW_SAMPLE, Reason.REVIEWS})
"""What time or people mend: a run of a check that is made meanwhile has failed at nothing."""


class Checked(NamedTuple):
    """is_early: too little is known yet, so that the trial has not passed, and shows nothing either."""

    kind: str
    trial: Trial
    is_early: bool = False


def golden_trial(expected: Sequence[GoldenVector], given: Sequence[GoldenVector]) -> Trial:
    wrong = [number for number, pair in enumerate(zip(expected, given, strict=True)) if pair[0] != pair[1]]
    findings = [f"golden vector {number} is answered otherwise than at training" for number in wrong[:3]]
    if len(wrong) > len(findings):
        findings.append(f"so are {len(wrong) - len(findings)} more")
    if not expected:
        findings.append("it has no golden vector")
    return _trial(findings, {"vectors": len(expected), "otherwise": len(wrong)})


def latency_trial(batch_us: Sequence[float], alone_us: Sequence[float]) -> Trial:
    """Microseconds a payment in each round. The least counts: whatever else a machine does only adds."""
    if not batch_us or not alone_us:
        return _trial(["nothing was measured"], {})
    batch, alone = min(batch_us), min(alone_us)
    findings = []
    if not batch <= BATCH_US_MAX:
        findings.append(f"it takes {batch:.2f} µs a payment in batches of 500, and may take {BATCH_US_MAX:g}")
    if not alone <= ALONE_US_MAX:
        findings.append(f"it takes {alone:.1f} µs for one payment, and may take {ALONE_US_MAX:g}")
    return _trial(findings, {"batch_ns": round(batch * 1000), "alone_ns": round(alone * 1000), "rounds": len(batch_us)})


def calibration_check(held_back_error_ppm: int | None, bands: Sequence[Band]) -> Checked:
    """held_back_error_ppm: by the manifest, None where it doesn't say. bands: of payments beside the champion."""
    findings = []
    if held_back_error_ppm is None:
        findings.append("the manifest doesn't say how probabilities held on what training held back")
    elif not 0 <= held_back_error_ppm <= CALIBRATION_ERROR_PPM_MAX:
        findings.append(
            f"on what training held back probabilities were off by {held_back_error_ppm / 10_000:.2f} points, and may "
            f"be by {CALIBRATION_ERROR_PPM_MAX / 10_000:g}"
        )
    frauds = sum(band.frauds for band in bands)
    whole = Band(0, sum(b.payments for b in bands), sum(b.probability_sum_ppm for b in bands), frauds)
    for name, band in (("all payments", whole), *((_name(band), band) for band in bands)):
        if band.payments and (excess := _excess(band, len(bands) + 1)):
            findings.append(f"of {name} {excess}")
    is_early = not findings and frauds < LABELLED_FRAUDS_MIN
    if is_early:
        findings.append(
            f"{frauds} frauds are known among what the champion allowed, and nothing can be said below "
            f"{LABELLED_FRAUDS_MIN}"
        )
    figures: dict[str, Json] = {
        "held_back_error_ppm": -1 if held_back_error_ppm is None else held_back_error_ppm,
        "bands": [dict(band._asdict()) for band in bands],
    }
    return Checked("calibration", _trial(findings, figures), is_early)


def shadow_check(
    version: str,
    shadow: Shadow | Unread,
    limits: Promotion | None,
    now_ms: int,
    champion: Mapping[str, Json],
    policy: str | None,
) -> Checked:
    """champion: version and digest of what decides now. policy: SHA-256 of the file that limits come from."""
    reasons = list(shadow_reasons(version, shadow, limits, now_ms))
    findings = [text.rstrip(".") for _, text in reasons]
    if limits is None or policy is None:
        findings.append("the policy in force has no [promotion], so nothing says what a shadow must show")
    figures: dict[str, Json] = {"champion": dict(champion), "policy_sha256": policy or ""}
    if not isinstance(shadow, Unread):
        named = ("days", "payments", "agreed", "stopped", "stopped_agreed", "unanswered", "stopped_unanswered")
        figures |= {name: getattr(shadow, name) for name in named}
        reviews: dict[str, Json] = {name: dict(each._asdict()) for name, each in shadow.strata.items()}
        figures |= {"large": dict(shadow.large._asdict()), "strata": reviews}
    is_early = limits is None or any(reason in TOO_EARLY for reason, _ in reasons)
    return Checked("shadow", _trial(findings, figures), is_early)


def _excess(band: Band, looked_at: int) -> str:
    low_ppm, _ = rate_interval(band.frauds, band.payments, RISK / looked_at)
    said_ppm = band.probability_sum_ppm // band.payments
    if low_ppm * 100 <= said_ppm * EXCESS_PERCENT:
        return ""
    known = f"{band.frauds * PPM // band.payments / 10_000:.2f} % are fraud ({band.frauds:,} of {band.payments:,})"
    return f"{known}, and it says {said_ppm / 10_000:.2f} %"


def _name(band: Band) -> str:
    return f"payments that it puts at {band.from_ppm / 10_000:g} % and more"


def _trial(findings: Sequence[str], figures: Mapping[str, Json]) -> Trial:
    return Trial(not findings, tuple(findings), figures)
