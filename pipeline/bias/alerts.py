"""The alerts of the monitor: gaps between segments, and drift from training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.bias.drift.stability import Stability
from pipeline.bias.smallest import RATIO_MAX
from pipeline.bias.watching import Gap, Measure
from pipeline.domain.alert import Alert
from pipeline.domain.times import utc_text

MINUTE_MS: Final = 60_000
FARES: Final = {
    Measure.BLOCK: "blocked",
    Measure.ESCALATE: "escalated",
    Measure.STOP: "blocked or escalated",
    Measure.FALSE_STOP: "stopped though honest",
}


def gap_alert(gap: Gap) -> Alert:
    """Return the alert of a gap. Its id follows from the segment, the measure and when it opened, so that the word that
    it is over names the same one."""
    evidence = {"measure": gap.measure.name, "opened_at_ms": str(gap.opened_minute * MINUTE_MS)}
    return alert(AlertCode.BIAS_GAP, gap_words(gap), gap.scope, evidence, gap.opened_minute * MINUTE_MS)


def gap_words(gap: Gap) -> str:
    rest_percent = 100 * gap.rest_events / gap.rest if gap.rest else 0.0
    fares = FARES[gap.measure]
    more = f"{gap.ratio:.1f} times as often as" if gap.ratio < RATIO_MAX else "far more often than"
    if gap.measure is Measure.FALSE_STOP:
        # Labels and reviews arrive at their own pace, so there is no share of payments to give.
        return (
            f"Payments of {gap.scope} were {fares} {more} all others since {utc_text(gap.since_minute * MINUTE_MS)}: "
            f"{gap.own_events:,.0f} are known; {gap.allowed_ratio:.2f} times is let pass."
        )
    own_percent = 100 * gap.own_events / gap.own if gap.own else 0.0
    return (
        f"Payments of {gap.scope} are {fares} {more} all others since {utc_text(gap.since_minute * MINUTE_MS)}: "
        f"{own_percent:.1f} % of {gap.own:,.0f} against {rest_percent:.1f} % of {gap.rest:,.0f}; "
        f"{gap.allowed_ratio:.2f} times is let pass."
    )


def drift_alert(version: str, drifted: Sequence[Stability], at_ms: int) -> Alert:
    """Return the alert that inputs or scores of a version have drifted. One a version, whatever drifts in it."""
    worst = sorted(drifted, key=lambda each: each.limit - each.stability)[:5]
    named = ", ".join(f"{each.name} ({each.stability:.2f}, limit {each.limit:.2f})" for each in worst)
    more = f" and {len(drifted) - len(worst)} more" if len(drifted) > len(worst) else ""
    summary = f"What model {version} decides on isn't what it was taught on: {named}{more}."
    return alert(AlertCode.DRIFT_FROM_TRAINING, summary, f"model:{version}", {"version": version}, at_ms)
