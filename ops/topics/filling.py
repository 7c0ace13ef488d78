"""How a partition is written anew so that every record gets the offset that it had.

A partition's offsets have gaps where commit markers and aborted records stood. A transaction's marker takes one offset,
and an aborted transaction of n records takes n + 1 that no reader of committed records sees. So a run of records that
is followed by a gap of one is written in a transaction of its own, and any other gap is filled by an aborted one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum, auto
from typing import NamedTuple

from ops.topics.copies import Copied


class How(Enum):
    PLAIN = auto()  # the records, outside any transaction
    COMMITTED = auto()  # the records, in a transaction whose marker takes the offset after them
    ABORTED = auto()  # `fillers` records that are aborted; the marker takes one offset more


class Write(NamedTuple):
    how: How
    records: list[Copied]
    fillers: int = 0


class Unfillable(Exception):
    """A gap that nothing can fill; the message says where."""


def writes(records: Iterable[Copied], begin: int, end: int, run_max: int) -> Iterator[Write]:
    """What to write, in order, to bring a partition from `begin` to `end`. Runs are at most run_max records."""
    run: list[Copied] = []
    position = begin
    for record in records:
        if record.offset < position:
            raise Unfillable(f"offset {record.offset} comes after {position - 1}")
        if record.offset > position:
            yield from _ended(run, record.offset - position, position)
            run = []
        elif len(run) == run_max:
            yield Write(How.PLAIN, run)
            run = []
        run.append(record)
        position = record.offset + 1
    if position > end:
        raise Unfillable(f"the records end at {position}, the partition at {end}")
    yield from _ended(run, end - position, position)


def _ended(run: list[Copied], gap: int, position: int) -> Iterator[Write]:
    if gap == 1 and run:
        yield Write(How.COMMITTED, run)
        return
    if run:
        yield Write(How.PLAIN, run)
    if gap == 1:
        raise Unfillable(f"a gap of one at {position} has no record before it")
    if gap:
        yield Write(How.ABORTED, [], gap - 1)
