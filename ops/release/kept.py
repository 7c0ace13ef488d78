"""Whether the code that runs keeps a promise (ops.release.promise): what an earlier version wrote, read again.

Everything that version wrote is decoded, verified and explained to the byte, and its audit export is proved. What was
said of a decision then, to staff and to the customer, is said now, and so is what people's records say; that more is
said is no breach.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from models.artefact.files import ModelRefused, load_version
from ops.release.audit_export import KEYS
from ops.release.promise import EXPORT, HASHES, POLICIES, RECORDS, REGISTRY, hashes_of
from ops.release.told import read_told, told_of
from ops.verifier.export import Outside, Trust, verify_export
from ops.verifier.freshness import Freshness
from ops.verifier.keys import read_keys
from pipeline.decide.policy import PolicyRefused, parse_policy
from pipeline.domain.decision import Decision, StoredDecision
from pipeline.domain.identities import decision_id
from pipeline.domain.plain import plain_record
from pipeline.domain.refusals import Refusal
from pipeline.explain.as_json import explanation_json
from pipeline.explain.explanation import explanation
from pipeline.io.avro.wire import WireFormat
from pipeline.replay.archive_files import RegimeArchive
from pipeline.replay.verify import Result

BREACHES_MAX: Final = 20
"""Told of one promise; a change that breaks one decision breaks most."""


class Kept(NamedTuple):
    """decisions, others: that were read; rows: of the audit export. breaches: one sentence each."""

    decisions: int
    others: int
    rows: int
    breaches: tuple[str, ...]


def kept(folder: Path) -> Kept:
    """Read the promise of one version."""
    lines = [json.loads(line) for line in gzip.decompress((folder / RECORDS).read_bytes()).splitlines()]
    decisions = sum("explanation" in line for line in lines)
    breaches = [*_changed(folder), *_archive(folder), *_records(folder, lines), *_told(folder, lines)]
    rows, found = _export(folder)
    if rows != len(lines):
        found.append(f"the export has {rows} rows, and there are {len(lines)} records")
    return Kept(decisions, len(lines) - decisions, rows, tuple([*breaches, *found][:BREACHES_MAX]))


def _changed(folder: Path) -> Iterator[str]:
    """A promise that was edited later says nothing."""
    promised = json.loads((folder / HASHES).read_text(encoding="utf-8"))["sha256"]
    found = dict(hashes_of(folder))
    for name in sorted(promised.keys() | found.keys()):
        if promised.get(name) != found.get(name):
            yield f"{name} is not the file that was promised"


def _archive(folder: Path) -> Iterator[str]:
    for path in sorted((folder / REGISTRY).iterdir()):
        if path.is_dir():
            try:
                load_version(folder / REGISTRY, path.name)
            except ModelRefused as refusal:
                yield f"{refusal}"
    policies = sorted((folder / POLICIES).glob("*.toml"))
    if not policies:
        yield "it holds no policy"
    for path in policies:
        content = path.read_bytes()
        if b"\n[hard]" in content or b"\n[[hard.rules]]" in content:  # beside policies, other files may stand
            try:
                parse_policy(content)
            except PolicyRefused as refusal:
                yield f"{path.name} is no longer accepted: {refusal}"


def _records(folder: Path, lines: Sequence[Mapping[str, object]]) -> Iterator[str]:
    wire, archive = WireFormat(), RegimeArchive(folder / POLICIES, folder / REGISTRY)
    for line in lines:
        where, value = f"{line['partition']}:{line['offset']}", bytes.fromhex(str(line["value"]))
        record = wire.decode_decision_record(value)
        if isinstance(record, Refusal):
            yield f"the record at {where} can't be read: {record.detail}"
            continue
        promised = line.get("explanation")
        if promised is None:
            if not plain_record(record):
                yield f"the record at {where} says nothing"
            continue
        stored = wire.decode_stored_decision(value)
        assert isinstance(stored, StoredDecision), "it was decoded"
        yield from _payment(wire, line, stored.decision, where)
        told = explanation(stored, int(str(line["partition"])), int(str(line["offset"])), archive.regime_of)
        if told.check.result is not Result.IDENTICAL:
            yield f"the decision at {where} is {told.check.result}: {told.check.why or ', '.join(told.check.differing)}"
        now = json.loads(json.dumps(explanation_json(told), ensure_ascii=False))
        for place, was, found in differences(promised, now):
            yield f"of the decision at {where}, {place} was {was!r:.80}, and is {found!r:.80}"


def _payment(wire: WireFormat, line: Mapping[str, object], decision: Decision, where: str) -> Iterator[str]:
    """The payment as its publisher wrote it is read as the one that was decided on, and still is the same payment."""
    decoded = wire.decode_transaction(bytes.fromhex(str(line["payment"])))
    if isinstance(decoded, Refusal):
        yield f"the payment of the decision at {where} can't be read: {decoded.detail}"
        return
    if decoded.transaction != decision.snapshot.transaction:
        yield f"the payment of the decision at {where} is another one than it holds"
    if decoded.digest.hex() != line["digest"]:
        yield f"the payment of the decision at {where} has another digest"
    if decision_id(decoded.transaction, decoded.digest, decision.source) != decision.decision_id:
        yield f"the payment of the decision at {where} would be decided under another id"


def _told(folder: Path, lines: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """Customers are told the same of each decision as then, and each other record says the same."""
    promised = read_told(folder)
    if promised is None:
        yield "it does not hold what customers were told"
        return
    archive = RegimeArchive(folder / POLICIES, folder / REGISTRY)
    if len(promised) != len(lines):
        yield f"it holds what was told of {len(promised)} records, and there are {len(lines)}"
    for line in lines:
        where = f"{line['partition']}:{line['offset']}"
        was = promised.get((line["partition"], line["offset"]))
        if not was:
            yield f"nothing is held of what was told of the record at {where}"
            continue
        for place, before, found in differences(was, told_of(bytes.fromhex(str(line["value"])), archive.regime_of)):
            yield f"of the record at {where}, {place} was {before!r:.80}, and is {found!r:.80}"


_ABSENT: Final = "absent"


def differences(promised: object, now: object, place: str = "") -> Iterator[tuple[str, object, object]]:
    """What was said and is not said now: its place, and both. What is said beside it doesn't matter."""
    if isinstance(promised, Mapping) and isinstance(now, Mapping):
        for name, value in promised.items():
            yield from differences(value, now.get(name, _ABSENT), f"{place}.{name}" if place else str(name))
    elif isinstance(promised, list) and isinstance(now, list) and len(promised) == len(now):
        for number, (was, found) in enumerate(zip(promised, now, strict=True)):
            yield from differences(was, found, f"{place}[{number}]")
    elif promised != now or type(promised) is not type(now):
        yield place, promised, now


def _export(folder: Path) -> tuple[int, list[str]]:
    """The rows of the export, and what the offline verifier finds in it."""
    with TemporaryDirectory() as temporary:
        out = Path(temporary)
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress((folder / EXPORT).read_bytes()))) as packed:
            packed.extractall(out, filter="data")
        at_ms = int(json.loads((out / "manifest.json").read_text(encoding="utf-8"))["exported_at_ms"])
        is_witnessed = (out / "witness.jsonl").exists()
        trust = Trust(read_keys(out / KEYS), Freshness(at_ms, None, is_witnessed))
        report = verify_export(out, Outside(out / "outside"), trust, is_all=True, with_tables=False)
    return report.rows, [f"the export: {finding}" for finding in report.findings]
