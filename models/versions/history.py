"""The history of a registry: what happened to versions, each record chained to the one before, none ever taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from models.artefact.strict import Json, refuse
from models.versions.locations import RECORDS_MAX, is_version
from models.versions.records import (
    Opened,
    number_of,
    optional_text_of,
    require_fields,
    text_of,
    texts_of,
    time_of,
)

KIND: Final = "history"
REASONS_MAX: Final = 100
REASON_CHARACTERS_MAX: Final = 1_000
_FIELDS: Final = {
    "sequence", "event", "version", "digest", "alias", "share_ppm", "at_ms", "by", "reasons", "before_sha256"
}  # fmt: skip


class Event(StrEnum):
    BEGUN = "BEGUN"
    """A registry's first champion was named, by three people and without anybody to compare with."""
    PROMOTED = "PROMOTED"
    """A version was given a share of the traffic, or all of it."""
    TRIED = "TRIED"
    """A version was named challenger: it answers beside the champion, and decides nothing."""
    REFUSED = "REFUSED"
    """A promotion was asked for, and refused for the reasons given."""
    ROLLED_BACK = "ROLLED_BACK"
    """The version before took the traffic back."""
    RETIRED = "RETIRED"
    """A version will never be named by an alias again; its files stay."""
    CONFIRMED = "CONFIRMED"
    """The alias was signed anew for the version that it had, because a key was exchanged."""


class HistoryRecord(NamedTuple):
    """`alias` and `share_ppm`: None where the event moved none. `before_sha256`: None for the first record."""

    sequence: int
    event: Event
    version: str
    digest: str
    alias: str | None
    share_ppm: int | None
    at_ms: int
    by: str
    reasons: tuple[str, ...]
    before_sha256: str | None
    sha256: str = ""


def content_of(record: HistoryRecord) -> dict[str, Json]:
    """Raises ModelRefused for what no record may say."""
    _require(record, "the record")
    return {
        "sequence": record.sequence,
        "event": record.event.value,
        "version": record.version,
        "digest": record.digest,
        "alias": record.alias,
        "share_ppm": record.share_ppm,
        "at_ms": record.at_ms,
        "by": record.by,
        "reasons": list(record.reasons),
        "before_sha256": record.before_sha256,
    }


def history_record_of(opened: Opened, name: str) -> HistoryRecord:
    """Raises ModelRefused."""
    content = opened.content
    require_fields(content, _FIELDS, name)
    event = text_of(content, "event", name)
    if event not in set(Event):
        refuse(f"'{name}' is of no event that there is")
    share_ppm = None if content["share_ppm"] is None else number_of(content, "share_ppm", name, 1_000_000)
    record = HistoryRecord(
        number_of(content, "sequence", name, RECORDS_MAX),
        Event(event),
        text_of(content, "version", name),
        text_of(content, "digest", name),
        optional_text_of(content, "alias", name),
        share_ppm,
        time_of(content, name),
        text_of(content, "by", name),
        texts_of(content, "reasons", name),
        optional_text_of(content, "before_sha256", name),
        opened.sha256,
    )
    _require(record, f"'{name}'")
    return record


def require_history(records: Sequence[HistoryRecord]) -> None:
    """Raises ModelRefused where the records are no chain."""
    before: str | None = None
    for sequence, record in enumerate(records, start=1):
        if record.sequence != sequence or record.before_sha256 != before:
            refuse(f"record {sequence} of the history does not follow the one before it")
        before = record.sha256


def moved_last(records: Sequence[HistoryRecord], alias: str) -> str | None:
    """Return the version to which an alias was moved last, or is being moved now; None where it never was.

    The history is written before the alias, so it knows of a move that another machine has only begun.
    """
    return next((each.version for each in reversed(records) if each.alias == alias), None)


def retired(records: Sequence[HistoryRecord]) -> Mapping[str, HistoryRecord]:
    return {record.version: record for record in records if record.event is Event.RETIRED}


def _require(record: HistoryRecord, name: str) -> None:
    if not is_version(record.version):
        refuse(f"{name} names no version")
    if len(record.reasons) > REASONS_MAX or any(len(each) > REASON_CHARACTERS_MAX for each in record.reasons):
        refuse(f"{name} has more than {REASONS_MAX} reasons, or longer ones than {REASON_CHARACTERS_MAX} characters")
