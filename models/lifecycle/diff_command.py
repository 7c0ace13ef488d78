"""`fraud models diff A B` and `fraud models replay VERSION`: what they read, and how they tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from models.artefact.files import ModelRefused
from models.artefact.scoring import Model
from models.lifecycle.decision_files import exported_records, labels_of
from models.lifecycle.differences import Differences, LabelKey, Part, Sum, differences
from models.lifecycle.shapes import CalibrationChange, ShapeChange, calibration_change, shape_changes
from models.versions.loading_files import load_registered
from pipeline.audit.lookup_store import latest_records
from pipeline.domain.context import Label, frauds_told
from pipeline.domain.decision import StoredDecision
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from pipeline.replay.archive_files import RegimeArchive
from pipeline.replay.redecide import RegimeMissing
from pipeline.replay.verify import verify
from pipeline.replay.verify_command import show_checks
from pipeline.seals.label_files import label_proves
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output, coloured

SHAPES_SHOWN: Final = 12
PARTS_SHOWN: Final = 10


class Decided(NamedTuple):
    """The source of stored decisions. export None: from the audit log in PostgreSQL."""

    last: int
    export: Path | None


class Labelled(NamedTuple):
    """The source of labels: a file, labels.v1, or nowhere."""

    file: Path | None
    is_read_from_topic: bool


def show_diff(
    settings: Settings, before: str, after: str, decided: Decided, labelled: Labelled, output: Output
) -> None:
    earlier, later = _model(settings, before), _model(settings, after)
    stored = read_decisions(settings, decided)
    payments = _features(stored)
    shapes, calibration = shape_changes(earlier, later, payments), calibration_change(earlier, later)
    try:
        found = differences(stored, earlier, later, RegimeArchive.of(settings).regime_of, _labels(settings, labelled))
    except RegimeMissing as missing:
        raise Failure(f"The decisions can't be decided again: {missing}.", "Put it back into its archive.") from missing
    fields = {
        "before": {"version": before, "digest": earlier.hash.hex()},
        "after": {"version": after, "digest": later.hash.hex()},
        "shapes": [_shape_json(each) for each in shapes],
        "calibration": calibration._asdict(),
        "decisions": differences_json(found),
    }
    first, *rest = _lines(before, after, shapes, calibration, found)
    output.record(fields, first)
    for line in () if output.as_json else rest:
        output.line(line)


def show_replay(settings: Settings, version: str, decided: Decided, output: Output) -> bool:
    """Decide again what a version decided; True where every byte is as it was written."""
    stored = read_decisions(settings, decided, version)
    if not stored:
        raise Failure(f"No stored decision names the version {version}.", "See `fraud models list`.")
    return show_checks(output, verify(stored, RegimeArchive.of(settings).regime_of))


def read_decisions(settings: Settings, decided: Decided, model_version: str | None = None) -> list[StoredDecision]:
    """Return the latest decisions, newest first. A row that is no decision is a failure, not one fewer."""
    if decided.last == 0:
        return []
    if decided.export is None:
        with connected(settings) as connection:
            records = latest_records(connection, decided.last, model_version)
    else:
        records = exported_records(decided.export, decided.last, model_version)
    wire = WireFormat()
    return [_stored(wire.decode_stored_decision(record)) for record in records]


def differences_json(found: Differences) -> dict[str, object]:
    return {
        "decided_again": found.decisions,
        "undecidable": found.undecidable,
        "lacking_features": found.lacking,
        "changed": found.changed._asdict(),
        "transitions": [
            {"from": was.value, "to": now.value, **changed._asdict()}
            for (was, now), changed in found.transitions.items()
        ],
        "segments": [_part_json(part) for part in found.segments],
        "values": [_part_json(part) for part in found.bands],
        "labels": {name: worth._asdict() for name, worth in found.worth._asdict().items()},
    }


def _stored(found: object) -> StoredDecision:
    if not isinstance(found, StoredDecision):
        raise Failure("A row of the audit log is no decision that can be read.", "Run `fraud audit check`.")
    return found


def _labels(settings: Settings, labelled: Labelled) -> Mapping[LabelKey, bool]:
    if labelled.file is not None:
        return labels_of(labelled.file)
    if not labelled.is_read_from_topic:
        return {}
    wire = WireFormat()
    with LogReader.of(settings, proves=label_proves(settings)) as log:
        read = (wire.decode_label(record.value) for record in log.read_all(settings.topic("labels.v1")))
        return fraud_by_payment([each for each in read if not isinstance(each, Refusal)])


def fraud_by_payment(labels: Sequence[Label]) -> dict[LabelKey, bool]:
    frauds = frauds_told(labels)
    payments = ((each.account_id, each.transaction_id) for each in labels)
    return {payment: payment in frauds for payment in payments}


def _features(stored: Sequence[StoredDecision]) -> np.typing.NDArray[np.int64] | None:
    if not stored:
        return None
    return np.array([each.decision.snapshot.features for each in stored], dtype=np.int64)


def _model(settings: Settings, version: str) -> Model:
    try:
        return load_registered(settings.model_registry, version)
    except ModelRefused as refusal:
        raise Failure(f"{refusal}.", "Name a version of the registry, or set FRAUD_MODEL_REGISTRY.") from refusal


def _shape_json(change: ShapeChange) -> dict[str, object]:
    return {**change._asdict(), "features": list(change.features), "largest_at": list(change.largest_at)}


def _part_json(part: Part) -> dict[str, object]:
    return {"name": part.name, "decisions": part.decisions, **part.changed._asdict()}


def _lines(
    before: str, after: str, shapes: Sequence[ShapeChange], calibration: CalibrationChange, found: Differences
) -> list[str]:
    return [
        f"{before} → {after}",
        *_shape_lines(shapes, calibration),
        *_decision_lines(found),
    ]


def _shape_lines(shapes: Sequence[ShapeChange], calibration: CalibrationChange) -> list[str]:
    if not shapes and not calibration.intercept_micro and not calibration.largest_ppm:
        return ["Every shape and the calibration are the same."]
    lines = [f"{len(shapes)} shapes differ, in log-odds:"]
    if shapes:
        lines.append(f"  {'largest':>9}{'mean':>9}  shape")
    for change in shapes[:SHAPES_SHOWN]:
        mean = "" if change.mean_micro is None else f"{change.mean_micro / 1e6:.3f}"
        kind = " (added)" if change.is_added else " (removed)" if change.is_removed else ""
        where = ", ".join(f"{value:,}" if value > -(2**53) else "below all" for value in change.largest_at)
        lines.append(f"  {change.largest_micro / 1e6:>9.3f}{mean:>9}  {' × '.join(change.features)}{kind}, at {where}")
    if len(shapes) > SHAPES_SHOWN:
        lines.append(f"  … and {len(shapes) - SHAPES_SHOWN} more; --json lists all")
    lines.append(
        f"The intercept moves by {calibration.intercept_micro / 1e6:+.3f}; the same score is up to "
        f"{calibration.largest_ppm / 10_000:+.1f} points another probability."
    )
    return lines


def _decision_lines(found: Differences) -> list[str]:
    if not found.decisions:
        return ["No stored decision was decided again."]
    share = 100 * found.changed.payments / found.decisions
    lines = [
        f"Of the last {found.decisions:,} decisions {found.changed.payments:,} would change ({share:.2f} %), "
        f"worth {_pounds(found.changed)}."
    ]
    if found.lacking:
        lines.append(
            f"  {found.lacking:,} were written before a feature that one of the two reads: the fallback answers for it"
        )
    if found.undecidable:
        lines.append(f"  {found.undecidable:,} can't be decided again: their payments would be refused now")
    lines += [
        f"  {was.value} → {coloured(now.value, 'cyan')}: {changed.payments:,}, {_pounds(changed)}"
        for (was, now), changed in found.transitions.items()
    ]
    lines += _part_lines("By value:", found.bands)
    lines += _part_lines("By segment, the most changed:", found.segments)
    return lines + _worth_lines(found) if found.changed.payments else lines


def _part_lines(title: str, parts: Sequence[Part]) -> list[str]:
    changed = [part for part in parts if part.changed.payments]
    if not changed:
        return []
    most = sorted(changed, key=lambda part: -part.changed.payments / part.decisions)[:PARTS_SHOWN]
    width = max(len(part.name) for part in most)
    return [
        title,
        *(
            f"  {part.name:<{width}}  {part.changed.payments:,} of {part.decisions:,}, {_pounds(part.changed)}"
            for part in most
        ),
    ]


def _worth_lines(found: Differences) -> list[str]:
    worth = found.worth
    return [
        "As far as labels tell:",
        f"  fraud caught that was let go: {_told(worth.fraud_caught)}; let go that was stopped: "
        f"{_told(worth.fraud_missed)}",
        f"  honest payments stopped that were let go: {_told(worth.honest_stopped)}; let go that were stopped: "
        f"{_told(worth.honest_freed)}",
        f"  without a label: {_told(worth.unlabelled)}",
    ]


def _told(some: Sum) -> str:
    return f"{some.payments:,} ({_pounds(some)})"


def _pounds(some: Sum) -> str:
    return f"£{some.minor // 100:,}.{some.minor % 100:02}"
