"""The check of one partition's rows against its leaf file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .columns import Records, hex_text, time_ms, time_text
from .findings import Finding, Kind
from .leaves import Entry, Times, aside_leaf_hash, chain_values, leaf_hash

Row = Mapping[str, Any]
QUARANTINED = "quarantined"


class Placed(NamedTuple):
    table: str
    row: Row


class Partition(NamedTuple):
    """One partition. chain: the chain value after each of `entries`.

    required: this many of the entries must have a row; the later ones may be younger than the export.
    """

    number: int
    entries: Sequence[Entry]
    chain: Sequence[bytes]
    required: int


def partition_of(number: int, entries: Sequence[Entry], required: int | None = None) -> Partition:
    return Partition(number, entries, chain_values(entries), len(entries) if required is None else required)


def check_rows(partition: Partition, rows: Iterable[Placed], records: Records) -> list[Finding]:
    """Return one finding or more for every row that is not as it was written."""
    by_offset: dict[object, list[Placed]] = {}
    for placed in rows:
        by_offset.setdefault(placed.row.get("topic_offset"), []).append(placed)
    last = max((offset for offset in by_offset if isinstance(offset, int)), default=-1)
    findings = []
    for index, (entry, chain) in enumerate(zip(partition.entries, partition.chain, strict=True)):
        found = by_offset.pop(entry.offset, [])
        if not found and (index < partition.required or entry.offset < last):
            findings.append(Finding(Kind.ROW_MISSING, "any", partition.number, entry.offset, "the leaf file has it"))
        for placed in found:
            findings += _check_row(partition.number, placed, entry, chain, records)
            if len(found) > 1:
                findings.append(_about(Kind.ROW_TWICE, partition.number, placed, "another row has its offset"))
    for placed in (each for extra in by_offset.values() for each in extra):
        findings.append(_about(Kind.ROW_INSERTED, partition.number, placed, "the leaf file has none here"))
    return findings


def check_links(partition: Partition, links: Iterable[Row], rows: int) -> list[Finding]:
    """Check chain_link: each row says how far the log had come after a batch, and the last that all rows are linked."""
    findings, reached = [], 0
    for link in links:
        size = link["tree_size"]
        reached = max(reached, size)
        if size > len(partition.entries) or link != _link(partition, size):
            findings.append(Finding(Kind.LINK_CHANGED, "chain_link", partition.number, None, f"of size {size}"))
    if reached != rows:
        detail = f"the last link is of size {reached}, and there are {rows} rows"
        findings.append(Finding(Kind.LINK_CHANGED, "chain_link", partition.number, None, detail))
    return findings


def _link(partition: Partition, size: int) -> Row:
    entry = partition.entries[size - 1]
    return {
        "topic_partition": partition.number,
        "tree_size": size,
        "last_offset": entry.offset,
        "chain_hash": hex_text(partition.chain[size - 1]),
        "recorded_at": time_text(entry.recorded_at_us),
    }


def _check_aside(partition: int, placed: Placed, entry: Entry, chain: bytes, records: Records) -> list[Finding]:
    row = placed.row
    try:
        value, statement = bytes.fromhex(row["record"].removeprefix("\\x")), row["statement"].encode()
        times = Times(time_ms(row["logged_at"]), 0)
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        return [_about(Kind.RECORD_CHANGED, partition, placed, f"its bytes can't be read ({error})")]
    if aside_leaf_hash(partition, entry.offset, times, statement, value) != entry.leaf:
        return [_about(Kind.RECORD_CHANGED, partition, placed, "its bytes or statement are not those of the leaf")]
    source_partition, source_offset = records.source(value)
    expected = {
        **{name: row[name] for name in ("logged_at", "statement", "record")},
        "topic_partition": partition,
        "topic_offset": entry.offset,
        "source_partition": source_partition,
        "source_offset": source_offset,
        "leaf_hash": hex_text(entry.leaf),
        "chain_hash": hex_text(chain),
        "recorded_at": time_text(entry.recorded_at_us),
    }
    wrong = [name for name in {**expected, **row} if not _is_same(row, expected, name)]
    return [_about(Kind.COLUMN_CHANGED, partition, placed, ", ".join(wrong))] if wrong else []


def _check_row(partition: int, placed: Placed, entry: Entry, chain: bytes, records: Records) -> list[Finding]:
    if placed.table == QUARANTINED:
        return _check_aside(partition, placed, entry, chain, records)
    row = placed.row
    try:
        value = bytes.fromhex(row["record"].removeprefix("\\x"))
        times = Times(time_ms(row["logged_at"]), time_ms(row["filed_at"]))
        if leaf_hash(partition, entry.offset, times, value) != entry.leaf:
            return [_about(Kind.RECORD_CHANGED, partition, placed, "its bytes or times are not those of the leaf")]
        table, columns = records.columns(value)
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        return [_about(Kind.RECORD_CHANGED, partition, placed, f"its bytes can't be read ({error})")]
    if table != placed.table:
        return [_about(Kind.ROW_MISPLACED, partition, placed, f"it belongs into {table}")]
    expected = {
        **columns,
        "topic_partition": partition,
        "topic_offset": entry.offset,
        "logged_at": row["logged_at"],
        "filed_at": row["filed_at"],
        "record": row["record"],
        "leaf_hash": hex_text(entry.leaf),
        "chain_hash": hex_text(chain),
        "recorded_at": time_text(entry.recorded_at_us),
    }
    wrong = [name for name in {**expected, **row} if not _is_same(row, expected, name)]
    return [_about(Kind.COLUMN_CHANGED, partition, placed, ", ".join(wrong))] if wrong else []


def _is_same(row: Row, expected: Row, name: str) -> bool:
    if name not in row or name not in expected:
        return False
    one, other = row[name], expected[name]
    if type(one) is not type(other) or one != other:
        return False
    # In Python true equals 1, which the line above lets pass inside a document.
    return not isinstance(one, dict | list) or json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _about(kind: Kind, partition: int, placed: Placed, detail: str) -> Finding:
    return Finding(kind, placed.table, partition, placed.row.get("topic_offset"), detail)
