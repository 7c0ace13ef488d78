"""`fraud models check`: the checks of a version that need nobody's attack, and as evidence for the gate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from models.artefact.asking import ask
from models.artefact.files import MANIFEST, golden_of, load_contents
from models.artefact.scoring import Model, score
from models.artefact.strict import Json, ModelRefused, parsed
from models.artefact.vectors import GoldenVector
from models.versions.alias_files import latest_seen
from models.versions.artefact_files import read_artefact
from pipeline.bias.report_command import digest_in, written
from pipeline.bias.trial import Trial
from pipeline.decide.rollout.limits import DAY_MS
from pipeline.domain.features import Matrix
from pipeline.io.avro.wire import WireFormat
from pipeline.io.filing import server_now_ms
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.postgres import Connection
from pipeline.io.settings import Settings
from pipeline.promotion.checks import (
    BANDS_PPM,
    Checked,
    calibration_check,
    golden_trial,
    latency_trial,
    shadow_check,
)
from pipeline.promotion.desk_files import reading_desk
from pipeline.promotion.gathering_store import NO_CHAMPION, Terms, shadow_beside, standpoint, terms_of
from pipeline.promotion.moves import champion_digest_of, champion_of
from pipeline.promotion.moving_store import Desk
from pipeline.shadow.summary_store import calibration_bands
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output, coloured

BATCH_ROWS: Final = 500
ROUNDS: Final = 200
"""Rounds of which the quickest counts: half a second's work, in which a machine gives some of them its whole core."""
FINDINGS_SHOWN: Final = 5


def check_version(output: Output, settings: Settings, wire: WireFormat, version: str, *, is_evidence: bool) -> bool:
    """Show what each check finds, and return whether all passed. Raises Failure where one could not be made.

    is_evidence: file what each finds, for the gate; nothing is filed of a check that came too early to say anything.
    """
    digest = digest_in(settings, version)
    try:
        desk = reading_desk(settings, wire)
        with connected(settings) as connection:
            checked = list(checks(connection, desk, version, digest, terms_of(settings), settings.label_delay_days))
            at_ms = server_now_ms(connection)
    except ModelRefused as refusal:
        raise Failure(f"The version can't be checked: {refusal}.", "Correct what it names, and try again.") from refusal
    except BrokerFailed as error:
        raise Failure(f"The labels can't be read: {error}.", "Is the broker up?") from error
    for each in checked:
        is_filed = is_evidence and not each.is_early
        name = written(settings, each.kind, version, digest, each.trial, at_ms) if is_filed else None
        fields = {"kind": each.kind, **each.trial._asdict(), "is_early": each.is_early, "evidence": name}
        output.record(fields, f"{each.kind}: {_word(each)}" + ("" if name is None else f", {name}"))
        if not output.as_json:
            findings = each.trial.findings
            for finding in findings[:FINDINGS_SHOWN]:
                output.line(f"  {finding}")
            if len(findings) > FINDINGS_SHOWN:
                output.line(f"  and {len(findings) - FINDINGS_SHOWN} more")
    return all(each.trial.passed for each in checked)


def checks(
    connection: Connection, desk: Desk, version: str, digest: str, terms: Terms, label_delay_days: int
) -> Iterator[Checked]:
    """Yield what each check finds. Raises ModelRefused, BrokerFailed, DatabaseRefused, DatabaseUnavailable."""
    contents = read_artefact(desk.registry, version)
    standing = standpoint(desk.registry, desk.keys, latest_seen(connection))
    if standing.fault is not None or standing.latest is None:
        raise ModelRefused(standing.fault or NO_CHAMPION)
    try:
        model = load_contents(version, contents)
    except ModelRefused as refusal:
        for kind in ("golden", "latency"):
            yield Checked(kind, Trial(False, (str(refusal).rstrip("."),), {}))
    else:
        expected, rows = golden_of(contents, model)
        yield Checked("golden", golden_trial(expected, _answered_alone(model, expected, rows)))
        yield Checked("latency", latency_trial(*_times_us(model, rows)))
    now_ms = server_now_ms(connection)
    before_ms = now_ms - label_delay_days * DAY_MS
    bands = calibration_bands(connection, bytes.fromhex(digest), BANDS_PPM, desk.frauds(), before_ms)
    yield calibration_check(_held_back_error_ppm(contents[MANIFEST]), bands)
    beside: dict[str, Json] = {
        "version": champion_of(standing.latest),
        "digest": champion_digest_of(standing.latest),
    }
    found = shadow_beside(connection, desk.sources, version, digest, standing, terms.limits)
    yield shadow_check(version, found, terms.limits, now_ms, beside, terms.policy)


def _word(checked: Checked) -> str:
    if checked.is_early:
        return coloured("too early to say", "yellow")
    return coloured("passed", "green") if checked.trial.passed else coloured("failed", "red")


def _answered_alone(model: Model, expected: Sequence[GoldenVector], rows: Matrix) -> list[GoldenVector]:
    """Return what the model answers to each row alone, the last first; loading has asked about all at once."""
    given = []
    for row in reversed(range(len(rows))):
        scores = score(model, rows[row : row + 1])
        given.append(
            GoldenVector(
                expected[row].features,
                tuple(scores.contribution_micro[0].tolist()),
                int(scores.score_micro[0]),
                int(scores.fraud_probability_ppm[0]),
            )
        )
    return given[::-1]


def _times_us(model: Model, rows: Matrix) -> tuple[list[float], list[float]]:
    """Return microseconds a payment, in batches and alone, of each round; a round of each in turn."""
    batch = np.resize(rows, (BATCH_ROWS, rows.shape[1]))
    single = rows[:1]
    rounds = [
        (_taken_us(lambda: ask(model, batch)) / BATCH_ROWS, _taken_us(lambda: ask(model, single)))
        for _ in range(ROUNDS)
    ]
    return [each for each, _ in rounds], [each for _, each in rounds]


def _taken_us(work: Callable[[], object]) -> float:
    begun = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - begun) / 1_000


def _held_back_error_ppm(manifest: bytes) -> int | None:
    """Return what the manifest says of it; the manifest is good JSON, or nothing is known."""
    try:
        read = parsed(manifest, MANIFEST)
    except ModelRefused:
        return None
    metrics = read.get("metrics") if isinstance(read, dict) else None
    error = metrics.get("calibration_error_ppm") if isinstance(metrics, dict) else None
    return error if type(error) is int else None
