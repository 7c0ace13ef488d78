"""Aliases in a registry: read as the chain that they are, and moved by appending to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from models.artefact.files import FILE_BYTES_MAX, SIGNATURE
from models.artefact.strict import refuse
from models.versions.aliases import (
    ALL_PPM,
    KIND,
    AliasRecord,
    Seen,
    alias_record_of,
    content_of,
    folder_of,
    require_chain,
    require_no_way_back,
    require_sound,
)
from models.versions.artefact_files import digest_of
from models.versions.chain_files import chain_length, chained_files
from models.versions.history import Event
from models.versions.history_files import append_history, read_history, require_not_retired
from models.versions.locations import RECORDS_MAX, Alias, record_name, require_version
from models.versions.records import Signing, opened_chain, sha256_of, signed_record
from models.versions.registry_files import Registry
from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.keys.key_files import is_signed
from pipeline.keys.key_sets import KeySet

_SQL: Final = statements("models.versions", "aliases")


def latest_seen(connection: Connection) -> Seen | None:
    """Return the last record of the champion that the database has recorded; None where it has none.

    Raises DatabaseRefused, DatabaseUnavailable.
    """
    with failures_named():
        row = connection.execute(_SQL["latest_move"]).fetchone()
    return None if row is None else Seen(int(row[0]), str(row[1]))


def champion_record(registry: Registry, keys: KeySet, seen: Seen | None = None) -> AliasRecord:
    """Return the record in force. Raises ModelRefused where none can be relied upon."""
    return alias_record(registry, keys, Alias.CHAMPION, seen)


def alias_record(registry: Registry, keys: KeySet, alias: Alias, seen: Seen | None = None) -> AliasRecord:
    """seen: the record that was in force when somebody last looked; the chain must go on from it."""
    records = alias_records(registry, keys, alias)
    require_no_way_back(alias, records, seen)
    return require_chain(alias, records)


def alias_records(registry: Registry, keys: KeySet, alias: Alias) -> list[AliasRecord]:
    """Return every record, oldest first; none where the alias was never moved. Raises ModelRefused."""
    files = chained_files(registry, folder_of(alias))
    records = [alias_record_of(each, name) for name, each in opened_chain(KIND, files, keys, is_signed)]
    if records:
        require_chain(alias, records)
    return records


def moves_of(registry: Registry, alias: Alias) -> int:
    """Return how often an alias was moved, from names alone: the cheap look that a worker takes every few seconds."""
    return chain_length(registry, folder_of(alias))


def move_alias(
    registry: Registry,
    keys: KeySet,
    signing_key: Signing,
    *,
    alias: Alias,
    version: str,
    by: str,
    at_ms: int,
    event: Event = Event.PROMOTED,
    share_ppm: int = ALL_PPM,
    salt: str = "",
    approvals: Mapping[str, str] | None = None,
    reasons: tuple[str, ...] = (),
) -> AliasRecord:
    """Move an alias and say so in the history; return the record. Whether it may move, the caller has decided.

    approvals: hashes by file, as `standing_approvals` of approval_files returns them; the record pins them. Raises
    ModelRefused, for a retired version too, and AlreadyThere where somebody else moved it, or retired a version, in the
    same moment.
    """
    require_version(version)
    history = read_history(registry, keys)
    require_not_retired(history, version)
    before = alias_records(registry, keys, alias)
    if len(before) >= RECORDS_MAX:
        refuse(f"{alias} has been moved {RECORDS_MAX} times")
    digest, last = digest_of(registry, version), before[-1] if before else None
    previous = _previous(last, version)
    signature = registry.read(f"{version}/{SIGNATURE}", FILE_BYTES_MAX)
    record = AliasRecord(
        alias=alias.value,
        sequence=len(before) + 1,
        version=version,
        digest=digest,
        previous_version=None if previous is None else previous[0],
        previous_digest=None if previous is None else previous[1],
        share_ppm=share_ppm,
        salt=salt,
        at_ms=at_ms,
        by=by,
        before_sha256=None if last is None else last.sha256,
        signature_sha256=None if signature is None else sha256_of(signature),
        approvals=dict(approvals or {}),
        history_sequence=0,
        history_sha256="",
    )
    require_sound(record, "the record")
    told = append_history(
        registry, keys, signing_key, event, version, digest,
        by=by, at_ms=at_ms, reasons=reasons, alias=alias.value, share_ppm=share_ppm, before=history,
    )  # fmt: skip
    return _written(registry, record._replace(history_sequence=told.sequence, history_sha256=told.sha256), signing_key)


def _previous(last: AliasRecord | None, version: str) -> tuple[str, str] | None:
    """The version that decides what the new one does not: the one before it, not the same at a smaller share."""
    if last is None:
        return None
    if last.version != version:
        return last.version, last.digest
    if last.previous_version is None or last.previous_digest is None:
        return None
    return last.previous_version, last.previous_digest


def _written(registry: Registry, record: AliasRecord, signing_key: Signing) -> AliasRecord:
    file = signed_record(KIND, content_of(record), signing_key)
    registry.create(record_name(folder_of(record.alias), record.sequence), file)
    sha256 = sha256_of(file)
    return record._replace(sha256=sha256)
