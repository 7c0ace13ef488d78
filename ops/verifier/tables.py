"""The check of followed tables: every row of the export against its line, and every line against its leaf."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from .findings import Finding, Kind
from .freshness import Freshness, check_unsigned
from .heads import Head, SeenAt, check_heads, check_published
from .keys import KeySet
from .leaves import Entry, read_leaves, roots
from .lines import (
    BEGINNING,
    POSITION,
    ROW,
    SHAPE,
    Line,
    RowLine,
    Shape,
    Snapshot,
    exported_rows,
    in_shape,
    key_of,
    read_lines,
    row_line,
    shape_at,
    shape_of,
    shown_key,
    snapshot_of,
)
from .rows import partition_of

GENERATION: Final = 16
"""From a stream's partition to that of its next generation."""
Heads = Mapping[int, Sequence[Head]]


class Sources(NamedTuple):
    """Where things stand. tables: the folder of exported rows. outside: that of leaf files and lines.

    published: the heads on anchors.v1; None where the export has no copy of it. since_ms: heads signed after may be on
    their way there.
    """

    manifest: Mapping[str, Any]
    tables: Path
    outside: Path
    written: Heads
    published: Heads | None
    since_ms: int


class Chained(NamedTuple):
    """A row's line, with the number of its leaf."""

    leaf: int
    line: RowLine
    shape: Shape


class TablesReport(NamedTuple):
    """younger: rows and leaves that may have come after the export. restored: what is said of streams begun anew."""

    rows: int = 0
    leaves: int = 0
    signed: int = 0
    younger: int = 0
    findings: Sequence[Finding] = ()
    restored: Sequence[str] = ()


class Stream(NamedTuple):
    """One partition, read. chained: by table and key. filled: by table, what rows from before hold in later columns."""

    partition: int
    required: int
    entries: Sequence[Entry]
    chained: Mapping[str, dict[bytes, Chained]]
    position: Snapshot
    filled: Mapping[str, Mapping[str, bytes | None]]
    follows: Mapping[str, Any] | None
    findings: list[Finding]


NOTHING_CHAINED: Final = Stream(-1, 0, (), {}, Snapshot(2**64, frozenset()), {}, None, [])
"""Of a schema that has no stream: all of its rows are too many."""


def check_tables(sources: Sources, keys: KeySet, fresh: Freshness, seen_at: SeenAt, *, is_all: bool) -> TablesReport:
    """Raises ValueError, OSError."""
    topic = sources.manifest["topic"]
    required = {int(number): int(size) for number, size in sources.manifest["leaves"].items()}
    paths = {_number(path): path for path in (sources.outside / "leaves").glob(f"{topic}-*.leaves")}
    heads = {
        p: [*sources.written.get(p, []), *(sources.published or {}).get(p, [])]
        for p in sources.written.keys() | (sources.published or {}).keys()
    }
    findings: list[Finding] = []
    streams, signed = {}, 0
    for number in sorted(required.keys() | paths.keys() | heads.keys()):
        of_size = max((head.tree_size for head in heads.get(number, [])), default=0)
        entries = read_leaves(paths[number]) if number in paths else []
        wanted = len(entries) if is_all else max(required.get(number, 0), of_size)
        if wanted > len(entries):
            findings.append(_of_leaves(number, None, f"it holds {len(entries)} of {wanted} leaves"))
        whole = partition_of(number, entries, wanted)
        findings += check_heads(topic, whole, heads.get(number, []), keys, seen_at)
        if sources.published is not None:
            ours = sources.written.get(number, []), sources.published.get(number, [])
            findings += check_published(whole, *ours, sources.since_ms)
        findings += check_unsigned(fresh, number, entries[of_size:])
        streams[number] = read_stream(number, wanted, entries, sources.outside / "rows" / f"{topic}-{number:04}.rows")
        findings += streams[number].findings
        signed += min(of_size, len(entries))
    latest = {number % GENERATION: number for number in sorted(streams)}
    current = [streams[number] for number in latest.values()]
    restored = _restored(streams, findings)
    rows, younger = _check_rows(sources, current, findings)
    leaves = sum(len(stream.entries) for stream in streams.values())
    return TablesReport(rows, leaves, signed, younger, findings, restored)


def read_stream(number: int, required: int, entries: Sequence[Entry], path: Path) -> Stream:
    """Read the lines of a stream, each of which must be the one that its leaf is of."""
    lines, findings = read_lines(path), list[Finding]()
    chained: dict[str, dict[bytes, Chained]] = {}
    shapes: dict[int, Shape] = {}
    filled: dict[str, Mapping[str, bytes | None]] = {}
    position, follows = Snapshot(0, frozenset()), None
    for index, entry in enumerate(entries):
        line = lines.get(entry.offset)
        if line is None or line.leaf != entry.leaf:
            findings.append(_of_leaves(number, index, "its line is gone, or not the one that the leaf is of"))
            continue
        try:
            if line.kind == SHAPE:
                shapes[line.at] = shape_at(line.at, line.content)
                filled[shapes[line.at].table] = shapes[line.at].filled
            elif line.kind == POSITION:
                position = snapshot_of(json.loads(line.content)["snapshot"])
            elif line.kind == BEGINNING:
                follows = json.loads(line.content)["follows"]
            else:
                findings += _chain(number, index, line, shapes, chained)
        except (KeyError, TypeError, ValueError) as error:
            findings.append(_of_leaves(number, index, f"its line can't be read ({error})"))
    return Stream(number, required, entries, chained, position, filled, follows, findings)


def _chain(
    number: int,
    index: int,
    line: Line,
    shapes: Mapping[int, Shape],
    chained: dict[str, dict[bytes, Chained]],
) -> Iterator[Finding]:
    if line.kind != ROW:
        raise ValueError("it is of no kind that is known")
    row = row_line(line)
    shape = shapes[row.shape_at]
    theirs = chained.setdefault(shape.table, {})
    if row.key in theirs:
        yield Finding(Kind.ROW_TWICE, shape.table, number, index, f"{shown_key(shape, row.key)}: it was chained twice")
    theirs[row.key] = Chained(index, row, shape)


def _check_rows(sources: Sources, streams: Sequence[Stream], findings: list[Finding]) -> tuple[int, int]:
    """Hold the exported rows against the lines; return how many rows there are, and how many are younger."""
    manifest, rows, younger = sources.manifest, 0, 0
    exported_at = snapshot_of(manifest["snapshot"])
    shapes = {shape.table: shape for shape in map(shape_of, manifest["shapes"])}
    by_schema = {manifest["streams"][stream.partition % GENERATION]: stream for stream in streams}
    for table, shape in shapes.items():
        theirs = list(exported_rows(sources.tables / f"{table}.rows"))
        stream = by_schema.get(table.partition(".")[0], NOTHING_CHAINED)
        found, later = check_table(stream, shape, theirs, exported_at)
        findings += found
        rows, younger = rows + len(theirs), younger + later
    for stream in streams:
        for table in stream.chained.keys() - shapes.keys():
            found, later = check_table(stream, next(iter(stream.chained[table].values())).shape, [], exported_at)
            findings += found
            younger += later
    return rows, younger


def check_table(
    stream: Stream, shape: Shape, rows: Iterable[tuple[int, bytes]], exported_at: Snapshot
) -> tuple[list[Finding], int]:
    """Hold the rows of one table against its lines; return also how many of both are younger than the other side.

    rows: transaction and fields of each. exported_at: what the reading of the rows saw.
    """
    present = shape._replace(filled=stream.filled.get(shape.table, {}))
    chained, met, younger, findings = stream.chained.get(shape.table, {}), set[bytes](), 0, list[Finding]()
    for xid, row in rows:
        key = key_of(row, shape.key)
        known = chained.get(key)
        if key in met:
            findings.append(_about(Kind.ROW_TWICE, stream, present, key, None, "another row has its key"))
        elif known is not None:
            if why := _difference(present, row, xid, known):
                findings.append(_about(Kind.RECORD_CHANGED, stream, present, key, known.leaf, why))
        elif stream.position.sees(xid) or xid >= exported_at.upper:
            findings.append(_about(Kind.ROW_INSERTED, stream, present, key, None, "it was never chained"))
        else:
            younger += 1
        met.add(key)
    for key, known in chained.items():
        if key in met:
            continue
        if known.leaf < stream.required or exported_at.sees(known.line.xid):
            findings.append(_about(Kind.ROW_MISSING, stream, known.shape, key, known.leaf, "it was chained"))
        else:
            younger += 1
    return findings, younger


def _difference(present: Shape, row: bytes, xid: int, known: Chained) -> str | None:
    same = in_shape(row, present, known.shape)
    if same is None or hashlib.sha256(same).digest() != known.line.row:
        return "it is not as it was chained"
    return None if xid == known.line.xid else "its transaction is another than when it was chained"


def _restored(streams: Mapping[int, Stream], findings: list[Finding]) -> list[str]:
    """What changed where a stream began anew, because somebody said that the database was restored."""
    said = []
    for number, stream in streams.items():
        if number < GENERATION:
            if stream.follows is not None:
                findings.append(_of_leaves(number, 0, "a first generation follows none"))
            continue
        before = streams.get(number - GENERATION)
        follows = stream.follows or {}
        size = follows.get("tree_size")
        found = None if before is None else roots(before.entries, {len(before.entries)}).get(size or 0, b"").hex()
        if before is None or size != len(before.entries) or follows.get("root") != found:
            findings.append(_of_leaves(number, 0, "the generation before is not the one that it follows"))
            continue
        gone = other = 0
        for table, theirs in before.chained.items():
            now = stream.chained.get(table, {})
            gone += len(theirs.keys() - now.keys())
            other += sum(now[key].line.row != theirs[key].line.row for key in theirs.keys() & now.keys())
        said.append(
            f"partition {before.partition} ended at {size} leaves, because {follows.get('why')}; of its rows "
            f"{gone} are gone and {other} are others in partition {number}"
        )
    return said


def _of_leaves(number: int, index: int | None, detail: str) -> Finding:
    return Finding(Kind.LEAF_FILE_CHANGED, "rows", number, index, detail)


def _about(kind: Kind, stream: Stream, shape: Shape, key: bytes, index: int | None, detail: str) -> Finding:
    return Finding(kind, shape.table, stream.partition, index, f"{shown_key(shape, key)}: {detail}")


def _number(path: Path) -> int:
    return int(path.name.removesuffix(".leaves").rpartition("-")[2])
