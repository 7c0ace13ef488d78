"""`fraud models list` and `show`: what a registry holds, and how each version stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from models.artefact.files import MANIFEST, SIGNATURE
from models.artefact.strict import Json, ModelRefused, parsed
from models.versions.alias_files import alias_records
from models.versions.aliases import ALL_PPM, AliasRecord
from models.versions.approval_files import standing_approvals
from models.versions.approvals import Approval, grounds_words
from models.versions.artefact_files import digest_of, read_artefact
from models.versions.evidence_files import evidence_root
from models.versions.history import HistoryRecord, retired
from models.versions.history_files import read_history
from models.versions.loading_files import Trust, pointed_at, trust_of
from models.versions.locations import Alias, is_version
from models.versions.records import sha256_of
from models.versions.registry_files import (
    CHALLENGER_MANIFEST,
    DirectoryRegistry,
    Registry,
    registry_at,
    with_challenger,
)
from models.versions.signature_files import require_signed
from pipeline.domain.times import utc_text
from pipeline.io.clock import now_ms
from pipeline.io.settings import Settings
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output, coloured

FACT_CHARACTERS_MAX: Final = 1_000
"""A fact has at most so many characters, some 12 lines of a terminal. Training saw more of each feature than that."""


class Known(NamedTuple):
    """What the registry says of all its versions; `pointer`: the champion of a registry without signed records."""

    registry: Registry
    challengers: Path
    trust: Trust | None
    aliases: dict[str, list[AliasRecord]]
    history: list[HistoryRecord]
    pointer: str | None


class Facts(NamedTuple):
    """How one version stands. `alias`: in words, with its share; `signed_by`, `approved`: None where it isn't.

    `fault`: why the version can't be relied upon, in a sentence; None where nothing is wrong with what it has.
    `approvals`: what each was given on. `evidence`: the root of the evidence of now; None where it isn't known.
    `is_onnx`: it is no glass box, stands beside the registry, and never decides.
    """

    version: str
    digest: str
    alias: str | None
    signed_by: str | None
    approved: str | None
    retired: str | None
    fault: str | None
    approvals: tuple[Approval, ...] = ()
    evidence: str | None = None
    is_onnx: bool = False


def facts_of_all(settings: Settings) -> list[Facts]:
    known = known_of(settings)
    return [_facts(known, version) for version in sorted({*versions_of(known.registry), *challengers_of(known)})]


def known_of(settings: Settings) -> Known:
    """Failure where the registry, or the keys that it is read by, can't be relied upon."""
    try:
        registry, trust = registry_at(settings.model_registry), trust_of(settings)
        if trust is None:
            return Known(registry, settings.challengers_path, None, {}, [], _pointer(registry))
        aliases = {alias.value: alias_records(registry, trust.keys, alias) for alias in Alias}
        return Known(registry, settings.challengers_path, trust, aliases, read_history(registry, trust.keys), None)
    except ModelRefused as refusal:
        what = f"The registry {settings.model_registry} can't be relied upon: {refusal}."
        raise Failure(what, "`fraud models verify` says more.", FAILED_CHECK) from refusal


def no_version(what: str) -> Failure:
    """what: a sentence without its full stop. Nothing could be looked at, so no check has failed."""
    return Failure(f"{what[:1].upper()}{what[1:]}.", "`fraud models list` shows what it has.")


def versions_of(registry: Registry) -> list[str]:
    return versions_in(registry, MANIFEST)


def versions_in(registry: Registry, manifest: str) -> list[str]:
    return [name for name in registry.names("") if is_version(name) and manifest in registry.names(name)]


def challengers_of(known: Known) -> list[str]:
    """Return the challengers that are no glass boxes, and share no version's name. Failure where they can't be read."""
    try:
        found = versions_in(DirectoryRegistry(known.challengers), CHALLENGER_MANIFEST)
        return [name for name in found if not known.registry.names(name)]
    except ModelRefused as refusal:
        what = f"The challengers in {known.challengers} can't be listed: {refusal}."
        raise Failure(what, "Set FRAUD_CHALLENGERS_PATH to a folder of them, or to none that there is.") from refusal


def show_facts(output: Output, facts: Facts) -> None:
    words = [
        "ONNX, never decides" if facts.is_onnx else None,
        facts.alias,
        "unsigned" if facts.signed_by is None else f"signed by {facts.signed_by}",
        None if facts.approved is None else f"approved by {facts.approved}",
        None if facts.retired is None else f"retired: {facts.retired}",
    ]
    line = f"{facts.version:<32} {facts.digest[:16]} {', '.join(filter(None, words))}"
    if facts.fault is not None:
        line += coloured(f"; {facts.fault}", "red")
    output.record(_fields(facts), line)


def show_whole(output: Output, settings: Settings, version: str) -> None:
    """Failure where there is no such version."""
    known = known_of(settings)
    if version not in versions_of(known.registry) and version not in challengers_of(known):
        raise no_version(f"the registry has no version '{version}'")
    facts = _facts(known, version)
    lineage = _made_of(known, version) if facts.is_onnx else _lineage(known.registry, version)
    told = [record for record in known.history if record.version == version]
    if output.as_json:
        history = [{**record._asdict(), "reasons": list(record.reasons)} for record in told]
        output.record({**_fields(facts), **lineage, "history": history}, "")
        return
    show_facts(output, facts)
    for approval in facts.approvals:
        words = grounds_words(approval.grounds, facts.evidence)
        output.line(f"  {utc_text(approval.at_ms)} approved by {approval.name} as {approval.role} {words}")
    for line in lineage_lines(lineage):
        output.line(f"  {line}")
    for record in told:
        reasons = f": {'; '.join(record.reasons)}" if record.reasons else ""
        output.line(f"  {utc_text(record.at_ms)} {record.event} by {record.by}{reasons}")


def lineage_lines(lineage: Mapping[str, Json]) -> Iterator[str]:
    """Yield a line for each fact of the training; what is longer than a few lines of a terminal stands in --json."""
    for name, value in lineage.items():
        if isinstance(value, dict):
            yield from (f"{name}.{key}: {_fact(leaf)}" for key, leaf in value.items())
        else:
            yield f"{name}: {_fact(value)}"


def _fields(facts: Facts) -> dict[str, object]:
    approvals = [_approval_fields(each, facts.evidence) for each in facts.approvals]
    return {**facts._asdict(), "approvals": approvals}


def _approval_fields(approval: Approval, evidence: str | None) -> dict[str, object]:
    grounds = {} if approval.grounds is None else approval.grounds._asdict()
    on = grounds_words(approval.grounds, evidence)
    return {**approval._asdict(), "role": approval.role.value, "grounds": grounds or None, "on": on}


def _fact(value: Json) -> str:
    if isinstance(value, list):
        words = ", ".join(map(str, value))
    else:
        words = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return words if len(words) <= FACT_CHARACTERS_MAX else "long; --json shows it"


def seen_at_ms(records: Sequence[AliasRecord], version: str, signature: bytes | None) -> int | None:
    """Return when a signed record first saw a version's signature; None where none did."""
    sha256 = None if signature is None else sha256_of(signature)
    return min(
        (each.at_ms for each in records if each.version == version and each.signature_sha256 == sha256), default=None
    )


def _beside(known: Known, version: str) -> Registry:
    return with_challenger(known.registry, known.challengers, version)


def _onnx_facts(known: Known, version: str) -> Facts:
    """Tell of a challenger that is no glass box: its files, signature and alias. Nobody approves it."""
    digest, signed_by, fault = "", None, None
    try:
        beside = _beside(known, version)
        contents = read_artefact(beside, version)
        digest = digest_of(beside, version)
        if known.trust is not None and SIGNATURE in contents:
            signed_by = require_signed(version, contents, known.trust.keys, now_ms(), None)
        records = known.aliases.get(Alias.CHALLENGER, [])
        if records and records[-1].version == version and records[-1].digest != digest:
            fault = "it is not the model that the alias was moved to"
    except ModelRefused as refusal:
        fault = str(refusal)
    return Facts(version, digest, _alias(known, version), signed_by, None, None, fault, is_onnx=True)


def _made_of(known: Known, version: str) -> dict[str, Json]:
    """Tell what its manifest says of it."""
    try:
        manifest = parsed(read_artefact(_beside(known, version), version).get(CHALLENGER_MANIFEST, b""), MANIFEST)
    except ModelRefused as refusal:
        return {"lineage": f"can't be read: {refusal}"}
    return {name: manifest.get(name) for name in ("features", "made_of")} if isinstance(manifest, dict) else {}


def _facts(known: Known, version: str) -> Facts:
    if MANIFEST not in known.registry.names(version):
        return _onnx_facts(known, version)
    digest, signed_by, evidence, fault = "", None, None, None
    approvals: tuple[Approval, ...] = ()
    try:
        contents = read_artefact(known.registry, version)
        digest = sha256_of(contents.get(MANIFEST, b""))
        if known.trust is not None and SIGNATURE in contents:
            seen = seen_at_ms(known.aliases[Alias.CHAMPION], version, contents.get(SIGNATURE))
            at_ms = now_ms() if seen is None else seen
            signed_by = require_signed(version, contents, known.trust.keys, at_ms, seen)
        approvals, evidence = _approvals(known, version)
    except ModelRefused as refusal:
        fault = str(refusal)
    record = retired(known.history).get(version)
    why = None if record is None else "; ".join(record.reasons)
    approved = ", ".join(f"{each.name} ({each.role}, {_on(each, evidence)})" for each in approvals) or None
    return Facts(version, digest, _alias(known, version), signed_by, approved, why, fault, approvals, evidence)


def _alias(known: Known, version: str) -> str | None:
    if known.pointer == version:
        return Alias.CHAMPION.value
    words: list[str] = []
    for alias, records in known.aliases.items():
        last = records[-1] if records else None
        if last is not None and last.version == version:
            words.append(alias if last.share_ppm == ALL_PPM else f"{alias} of {last.share_ppm / 10_000:g} %")
        elif last is not None and last.share_ppm < ALL_PPM and last.previous_version == version:
            words.append(f"{alias} of the rest")
    return " and ".join(words) or None


def _on(approval: Approval, evidence: str | None) -> str:
    if approval.grounds is None:
        return "on no evidence"
    return "on the evidence of now" if approval.grounds.evidence == evidence else "on other evidence"


def _approvals(known: Known, version: str) -> tuple[tuple[Approval, ...], str | None]:
    if known.trust is None or known.trust.people is None:
        return (), None
    standing = standing_approvals(known.registry, version, known.trust.people, now_ms())
    return tuple(standing.approvals.values()), evidence_root(known.registry, version, known.trust.keys)


def _lineage(registry: Registry, version: str) -> dict[str, Json]:
    """What the manifest says of the training: data, code, parameters, seed, libraries, metrics."""
    try:
        manifest = parsed(read_artefact(registry, version).get(MANIFEST, b""), MANIFEST)
    except ModelRefused as refusal:
        return {"lineage": f"can't be read: {refusal}"}
    if not isinstance(manifest, dict):
        return {}
    return {name: manifest.get(name) for name in ("features", "training", "metrics")}


def _pointer(registry: Registry) -> str | None:
    try:
        return pointed_at(registry)
    except ModelRefused:
        return None
