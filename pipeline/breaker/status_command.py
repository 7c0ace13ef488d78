"""`fraud breaker status`: how every detector stands, what it would take to trip, and what a probation waits for."""

from __future__ import annotations

from typing import NamedTuple

from models.artefact.files import ModelRefused
from models.versions.loading_files import champion_version_of
from pipeline.breaker.control_command import breaker_settings, with_store
from pipeline.breaker.detecting.gauges import Gauge, ProbationGauge
from pipeline.breaker.settings import Condition
from pipeline.breaker.store import BreakerStore
from pipeline.domain.decision import BreakerState
from pipeline.io.settings import Settings
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output


class ScopeStanding(NamedTuple):
    """The detectors of a scope, and its probation where it is on one."""

    gauges: list[Gauge]
    probation: ProbationGauge | None


def standings(settings: Settings, scope: str | None) -> dict[str, ScopeStanding]:
    """Return how detectors stand by scope: of `scope`, or of all that are judged."""
    rules, version = breaker_settings(settings), _version(settings)

    async def look(store: BreakerStore) -> dict[str, ScopeStanding]:
        gauges, probations = await store.gauges(rules, version), await store.probations(rules, version)
        return {scope: ScopeStanding(found, probations.get(scope)) for scope, found in gauges.items()}

    found = with_store(settings, look)
    if scope is None:
        return found
    if scope not in found:
        raise Failure(f"{scope!r} is not judged.", "`fraud breaker status` lists what is.", FAILED_CHECK)
    return {scope: found[scope]}


def show_standings(output: Output, found: dict[str, ScopeStanding]) -> None:
    for scope, (gauges, probation) in found.items():
        if probation is not None:
            record = {"scope": scope, "state": BreakerState.HALF_OPEN, **probation._asdict()}
            output.record(record, f"{scope:<32} {BreakerState.HALF_OPEN:<17} {_awaited(probation)}")
        for gauge in gauges:
            output.record(
                {"scope": scope, **gauge._asdict()}, f"{scope:<32} {gauge.condition:<17} {gauge_words(gauge)}"
            )


def _awaited(probation: ProbationGauge) -> str:
    enough = probation.evidence_enough
    words = [
        f"at {probation.share_percent} %, {probation.answers:,} answers of its own",
        f"evidence {probation.evidence:+.1f}, where {-enough:.1f} passes and {enough:+.1f} fails",
        f"good {probation.good} of {probation.confirmations} times",
    ]
    if probation.lax_evidence:
        words.insert(2, f"of too little held back {probation.lax_evidence:+.1f}")
    waits = [f"{probation.seconds_left} s at this share"] if probation.seconds_left else []
    waits += probation.waits_for
    return "; ".join([*words, *([f"waits for {', '.join(waits)}"] if waits else [])])


def gauge_words(gauge: Gauge) -> str:
    """Tell how a detector stands. What drifts is not counted; of what is, none is told as much as one."""
    is_counted = gauge.sample > 0 and gauge.condition is not Condition.MODEL_DRIFT
    words = [f"{gauge.counted:,} of {gauge.sample:,}"] if gauge.trips_at is not None or is_counted else []
    if gauge.trips_at is not None:
        words.append(f"holds from {gauge.trips_at:,} on")
    words.append(f"has held {gauge.running} of {gauge.confirmations} times")
    if gauge.evidence_enough:
        words.append(f"evidence of a shift {gauge.evidence:.1f} of {gauge.evidence_enough:.1f}")
    return "; ".join([*words, *filter(None, (gauge.yardstick, gauge.missing and f"not judged: {gauge.missing}"))])


def _version(settings: Settings) -> str | None:
    """Return the version in force; None where none can be named, and then no version is judged."""
    try:
        return champion_version_of(settings)
    except (ModelRefused, OSError):
        return None
