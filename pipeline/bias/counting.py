"""Counts of what happened to the payments of each segment.

Invariants
1. Only what the policy declares, and the channels that there are, have a row; whoever names segments makes none.
2. Every payment that counts is in the total, whatever it says of itself; the rest of a segment is total minus segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.breaker.answer_counts import SEGMENT_PREFIX, channel_scope, segment_scope
from pipeline.domain.decision import Outcome
from pipeline.domain.payment import Channel

Counted = NDArray[np.int64]
"""Rows are the total and then the segments, in the order of their names; columns are Column's."""


class Column(IntEnum):
    """What is counted of the payments of a segment."""

    PAYMENTS = 0
    BLOCKED = 1
    ESCALATED = 2
    FALSE_STOPS = 3  # blocked or escalated, and honest by a label or by a review
    HONEST = 4  # known as honest, stopped or not
    FRAUDS = 5  # labelled fraud


COLUMNS: Final = len(Column)
TOTAL: Final = "all"
_OUTCOME_COLUMN: Final = {Outcome.BLOCK: Column.BLOCKED, Outcome.ESCALATE: Column.ESCALATED}
_COMBINATIONS_MAX: Final = 20_000
"""Combinations of segments whose rows are remembered; somebody could name any number."""


def scopes_of(declared: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return the scopes that are watched: the channels, then the policy's declared segments in their order."""
    segments = [segment_scope(name, value) for name, values in sorted(declared.items()) for value in values]
    return (*[channel_scope(channel) for channel in Channel], *segments)


def is_of_customers(scope: str) -> bool:
    """Return whether a scope is a declared segment, and no channel."""
    return scope.startswith(SEGMENT_PREFIX)


class SegmentCounts:
    """Counts that grow, for one thread."""

    def __init__(self, scopes: Sequence[str]) -> None:
        self.scopes = tuple(scopes)
        self._row_of = {scope: row for row, scope in enumerate(scopes, 1)}
        self._rows: dict[tuple[tuple[tuple[str, str], ...], str], NDArray[np.intp]] = {}
        self.counts: Counted = np.zeros((len(scopes) + 1, COLUMNS), np.int64)

    def decided(self, segments: Mapping[str, str], channel: str, outcome: Outcome) -> None:
        rows = self._rows_of(segments, channel)
        self.counts[rows, Column.PAYMENTS] += 1
        if (column := _OUTCOME_COLUMN.get(outcome)) is not None:
            self.counts[rows, column] += 1

    def known(self, segments: Mapping[str, str], channel: str, *, is_fraud: bool, is_stopped: bool) -> None:
        """Count that it is known what a payment was. is_stopped: it was blocked or escalated."""
        rows = self._rows_of(segments, channel)
        self.counts[rows, Column.FRAUDS if is_fraud else Column.HONEST] += 1
        if is_stopped and not is_fraud:
            self.counts[rows, Column.FALSE_STOPS] += 1

    def take(self) -> Counted:
        """Return what was counted since the last call."""
        taken = self.counts
        self.counts = np.zeros_like(taken)
        return taken

    def _rows_of(self, segments: Mapping[str, str], channel: str) -> NDArray[np.intp]:
        key = tuple(segments.items()), channel
        rows = self._rows.get(key)
        if rows is None:
            named = {segment_scope(*each) for each in segments.items()} | {channel_scope(channel)}
            rows = np.array([0, *sorted(self._row_of[scope] for scope in named & self._row_of.keys())], np.intp)
            if len(self._rows) < _COMBINATIONS_MAX:
                self._rows[key] = rows
        return rows
