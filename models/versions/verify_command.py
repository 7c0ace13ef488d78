"""`fraud models verify`: every byte, signature, approval and chain, each looked at by itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple

from models.artefact.files import SIGNATURE, load_contents
from models.artefact.strict import ModelRefused, refuse
from models.versions.alias_files import alias_records
from models.versions.aliases import AliasRecord
from models.versions.approval_files import require_approved
from models.versions.artefact_files import digest_of, read_artefact
from models.versions.evidence_files import read_evidence, require_recorded
from models.versions.history import Event
from models.versions.history_files import read_history
from models.versions.listing_command import no_version, seen_at_ms, versions_of
from models.versions.loading_files import Trust, load_by_alias, trust_of
from models.versions.locations import Alias, is_version
from models.versions.memory_files import Memory
from models.versions.records import vouched
from models.versions.registry_files import Registry, registry_at, with_challenger
from models.versions.signature_files import require_signed
from pipeline.io.clock import now_ms
from pipeline.io.settings import Settings
from pipeline.terminal.output import Output, coloured

NOT_ASKED: Final = (
    "not asked: FRAUD_DATABASE_URL names no database, so nobody misses evidence that was taken away from the registry"
)


class Verified(NamedTuple):
    """fault: one sentence; None where it is good. not_asked: one sentence; empty where it was looked at."""

    what: str
    fault: str | None
    not_asked: str = ""


def verified(settings: Settings, version: str | None) -> list[Verified]:
    """Return what was looked at. version: None stands for all there is. Failure where it is none of the registry's."""
    try:
        registry, trust = registry_at(settings.model_registry), trust_of(settings)
        if version is not None and not (is_version(version) and _names(settings, registry, version)):
            raise no_version(f"the registry has no version '{version}'")
        versions = versions_of(registry) if version is None else [version]
        if not versions:
            refuse("it holds no version")
    except ModelRefused as refusal:
        return [Verified("registry", str(refusal))]
    if trust is None:
        return [_found(f"version {each}", partial(_load, registry, each)) for each in versions]
    records = _champions(registry, trust)
    found = [] if version is not None else _chains(settings, registry, trust)
    if version is None:
        versions = sorted({*versions, *_told_of(registry, trust), *(record.version for record in records)})
    for each in versions:
        if _is_beside(settings, registry, each):
            found.append(_found(f"challenger {each}", partial(_challenger, settings, registry, trust, each)))
            continue
        found.append(_found(f"version {each}", partial(_version, registry, trust, each, records)))
        found.append(_found(f"evidence of {each}", partial(_evidence, settings, registry, trust, each)))
    if not settings.has_database:
        found.append(Verified("evidence in the database", None, NOT_ASKED))
    return found


def _names(settings: Settings, registry: Registry, version: str) -> list[str]:
    return with_challenger(registry, settings.challengers_path, version).names(version)


def _is_beside(settings: Settings, registry: Registry, version: str) -> bool:
    """Return whether only a challenger that is no glass box is called so; its folder stands beside the registry."""
    return not registry.names(version) and bool(_names(settings, registry, version))


def _challenger(settings: Settings, registry: Registry, trust: Trust, version: str) -> None:
    """Verify the files of one by its signature, and by what records say that was on trial. Raises ModelRefused."""
    beside = with_challenger(registry, settings.challengers_path, version)
    contents, records = read_artefact(beside, version), alias_records(registry, vouched(trust.keys), Alias.CHALLENGER)
    require_signed(version, contents, trust.keys, now_ms(), None)
    named = [each for each in records if each.version == version]
    if named and named[-1].digest != digest_of(beside, version):
        refuse(f"challenger '{version}' is not the model that the alias was moved to")


def _evidence(settings: Settings, registry: Registry, trust: Trust, version: str) -> None:
    read_evidence(registry, version, trust.keys)
    require_recorded(settings, registry, version, trust.keys)


def _chains(settings: Settings, registry: Registry, trust: Trust) -> list[Verified]:
    aliases = [_found(f"alias {each}", partial(alias_records, registry, trust.keys, each)) for each in Alias]
    return [
        _found("history", partial(read_history, registry, trust.keys)),
        *aliases,
        _found("champion", lambda: load_by_alias(registry, trust, Memory(settings.model_memory).seen())),
    ]


def _champions(registry: Registry, trust: Trust) -> list[AliasRecord]:
    """Return what was champion; nothing where its chain is refused, which is told where that is looked at."""
    try:
        return alias_records(registry, trust.keys, Alias.CHAMPION)
    except ModelRefused:
        return []


def _told_of(registry: Registry, trust: Trust) -> set[str]:
    """Return the versions of which the history tells that they answered, or were retired: their files stay.

    One that was only ever refused may go.
    """
    try:
        history = read_history(registry, vouched(trust.keys))
        return {record.version for record in history if record.event is not Event.REFUSED}
    except ModelRefused:
        return set()


def show_verified(output: Output, found: list[Verified]) -> None:
    for what, fault, not_asked in found:
        told = not_asked or "good" if fault is None else coloured(fault, "red")
        output.record({"what": what, "fault": fault, "not_asked": not_asked or None}, f"{what}: {told}")


def _found(what: str, look: Callable[[], object]) -> Verified:
    try:
        look()
    except ModelRefused as refusal:
        return Verified(what, str(refusal))
    return Verified(what, None)


def _load(registry: Registry, version: str) -> None:
    load_contents(version, read_artefact(registry, version))


def _version(registry: Registry, trust: Trust, version: str, records: list[AliasRecord]) -> None:
    contents = read_artefact(registry, version)
    load_contents(version, contents)
    seen = seen_at_ms(records, version, contents.get(SIGNATURE))
    require_signed(version, contents, trust.keys, now_ms() if seen is None else seen, seen)
    # As a worker does: of records that pin the same approvals, the first says when they had to count.
    first = {
        (each.digest, frozenset(each.approvals.items())): each for each in reversed(records) if each.version == version
    }
    for record in first.values():
        if record.digest != digest_of(registry, version):
            refuse(f"version '{version}' is not the artefact that {record.alias} was moved to")
        if trust.people is not None:
            require_approved(registry, version, record.digest, record.approvals, trust.people, record.at_ms)
