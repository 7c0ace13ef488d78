"""Aliases: which version is champion or challenger, as signed records say that follow each other.

Invariants
1. An alias moves only by a record that is signed, numbered by the next number and chained to the one before by its
   hash. Records without a gap from the first to the last are one chain; anything else is none.
2. A record says of which artefact it speaks by version and digest, and pins the signature and the approvals that stood
   when it was made: each by its SHA-256. What is put in their place later, or was taken from another version, is none.
3. The last record is signed by a key that counts now. It vouches for those before it, whose keys may have ended since.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from models.artefact.strict import Json, refuse
from models.versions.locations import ALIASES, RECORDS_MAX, Alias, is_version
from models.versions.records import (
    Opened,
    Signature,
    number_of,
    optional_text_of,
    require_fields,
    text_of,
    time_of,
)

KIND: Final = "alias"
ALL_PPM: Final = 1_000_000
SALT_CHARACTERS_MIN: Final = 32
"""Of hexadecimal digits, 16 bytes.

Fewer could be tried one by one against decisions, which name the model that answered; then whoever names payments could
choose who answers them.
"""
SALT_CHARACTERS_MAX: Final = 64
APPROVALS_MAX: Final = 32
"""Most approvals that a record pins; three roles need three."""
_HASH_DIGITS: Final = 64
_FIELDS: Final = {
    "alias", "sequence", "version", "digest", "previous_version", "previous_digest", "share_ppm", "salt", "at_ms", "by",
    "before_sha256", "signature_sha256", "approvals", "history_sequence",
    "history_sha256",
}  # fmt: skip


class AliasRecord(NamedTuple):
    """One move of an alias. Hashes are SHA-256 in hexadecimal.

    `previous_version` decides what is left of the traffic while `share_ppm` is below ALL_PPM; None: there was none.
    `by`: whoever moved it, in words. `before_sha256`: of the record before; None: it is the first. `signature_sha256`:
    of the artefact's model.sig; None: it had none. `approvals`: hashes by the names of their files.
    `history_sequence`, `history_sha256`: the record of the history that says of the move.
    """

    alias: str
    sequence: int
    version: str
    digest: str
    previous_version: str | None
    previous_digest: str | None
    share_ppm: int
    salt: str
    at_ms: int
    by: str
    before_sha256: str | None
    signature_sha256: str | None
    approvals: Mapping[str, str]
    history_sequence: int
    history_sha256: str
    signatures: tuple[Signature, ...] = ()
    sha256: str = ""
    """Of the record's file, which the next one names; empty where it isn't written yet."""


def content_of(record: AliasRecord) -> dict[str, Json]:
    fields = record._asdict()
    return {name: dict(fields[name]) if name == "approvals" else fields[name] for name in _FIELDS}


def alias_record_of(opened: Opened, name: str) -> AliasRecord:
    """Raises ModelRefused."""
    content = opened.content
    require_fields(content, _FIELDS, name)
    record = AliasRecord(
        alias=text_of(content, "alias", name),
        sequence=number_of(content, "sequence", name, RECORDS_MAX),
        version=text_of(content, "version", name),
        digest=text_of(content, "digest", name),
        previous_version=optional_text_of(content, "previous_version", name),
        previous_digest=optional_text_of(content, "previous_digest", name),
        share_ppm=number_of(content, "share_ppm", name, ALL_PPM),
        salt=text_of(content, "salt", name),
        at_ms=time_of(content, name),
        by=text_of(content, "by", name),
        before_sha256=optional_text_of(content, "before_sha256", name),
        signature_sha256=optional_text_of(content, "signature_sha256", name),
        approvals=_approvals(content["approvals"], name),
        history_sequence=number_of(content, "history_sequence", name, RECORDS_MAX),
        history_sha256=text_of(content, "history_sha256", name),
        signatures=opened.signatures,
        sha256=opened.sha256,
    )
    require_sound(record, name)
    return record


def require_sound(record: AliasRecord, name: str) -> None:
    """Raises ModelRefused where the record says what no alias can mean."""
    if record.alias not in set(Alias):
        refuse(f"'{name}' is of no alias that there is")
    if not is_version(record.version) or len(record.digest) != _HASH_DIGITS:
        refuse(f"'{name}' names no version with its digest")
    if (record.previous_version is None) != (record.previous_digest is None):
        refuse(f"'{name}' names a version before it without its digest, or the other way round")
    if record.previous_version is not None and not is_version(record.previous_version):
        refuse(f"'{name}' names no version as the one before")
    if record.share_ppm == 0 or (record.share_ppm < ALL_PPM and record.previous_version is None):
        refuse(f"'{name}' gives the version no share, or the rest of the traffic to nobody")
    if record.share_ppm < ALL_PPM and len(record.salt) < SALT_CHARACTERS_MIN:
        refuse(f"the salt of '{name}' has fewer than {SALT_CHARACTERS_MIN} characters, and a share is chosen by it")
    if len(record.salt) > SALT_CHARACTERS_MAX:
        refuse(f"the salt of '{name}' is longer than {SALT_CHARACTERS_MAX} characters")


def require_chain(alias: str, records: Sequence[AliasRecord]) -> AliasRecord:
    """Return the last of the records, which is in force. Raises ModelRefused where they are no chain."""
    if not records:
        refuse(f"the registry names no {alias}: nobody has signed that one is")
    before: AliasRecord | None = None
    for sequence, record in enumerate(records, start=1):
        if record.alias != alias:
            refuse(f"record {sequence} of {alias} is one of {record.alias}")
        if record.sequence != sequence:
            refuse(f"record {sequence} of {alias} says that it is record {record.sequence}")
        if record.before_sha256 != (None if before is None else before.sha256):
            refuse(f"record {sequence} of {alias} does not follow the one before it")
        if before is not None and record.at_ms < before.at_ms:
            refuse(f"record {sequence} of {alias} says an earlier time than the one before it")
        before = record
    return records[-1]


def approvals_seen_at_ms(records: Sequence[AliasRecord], record: AliasRecord) -> int:
    """Return when the alias first moved by a record's approvals.

    A way back takes no new ones, whatever was lost since.
    """
    same = (record.version, record.digest, record.approvals)
    return min(each.at_ms for each in records if (each.version, each.digest, each.approvals) == same)


def signature_seen_at_ms(records: Sequence[AliasRecord], record: AliasRecord) -> int:
    """Return when a record first pinned the same signature: what its key lost since takes no way back away."""
    same = (record.version, record.digest, record.signature_sha256)
    return min(each.at_ms for each in records if (each.version, each.digest, each.signature_sha256) == same)


class Seen(NamedTuple):
    """The record of an alias that somebody saw in force, and where the history stood."""

    sequence: int
    sha256: str


def require_no_way_back(alias: str, records: Sequence[AliasRecord], seen: Seen | None) -> None:
    """Raises ModelRefused where a chain ends before what was seen of it, or says otherwise there.

    An older registry that is put back whole has good signatures throughout; only what was seen before shows it.
    """
    if seen is None:
        return
    if len(records) < seen.sequence:
        refuse(
            f"the registry's records of {alias} end with {len(records)}, and record {seen.sequence} was in force:"
            " an older registry was put in its place"
        )
    if records[seen.sequence - 1].sha256 != seen.sha256:
        refuse(f"record {seen.sequence} of {alias} is another than the one that was in force before")


def folder_of(alias: str) -> str:
    return f"{ALIASES}/{alias}"


def _approvals(value: Json, name: str) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > APPROVALS_MAX:
        refuse(f"'{name}' pins no approvals, or more than {APPROVALS_MAX}")
    return {file: text_of(value, file, name) for file in value}
