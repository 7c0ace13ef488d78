"""The findings of the verifier."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Kind(StrEnum):
    """The kinds of findings."""

    ROW_MISSING = "ROW_MISSING"
    ROW_INSERTED = "ROW_INSERTED"
    ROW_TWICE = "ROW_TWICE"
    ROW_MISPLACED = "ROW_MISPLACED"  # the row stands in the table of another kind of record
    RECORD_CHANGED = "RECORD_CHANGED"
    COLUMN_CHANGED = "COLUMN_CHANGED"
    LINK_CHANGED = "LINK_CHANGED"
    LEAF_FILE_CHANGED = "LEAF_FILE_CHANGED"
    HEAD_REFUSED = "HEAD_REFUSED"
    HEAD_MISSING = "HEAD_MISSING"


class Finding(NamedTuple):
    """One finding. offset: that of the record on the topic; None where the finding is not about one record."""

    kind: Kind
    table: str
    partition: int
    offset: int | None
    detail: str
