"""`fraud breaker status`: how every detector stands, and what it would take to trip."""

from __future__ import annotations

from models.artefact.files import ModelRefused
from models.versions.loading_files import champion_version_of
from pipeline.breaker.control_command import breaker_settings, with_store
from pipeline.breaker.detecting.gauges import Gauge
from pipeline.io.settings import Settings
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output


def gauges_now(settings: Settings, scope: str | None) -> dict[str, list[Gauge]]:
    """Return the gauges by scope: of `scope`, or of all that are judged."""
    rules = breaker_settings(settings)
    found = with_store(settings, lambda store: store.gauges(rules, _version(settings)))
    if scope is None:
        return found
    if scope not in found:
        raise Failure(f"{scope} is not judged.", "`fraud breaker status` lists what is.", FAILED_CHECK)
    return {scope: found[scope]}


def show_gauges(output: Output, found: dict[str, list[Gauge]]) -> None:
    for scope, gauges in found.items():
        for gauge in gauges:
            output.record({"scope": scope, **gauge._asdict()}, f"{scope:<32} {gauge.condition:<17} {_told(gauge)}")


def _told(gauge: Gauge) -> str:
    words = [f"{gauge.counted:,} of {gauge.sample:,}"] if gauge.trips_at is not None or gauge.counted else []
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
