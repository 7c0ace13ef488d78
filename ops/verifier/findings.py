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
    ANCHOR_MISSING = "ANCHOR_MISSING"  # a head of the files is not on anchors.v1, or nothing of anchors.v1 is here
    KEY_UNKNOWN = "KEY_UNKNOWN"
    KEY_EXPIRED = "KEY_EXPIRED"  # also: not valid yet
    KEY_REVOKED = "KEY_REVOKED"
    WITNESS_MISSING = "WITNESS_MISSING"
    WITNESS_REFUSED = "WITNESS_REFUSED"
    WITNESS_CONTRADICTED = "WITNESS_CONTRADICTED"  # somebody outside has seen another history
    TIMESTAMP_REFUSED = "TIMESTAMP_REFUSED"
    FEED_MISSING = "FEED_MISSING"  # a feed that a decision names is not in the archive
    FEED_UNSIGNED = "FEED_UNSIGNED"
    STALE = "STALE"  # it is older than was asked for, so it may hide what came since


class Finding(NamedTuple):
    """One finding.

    partition: None where it is about the export. offset: that of the record on the topic; None where the finding is not
    about one record.
    """

    kind: Kind
    table: str
    partition: int | None
    offset: int | None
    detail: str
