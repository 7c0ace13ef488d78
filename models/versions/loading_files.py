"""Loading what the registry names: by signed records where there are keys, by a plain pointer in development.

Invariants
1. In production, and wherever the key set holds a key of use `models`, the champion is what the signed records name,
   with a signed artefact that is the one they name, and in production approved by three people. Nothing else loads.
2. A registry with signed records is never read by its plain pointer: whoever takes the keys away gets a refusal.
3. What was in force is remembered, and no chain that ends before it is taken up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from models.artefact.files import CHAMPION, MANIFEST, POINTER_BYTES_MAX, SIGNATURE, champion_version, load_contents
from models.artefact.scoring import Model
from models.artefact.strict import ModelRefused, refuse
from models.versions.alias_files import alias_records
from models.versions.aliases import (
    ALL_PPM,
    AliasRecord,
    Seen,
    approvals_seen_at_ms,
    folder_of,
    require_chain,
    require_no_way_back,
    signature_seen_at_ms,
)
from models.versions.approval_files import require_approved
from models.versions.artefact_files import read_artefact
from models.versions.chain_files import chain_length
from models.versions.locations import (
    ALIASES,
    HISTORY,
    RECORD_BYTES_MAX,
    Alias,
    is_version,
    record_name,
    require_version,
)
from models.versions.memory_files import Memory
from models.versions.records import sha256_of
from models.versions.registry_files import DirectoryRegistry, Registry, registry_at
from models.versions.signature_files import require_signed
from pipeline.io.clock import now_ms
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_files import read_key_set
from pipeline.keys.key_sets import KeySet, KeySetRefused, KeyUse, key_set_of
from pipeline.people.people_files import PeopleFileRefused, read_people
from pipeline.people.registry import Registry as People


class Trust(NamedTuple):
    """people: None where approvals aren't asked for, which is never so in production."""

    keys: KeySet
    people: People | None


class Loaded(NamedTuple):
    """`model` decides; `record`: what names it, None for a plain pointer.

    `candidate`: the version that is given the record's share of the traffic while `model`, the one before it, has the
    rest; None where `model` has it all.
    """

    model: Model
    record: AliasRecord | None = None
    candidate: Model | None = None


def trust_of(settings: Settings) -> Trust | None:
    """Return by whose word models are loaded; None in development without keys. Raises ModelRefused."""
    keys = signing_keys(settings)
    if keys is None:
        return None
    if settings.people_file is None:
        if settings.profile is Profile.PRODUCTION:
            refuse("FRAUD_PEOPLE_FILE names no file that says who may approve a model")
        return Trust(keys, None)
    try:
        return Trust(keys, read_people(settings.people_file).registry)
    except PeopleFileRefused as refusal:
        raise ModelRefused(f"who approved the model can't be told: {refusal}") from refusal


def load_champion_of(settings: Settings) -> Loaded:
    """Return what a worker decides by. Raises ModelRefused with one sentence, whatever the registry holds."""
    trust, registry = trust_of(settings), registry_at(settings.model_registry)
    if trust is None:
        return Loaded(_by_pointer(settings, registry))
    if settings.model_version is not None:
        return Loaded(_pinned_by_setting(registry, settings.model_version, trust))
    memory = Memory(settings.model_memory)
    loaded = load_by_alias(registry, trust, memory.seen())
    assert loaded.record is not None, "an alias's record named it"
    memory.remember(loaded.record)
    return loaded


def load_by_alias(registry: Registry, trust: Trust, seen: Seen | None = None) -> Loaded:
    """Verify the whole chain, and load what it names. Raises ModelRefused."""
    try:
        return _load_by_alias(registry, trust, seen)
    except ModelRefused:
        raise
    except Exception as error:  # whatever files make our code raise: nothing unproved is ever loaded
        raise ModelRefused(f"the registry is refused: it can't be read ({type(error).__name__})") from error


def _load_by_alias(registry: Registry, trust: Trust, seen: Seen | None) -> Loaded:
    records = alias_records(registry, trust.keys, Alias.CHAMPION)
    require_no_way_back(Alias.CHAMPION, records, seen)
    record = require_chain(Alias.CHAMPION, records)
    _require_history(registry, record)
    model = _proved(registry, record, trust, records)
    if record.share_ppm == ALL_PPM:
        return Loaded(model, record)
    before = next(each for each in reversed(records) if each.version == record.previous_version)
    if before.digest != record.previous_digest:
        refuse("the version that has the rest of the traffic is another than the one that was in force")
    return Loaded(_proved(registry, before, trust, records), record, candidate=model)


def champion_version_of(settings: Settings) -> str:
    """Return the version that decides all that no share takes from it, without loading it. Raises ModelRefused."""
    trust, registry = trust_of(settings), registry_at(settings.model_registry)
    if trust is None:
        return pointed_at(registry)
    record = require_chain(Alias.CHAMPION, alias_records(registry, trust.keys, Alias.CHAMPION))
    return record.version if record.share_ppm == ALL_PPM else str(record.previous_version)


def load_registered(location: Path, version: str) -> Model:
    """Load any version, signed or not, for whoever holds it against a hash that was recorded. Raises ModelRefused."""
    return load_contents(require_version(version), read_artefact(registry_at(location), version))


def glance(settings: Settings) -> bytes:
    """Return what changes when the registry names another model: the look that a worker takes every few seconds.

    Empty where nothing can be read; loading then says why.
    """
    try:
        registry = registry_at(settings.model_registry)
        if signing_keys(settings) is None:  # who the people are is proved when something has changed
            return registry.read(CHAMPION, POINTER_BYTES_MAX) or b""
        folder = folder_of(Alias.CHAMPION)
        last = record_name(folder, chain_length(registry, folder))
        return last.encode() + b"\n" + (registry.read(last, RECORD_BYTES_MAX) or b"")
    except ModelRefused as refusal:
        return f"refused: {refusal}".encode()


def _proved(registry: Registry, record: AliasRecord, trust: Trust, records: Sequence[AliasRecord]) -> Model:
    """Load the version that a record of the chain names, from the bytes that it pins. Raises ModelRefused."""
    contents = read_artefact(registry, record.version)
    require_named(contents, record)
    model = load_contents(record.version, contents)
    signed_at_ms = signature_seen_at_ms(records, record)
    require_signed(record.version, contents, trust.keys, signed_at_ms, signed_at_ms)
    if trust.people is not None:
        approved_at_ms = approvals_seen_at_ms(records, record)
        require_approved(registry, record.version, record.digest, record.approvals, trust.people, approved_at_ms)
    return model


def require_named(contents: Mapping[str, bytes], record: AliasRecord) -> None:
    """Raises ModelRefused where the files are not those that the record pins."""
    if sha256_of(contents.get(MANIFEST, b"")) != record.digest:
        refuse(f"version '{record.version}' is not the artefact that {record.alias} was moved to")
    signature = contents.get(SIGNATURE)
    if signature is None:
        refuse(f"version '{record.version}' is not signed (`fraud models sign`)")
    if sha256_of(signature) != record.signature_sha256:
        refuse(f"the signature of version '{record.version}' is not the one that {record.alias} was moved by")


def _require_history(registry: Registry, record: AliasRecord) -> None:
    if chain_length(registry, HISTORY) < record.history_sequence:
        refuse(f"the history ends before the record of how '{record.version}' came to be {record.alias}")
    told = registry.read(record_name(HISTORY, record.history_sequence), RECORD_BYTES_MAX)
    if told is None or sha256_of(told) != record.history_sha256:
        refuse(f"the history's record of how '{record.version}' came to be {record.alias} is another")


def _pinned_by_setting(registry: Registry, version: str, trust: Trust) -> Model:
    contents = read_artefact(registry, version)
    model = load_contents(version, contents)
    require_signed(version, contents, trust.keys, now_ms(), None)
    return model


def _by_pointer(settings: Settings, registry: Registry) -> Model:
    version = settings.model_version
    return load_registered(settings.model_registry, pointed_at(registry) if version is None else version)


def pointed_at(registry: Registry) -> str:
    if registry.names(f"{ALIASES}/{Alias.CHAMPION}"):
        refuse("the registry's champion is signed, and FRAUD_SEAL_KEYS_FILE names no key set that says by whom")
    if isinstance(registry, DirectoryRegistry):
        return champion_version(registry.root)
    version = (registry.read(CHAMPION, POINTER_BYTES_MAX) or b"").decode("ascii", "replace").strip()
    if not is_version(version):
        refuse("the registry's file 'champion' does not hold a version on one line")
    return version


def signing_keys(settings: Settings) -> KeySet | None:
    """Return the key set that signed records are read by; None in development without keys. Raises ModelRefused."""
    keys = _keys(settings)
    if keys is not None and keys.of_use(KeyUse.MODELS):
        return keys
    if settings.profile is Profile.PRODUCTION:
        refuse("the key set of FRAUD_SEAL_KEYS_FILE holds no key of use models, so that no champion is proved")
    return None


def _keys(settings: Settings) -> KeySet | None:
    """Return the key set that is named; None where none is. Raises ModelRefused."""
    try:
        if settings.seal_keys is not None:
            return key_set_of(settings.seal_keys)
        return None if settings.seal_keys_file is None else read_key_set(settings.seal_keys_file)
    except KeySetRefused as refusal:
        raise ModelRefused(f"the keys that sign models can't be told: {refusal}") from refusal
