"""The history in a registry: read whole and checked, and appended to by whoever holds a key of use `models`."""

from __future__ import annotations

from collections.abc import Sequence

from models.artefact.strict import refuse
from models.versions.chain_files import chained_files
from models.versions.history import KIND, Event, HistoryRecord, content_of, history_record_of, require_history, retired
from models.versions.locations import HISTORY, RECORDS_MAX, record_name
from models.versions.records import Signing, opened_chain, sha256_of, signed_record
from models.versions.registry_files import Registry
from pipeline.keys.key_files import is_signed
from pipeline.keys.key_sets import KeySet


def read_history(registry: Registry, keys: KeySet) -> list[HistoryRecord]:
    """Return every record, oldest first. Raises ModelRefused where they are no chain of good signatures."""
    files = chained_files(registry, HISTORY)
    records = [history_record_of(each, name) for name, each in opened_chain(KIND, files, keys, is_signed)]
    require_history(records)
    return records


def append_history(
    registry: Registry,
    keys: KeySet,
    signing_key: Signing,
    event: Event,
    version: str,
    digest: str,
    *,
    by: str,
    at_ms: int,
    reasons: tuple[str, ...] = (),
    alias: str | None = None,
    share_ppm: int | None = None,
    before: Sequence[HistoryRecord] | None = None,
) -> HistoryRecord:
    """Append a record and return it. Raises AlreadyThere where somebody else appended in the same moment.

    before: the history that the caller decided on, if it did: whatever was appended since makes its decision void, and
    AlreadyThere says so. That is how moves and retirements take turns, on however many machines.
    """
    before = read_history(registry, keys) if before is None else before
    if len(before) >= RECORDS_MAX:
        refuse(f"the history has {RECORDS_MAX} records already")
    record = HistoryRecord(
        len(before) + 1,
        event,
        version,
        digest,
        alias,
        share_ppm,
        at_ms,
        by,
        reasons,
        before[-1].sha256 if before else None,
    )
    file = signed_record(KIND, content_of(record), signing_key)
    registry.create(record_name(HISTORY, record.sequence), file)
    return record._replace(sha256=sha256_of(file))


def require_not_retired(records: Sequence[HistoryRecord], version: str) -> None:
    """Raises ModelRefused."""
    if (record := retired(records).get(version)) is not None:
        why = f": {record.reasons[0]}" if record.reasons else ""
        refuse(f"version '{version}' was retired{why}")
