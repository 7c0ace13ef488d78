"""`fraud models bias`: how each segment fares, as lines or as JSON; and as evidence for the promotion gate."""

from __future__ import annotations

from typing import Final

from models.artefact.strict import Json, ModelRefused
from models.versions.artefact_files import digest_of
from models.versions.evidence import Evidence
from models.versions.evidence_files import file_evidence
from models.versions.loading_files import champion_version_of
from models.versions.registry_files import registry_at
from pipeline.bias.alerts import FARES
from pipeline.bias.assessing import Assessment, Finding, Verdict, assessed, summed, verdict_words
from pipeline.bias.monitor_store import OpenGap, answered_beside, open_gaps, spans_since
from pipeline.bias.service_command import policy_reader
from pipeline.bias.smallest import RATIO_MAX
from pipeline.bias.trial import Trial, judged_alone, judged_beside
from pipeline.bias.watching import Measure
from pipeline.domain.times import utc_text
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection
from pipeline.io.settings import Settings
from pipeline.keys.key_files import SigningKey, SigningKeyRefused
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output

DAY_MS: Final = 86_400_000
MINUTE_MS: Final = 60_000


def show_bias(settings: Settings, version: str | None, days: int, output: Output, *, is_evidence: bool) -> bool:
    """Show the report, and return whether nothing fares worse than is let pass."""
    in_force = policy_reader(settings)()
    with connected(settings) as connection:
        if is_evidence:
            return _show_evidence(settings, connection, version, output)
        at_ms = server_now_ms(connection)
        spans = spans_since(connection, version, at_ms - days * DAY_MS, at_ms + DAY_MS)
        gaps = open_gaps(connection)
    assessment = assessed(summed([span.counts for span in spans]), in_force.scopes, in_force.bias)
    for finding in _ordered(assessment):
        output.record(_fields(finding), _line(finding))
    output.end_list("segments with payments")
    for gap in gaps:
        output.note(_gap_words(gap))
    output.note(_selective(assessment, days))
    return not gaps and not assessment.gaps(Measure.FALSE_STOP)


def _show_evidence(settings: Settings, connection: Connection, version: str | None, output: Output) -> bool:
    """Judge all that there is, so that nobody chooses the days that pass."""
    if version is None:
        raise Failure("Evidence is about one version.", "Name it: `fraud models bias VERSION --evidence`.")
    in_force = policy_reader(settings)()
    digest = digest_in(settings, version)
    champion = _champion(settings)
    beside = answered_beside(connection, bytes.fromhex(digest), champion)
    figures: dict[str, Json] = {"policy_sha256": in_force.digest.hex()}
    if beside.challenger:
        figures["champion"] = {"version": champion, "digest": digest_in(settings, champion)}
        assessment = assessed(beside.challenger, in_force.scopes, in_force.bias)
        trial = judged_beside(beside.challenger, beside.champion, assessment, in_force.scopes, in_force.bias)
    else:
        spans = spans_since(connection, version, 0, server_now_ms(connection) + DAY_MS)
        assessment = assessed(summed([span.counts for span in spans]), in_force.scopes, in_force.bias)
        trial = judged_alone(assessment, [_gap_words(gap) for gap in open_gaps(connection)])
    trial = trial._replace(figures={**trial.figures, **figures})
    name = written(settings, "bias", version, digest, trial, server_now_ms(connection))
    words = "passed" if trial.passed else "failed: " + "; ".join(trial.findings[:3])
    output.record({"evidence": name, "passed": trial.passed, "findings": list(trial.findings)}, f"{name}: {words}")
    return trial.passed


def written(settings: Settings, kind: str, version: str, digest: str, trial: Trial, at_ms: int) -> str:
    """Sign what was found, record it, put it into the registry, and return its name there. Raises Failure.

    at_ms: now by the database, since a wrong clock of this machine would make evidence older or younger than it is.
    """
    if settings.models_key_file is None:
        raise Failure("Evidence must be signed, and there is no key.", "Set FRAUD_MODELS_KEY_FILE to the models' key.")
    evidence = Evidence(kind, version, digest, at_ms, trial.passed, trial.findings, trial.figures)
    try:
        key = SigningKey.from_file(settings.models_key_file)
        with connected(settings) as connection:
            return file_evidence(connection, registry_at(settings.model_registry), evidence, key)
    except (ModelRefused, SigningKeyRefused) as refusal:
        raise Failure(
            f"The evidence can't be written: {refusal}.", "Correct what it names, and try again."
        ) from refusal


def _champion(settings: Settings) -> str:
    try:
        return champion_version_of(settings)
    except ModelRefused as refusal:
        what = f"There is no champion to compare with: {refusal}."
        raise Failure(what, "`fraud models list` shows those there are.") from refusal


def digest_in(settings: Settings, version: str) -> str:
    try:
        return digest_of(registry_at(settings.model_registry), version)
    except ModelRefused as refusal:
        raise Failure(
            f"There is no such version: {refusal}.", "`fraud models list` shows those there are."
        ) from refusal


def _ordered(assessment: Assessment) -> list[Finding]:
    """Gaps first, then what was judged, by how much worse it may be; segments without a payment say nothing."""
    order = {Verdict.GAP: 0, Verdict.UNDECIDED: 1, Verdict.NO_GAP: 2, Verdict.NOT_ENOUGH_DATA: 3}
    shown = [each for each in assessment.findings if each.payments]
    return sorted(shown, key=lambda each: (order[each.verdict], -each.ratio_low, each.scope, each.measure))


def _fields(finding: Finding) -> dict[str, object]:
    return {
        **finding._asdict(),
        "measure": finding.measure.name,
        "ratio": _ratio(finding.ratio),
        "ratio_low": _ratio(finding.ratio_low),
        "ratio_high": _ratio(finding.ratio_high),
        "smallest_ratio": _ratio(finding.smallest_ratio),
        "words": verdict_words(finding),
    }


def _ratio(ratio: float) -> float | None:
    return None if ratio >= RATIO_MAX else round(ratio, 3)


def _line(finding: Finding) -> str:
    rates = f"{finding.rate_ppm / 10_000:.2f} % ({finding.rate_low_ppm / 10_000:.2f} to"
    return (
        f"{finding.scope}  {FARES[finding.measure]} {rates} {finding.rate_high_ppm / 10_000:.2f}) of"
        f" {finding.payments:,}, the rest {finding.rest_rate_ppm / 10_000:.2f} %: {verdict_words(finding)}"
    )


def _gap_words(gap: OpenGap) -> str:
    since = utc_text(gap.opened_minute * MINUTE_MS)
    return f"Open since {since}: payments of {gap.scope} are {FARES[gap.measure]} more often than is let pass."


def _selective(assessment: Assessment, days: int) -> str:
    known = assessment.known_honest + assessment.known_frauds
    return (
        f"{assessment.payments:,} payments of {days} days, {assessment.stopped:,} stopped. {known:,} are known by a "
        f"label or a review, {assessment.false_stops:,} of them honest and stopped. What was blocked seldom gets a "
        "label: false positives are those that became known, and a gap among the others isn't seen."
    )
