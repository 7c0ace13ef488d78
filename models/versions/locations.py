"""The names of what a registry of models holds, and the bounds of each kind of file.

    <version>/…                                   the artefact, as models/artefact/files.py describes it
    aliases/<alias>/<sequence>.json               signed records that move an alias, each chained to the one before
    approvals/<version>/<role>-<key id>.json      a person's signed act over the artefact's digest
    evidence/<version>/<kind>-<sha256[:16]>.json  what a check found, signed
    history/<sequence>.json                       whatever happened to versions, signed and chained

Nothing of it is ever written over: a new fact is a new file.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

from models.artefact.strict import VersionMissing

ALIASES: Final = "aliases"
APPROVALS: Final = "approvals"
EVIDENCE: Final = "evidence"
HISTORY: Final = "history"
RESERVED: Final = frozenset({ALIASES, APPROVALS, EVIDENCE, HISTORY, "champion", "challenger"})
"""Names in a registry that are no version's, in whatever case: on some disks `Aliases` is the same folder."""
RECORD_BYTES_MAX: Final = 1024 * 1024
"""Largest record; evidence with a figure for every segment and feature takes some tens of KB."""
RECORDS_MAX: Final = 10_000
"""Most records of a chain: a move of an alias a day for 27 years."""
SEQUENCE_DIGITS: Final = 6
"""Digits of a sequence in its file's name, so that names sort as numbers do."""

_VERSION: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,31}", re.ASCII)


class Alias(StrEnum):
    CHAMPION = "champion"
    CHALLENGER = "challenger"


def is_version(name: str) -> bool:
    return _VERSION.fullmatch(name) is not None and name.lower() not in RESERVED


def version_fault(name: str) -> str | None:
    """Return why a version can't be called so; None where it can."""
    if _VERSION.fullmatch(name) is None:
        return "a model version is 1 to 32 letters, digits, dots and hyphens"
    return None if is_version(name) else f"'{name}' is a name that a registry has for itself"


def require_version(name: str) -> str:
    """Raises ModelRefused, so that no name of a version leads out of the registry."""
    if not is_version(name):
        raise VersionMissing("a model version is 1 to 32 letters, digits, dots and hyphens")
    return name


def record_name(folder: str, sequence: int) -> str:
    return f"{folder}/{sequence:0{SEQUENCE_DIGITS}}.json"


def sequence_of(name: str) -> int | None:
    """Return the sequence in a record's file name; None where it is no such name."""
    stem, dot, ending = name.partition(".")
    if not dot or ending != "json" or len(stem) != SEQUENCE_DIGITS or not (stem.isascii() and stem.isdigit()):
        return None
    return int(stem)
