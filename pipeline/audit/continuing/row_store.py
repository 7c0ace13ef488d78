"""Whether the stored rows of a partition are those that its leaf file has: record, leaf and chain value of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from pipeline.audit.chain import Entry, Times, aside_leaf_hash, leaf_hash
from pipeline.audit.continuing.bounds import NotContinued
from pipeline.audit.continuing.head_files import Place
from pipeline.io.postgres import Connection, failures_named, statements

ROWS_A_READ: Final = 2_000


def require_rows(
    connection: Connection,
    place: Place,
    proved: Iterable[tuple[Entry, bytes]],
    offsets: tuple[int, int],
    rest: Callable[[], None],
) -> int:
    """Raise NotContinued at the first row that is missing, changed, or was never written; return how many were read.

    proved: the entries at offsets [first, last]. rest: called now and then. Other columns follow from the record; the
    offline verifier holds them to it.
    """
    count, rows = 0, _rows(connection, place, offsets, rest)
    for entry, chain in proved:
        row = next(rows, None)
        count += 1
        if row is None or row[0] > entry.offset:
            raise NotContinued(f"the row at offset {entry.offset} of {place} is missing")
        if row[0] < entry.offset:
            raise NotContinued(f"{place} has a row at offset {row[0]} that was never written")
        if row[1:3] != (entry.leaf, chain) or _leaf(place, row) != entry.leaf:
            raise NotContinued(f"the row at offset {entry.offset} of {place} is not as it was written")
    if (extra := next(rows, None)) is not None:
        raise NotContinued(f"{place} has a row at offset {extra[0]} that was never written")
    return count


def _leaf(place: Place, row: tuple[Any, ...]) -> bytes:
    """The leaf that a row's record, times and, where it was put aside, statement give."""
    offset, _, _, record, logged_at_ms, filed_at_ms, statement = row
    times = Times(logged_at_ms, filed_at_ms)
    if statement is None:
        return leaf_hash(place.partition, offset, times, record)
    return aside_leaf_hash(place.partition, offset, times, statement.encode(), record)


def _rows(
    connection: Connection, place: Place, offsets: tuple[int, int], rest: Callable[[], None]
) -> Iterator[tuple[Any, ...]]:
    arguments = {"partition": place.partition, "first": offsets[0], "last": offsets[1]}
    statement = statements("pipeline.audit", "audit")["rows_of_partition"]
    with failures_named(), connection.transaction(), connection.cursor("rows_of_partition", binary=True) as cursor:
        cursor.execute(statement, arguments)
        while rows := cursor.fetchmany(ROWS_A_READ):
            yield from rows
            rest()
