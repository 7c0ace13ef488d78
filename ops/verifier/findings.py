"""What the verifier may find."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """What may be found."""

    ROW_MISSING = "ROW_MISSING"
    ROW_INSERTED = "ROW_INSERTED"
    ROW_TWICE = "ROW_TWICE"
    ROW_MISPLACED = "ROW_MISPLACED"  # in the table of another kind of record
    RECORD_CHANGED = "RECORD_CHANGED"
    COLUMN_CHANGED = "COLUMN_CHANGED"
    LINK_CHANGED = "LINK_CHANGED"
    LEAF_FILE_CHANGED = "LEAF_FILE_CHANGED"
    HEAD_REFUSED = "HEAD_REFUSED"
    HEAD_MISSING = "HEAD_MISSING"


class Finding(NamedTuple):
    """offset: on the topic; None where it is not about one record."""

    kind: Kind
    table: str
    partition: int
    offset: int | None
    detail: str
