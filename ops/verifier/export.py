"""An export on disk: tables as lines of JSON, the schema of their records, and what stands outside the database."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .columns import TABLES, Records
from .findings import Finding, Kind
from .heads import Head, check_heads, head_of
from .leaves import read_leaves
from .rows import Placed, Row, check_links, check_rows, partition_of


class Unreadable(Exception):
    """An input is not what it should be, so nothing can be said."""


class Report(NamedTuple):
    """The verifier's report.

    signed: rows under a signed head. younger: leaves whose rows may have come after the export.
    """

    rows: int
    partitions: int
    heads: int
    signed: int
    younger: int
    findings: list[Finding]


def verify_export(folder: Path, outside: Path, key: Ed25519PublicKey, *, is_all: bool = False) -> Report:
    """Verify an export. is_all: no leaf may be without its row. Raises Unreadable and OSError."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    topic = manifest["topic"]
    records = Records((folder / "schema.avsc").read_text(encoding="utf-8"))
    rows, links = _rows(folder), _links(folder)
    required = {int(number): size for number, size in manifest["leaves"].items()}
    leaf_paths = {_number(path): path for path in sorted((outside / "leaves").glob(f"{topic}-*.leaves"))}
    heads = _heads(outside, folder / "anchors.jsonl", topic)
    total, signed, younger, findings = 0, 0, 0, []
    for number in sorted(rows.keys() | leaf_paths.keys() | links.keys() | heads.keys() | required.keys(), key=str):
        entries = read_leaves(leaf_paths[number]) if number in leaf_paths else []
        theirs, signed_size = rows.pop(number, []), max((h.tree_size for h in heads.get(number, [])), default=0)
        wanted = len(entries) if is_all else max(required.get(number, 0), signed_size)
        partition = partition_of(number, entries, wanted)
        if wanted > len(entries):
            detail = f"it holds {len(entries)} of {wanted} leaves"
            findings.append(Finding(Kind.LEAF_FILE_CHANGED, "leaves", number, None, detail))
        findings += check_heads(topic, partition, heads.get(number, []), key)
        findings += check_rows(partition, theirs, records)
        findings += check_links(partition, links.get(number, []), len(theirs))
        total, signed = total + len(theirs), signed + min(signed_size, len(theirs))
        younger += max(len(entries) - max(wanted, len(theirs)), 0)
    different = len({head.text for theirs in heads.values() for head in theirs})
    return Report(total, len(leaf_paths), different, signed, younger, findings)


def _rows(folder: Path) -> dict[Any, list[Placed]]:
    by_partition: dict[Any, list[Placed]] = defaultdict(list)
    for table in TABLES:
        for row in _lines(folder / f"{table}.jsonl"):
            by_partition[row["topic_partition"]].append(Placed(table, row))
    return by_partition


def _links(folder: Path) -> dict[Any, list[Row]]:
    by_partition: dict[Any, list[Row]] = defaultdict(list)
    for row in _lines(folder / "chain_link.jsonl"):
        by_partition[row["topic_partition"]].append(row)
    return by_partition


def _heads(outside: Path, anchors: Path, topic: str) -> dict[Any, list[Head]]:
    """Read the heads of the files, and those of the topic anchors.v1 where the export has a copy of it."""
    by_partition: dict[Any, list[Head]] = defaultdict(list)
    for path in sorted((outside / "heads").glob(f"{topic}-*/*.json")):
        by_partition[_number(path.parent)].append(_head(path.read_text(encoding="utf-8"), str(path)))
    for line in anchors.read_text(encoding="utf-8").splitlines() if anchors.exists() else ():
        head = _head(line, str(anchors))
        if head.topic == topic:
            by_partition[head.partition].append(head)
    return by_partition


def _head(content: str, where: str) -> Head:
    try:
        return head_of(content)
    except ValueError as error:
        raise Unreadable(f"{where} holds what is no head: {error}") from error


def _lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line, parse_float=str)  # decimals are compared as they are written


def _number(path: Path) -> int:
    return int(path.name.removesuffix(".leaves").rpartition("-")[2])
