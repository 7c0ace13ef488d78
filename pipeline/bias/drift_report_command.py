"""`fraud models drift`: whether inputs and scores are still those of training, and what quality may be expected."""

from __future__ import annotations

from typing import Final

from models.artefact.strict import Json
from models.versions.registry_files import registry_at
from pipeline.bias.drift.assessing import DriftReport, drift_report
from pipeline.bias.drift.counting import NOTHING, InputCounts
from pipeline.bias.drift.quality import CONFIDENCE_PERCENT, Estimate
from pipeline.bias.drift.reference_files import ReferenceUnreadable, read_reference
from pipeline.bias.drift.stability import Stability, Verdict
from pipeline.bias.monitor_store import spans_since
from pipeline.bias.report_command import digest_in, written
from pipeline.bias.service_command import policy_reader
from pipeline.bias.trial import Trial
from pipeline.domain.money import count_text
from pipeline.io.filing import server_now_ms
from pipeline.io.settings import Settings
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output

DAY_MS: Final = 86_400_000
MILLI: Final = 1000


def show_drift(settings: Settings, version: str | None, days: int, output: Output, *, is_evidence: bool) -> bool:
    """Show the report of a version, or of each that decided, and return whether nothing drifted."""
    with connected(settings) as connection:
        at_ms = server_now_ms(connection)
        spans = spans_since(connection, version, at_ms - days * DAY_MS, at_ms + DAY_MS)
    counts: dict[str, InputCounts] = {}
    for span in spans:
        counts[span.version] = counts.get(span.version, NOTHING).plus(span.inputs)
    versions = [version] if version is not None else sorted(name for name in counts if name)
    if is_evidence and version is None:
        raise Failure("Evidence is about one version.", "Name it: `fraud models drift VERSION --evidence`.")
    limits = policy_reader(settings)().drift
    is_sound = True
    for name in versions:
        try:
            reference = read_reference(registry_at(settings.model_registry), name, None)
        except ReferenceUnreadable as error:
            raise Failure(f"There is nothing to compare with: {error}.", "Name a version of the registry.") from error
        report = drift_report(counts.get(name, NOTHING), reference, limits)
        _show(name, report, output)
        is_sound &= not report.drifted
        if is_evidence:
            trial = evidence_of(report)
            place = written(settings, "drift", name, digest_in(settings, name), trial, at_ms)
            output.note(f"Evidence {place}: {'passed' if trial.passed else 'failed'}.")
            is_sound = trial.passed
    output.end_list("versions that decided")
    return is_sound


def evidence_of(report: DriftReport) -> Trial:
    """Return what a gate is told: passed where everything could be judged and nothing drifted."""
    if report.stabilities is None:
        findings: tuple[str, ...] = ("the version has no reference of what it was taught on",)
    else:
        findings = tuple([_words(each) for each in report.stabilities if each.verdict is not Verdict.STABLE])
    stabilities: list[Json] = [
        {
            "name": each.name,
            "verdict": str(each.verdict),
            "payments": each.payments,
            "stability_milli": round(each.stability * MILLI),
        }
        for each in report.stabilities or ()
    ]
    return Trial(report.is_proved_stable, findings, {"payments": report.payments, "features": stabilities})


def _show(version: str, report: DriftReport, output: Output) -> None:
    quality = report.quality
    fields = {
        "version": version,
        "payments": report.payments,
        "drifted": [each.name for each in report.drifted],
        "features": None if report.stabilities is None else [_fields(each) for each in report.stabilities],
        "expected_frauds": quality.expected_frauds,
        "precision_ppm": None if quality.precision is None else quality.precision._asdict(),
        "recall_ppm": None if quality.recall is None else quality.recall._asdict(),
    }
    output.record(fields, f"{version}: {count_text(report.payments, 'payment')}. {_verdict(report)}")
    if not output.as_json:
        for each in sorted(report.stabilities or (), key=lambda each: -each.stability):
            output.line(f"  {_words(each)}")
    output.note(
        f"Expected before labels: precision {_share(quality.precision)}, recall {_share(quality.recall)}, of about"
        f" {quality.expected_frauds:,} frauds. That holds where payments of one score are still fraud as often as in"
        " training; a new scheme that the model takes for honest isn't seen in it."
    )


def _verdict(report: DriftReport) -> str:
    if report.stabilities is None:
        return "It has no reference: it was trained before there were any, so nothing is said of its inputs."
    if report.drifted:
        return f"{len(report.drifted)} of {len(report.stabilities)} drifted."
    if report.is_proved_stable:
        return "Nothing drifted."
    return "Nothing that could be judged drifted; of the rest there is not enough data."


def _words(each: Stability) -> str:
    match each.verdict:
        case Verdict.DRIFTED:
            return f"{each.name} drifted: {each.stability:.3f}, where {each.limit:.3f} is the limit at this sample"
        case Verdict.STABLE:
            return f"{each.name} is stable: {each.stability:.3f} of {each.limit:.3f}"
        case Verdict.NOT_ENOUGH_DATA:
            return f"{each.name}: not enough data"


def _fields(each: Stability) -> dict[str, object]:
    is_judged = each.verdict is not Verdict.NOT_ENOUGH_DATA
    figures = {"stability": round(each.stability, 4), "limit": round(each.limit, 4)} if is_judged else {}
    return {"name": each.name, "verdict": str(each.verdict), "payments": each.payments, **figures}


def _share(estimate: Estimate | None) -> str:
    if estimate is None:
        return "unknown (too few)"
    low, high = estimate.low_ppm / 10_000, estimate.high_ppm / 10_000
    return f"{estimate.ppm / 10_000:.1f} % ({low:.1f} to {high:.1f}, {CONFIDENCE_PERCENT} % of chance alone)"
