"""An export on disk: tables as lines of JSON, the schema of their records, and what stands outside the database."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from .columns import TABLES, Records
from .feeds import Feeds, check_feeds, named_by
from .findings import Finding, Kind
from .freshness import Freshness, check_freshness, check_unsigned
from .heads import Head, check_heads, check_published, head_of
from .keys import KeySet, is_of_set
from .leaves import read_leaves
from .rows import QUARANTINED, Placed, Row, check_links, check_rows, partition_of
from .tables import Sources, TablesReport, check_tables
from .witness import Seen, TimeOf, check_statements, read_statements, seen_at_ms

ON_ITS_WAY_MS: Final = 60_000
"""A head is published once its file is written; an export that is made in between may miss it on the topic."""


class Unreadable(Exception):
    """An input is not what it should be, so nothing can be said."""


class Report(NamedTuple):
    """The verifier's report.

    signed: rows under a signed head. younger: leaves whose rows may have come after the export. Times are milliseconds
    since 1970; None: there is none. quarantined: statements about the records that were put aside, each as JSON; it is
    for people to say whether they should have been. tables: of the ledger, reviews and control; its findings are among
    `findings` too.
    """

    rows: int
    partitions: int
    heads: int
    signed: int
    younger: int
    statements: int
    newest_head_ms: int | None
    newest_witness_ms: int | None
    newest_timestamp_ms: int | None
    findings: list[Finding]
    quarantined: list[str]
    tables: TablesReport = TablesReport()


class Trust(NamedTuple):
    """What the verifier goes by: the key set, timestamp authorities (None: none), how fresh the log must be, and the
    archive of feeds (None: nobody asks who published them)."""

    keys: KeySet
    fresh: Freshness
    time_of: TimeOf | None = None
    feeds: Feeds | None = None


class Outside(NamedTuple):
    """What stands outside the database: a folder of leaf files and heads; the witness's own file, None where the copy
    of the topic in the export must do."""

    folder: Path
    witness: Path | None = None


def verify_export(
    folder: Path, outside: Outside, trust: Trust, *, is_all: bool = False, with_tables: bool = True
) -> Report:
    """Verify an export.

    is_all: no leaf may be without its row. with_tables: the tables of ledger, reviews and control must be in it, too.
    Raises Unreadable, ValueError and OSError.
    """
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    topic, exported_at_ms = manifest["topic"], int(manifest["exported_at_ms"])
    records = Records((folder / "schema.avsc").read_text(encoding="utf-8"), _releases(folder, manifest))
    rows, links = _rows(folder), _links(folder)
    quarantined = [
        str(placed.row.get("statement")) for theirs in rows.values() for placed in theirs if placed.table == QUARANTINED
    ]
    required = {int(number): size for number, size in manifest["leaves"].items()}
    leaf_paths = {_number(path): path for path in sorted((outside.folder / "leaves").glob(f"{topic}-*.leaves"))}
    written = _written(outside.folder, topic)
    published = _published(folder / "anchors.jsonl", topic, written, trust.keys)
    heads = {p: [*written.get(p, []), *(published or {}).get(p, [])] for p in written.keys() | (published or {}).keys()}
    seen, findings = _witnessed(folder, outside, topic, heads, trust)
    if published is None:
        findings.append(Finding(Kind.ANCHOR_MISSING, "export", None, None, "it holds no copy of anchors.v1"))
    if trust.feeds is not None:
        every_row = (placed for theirs in rows.values() for placed in theirs)
        findings += check_feeds(trust.feeds, named_by(every_row, records))
    total, signed, younger = 0, 0, 0
    for number in sorted(rows.keys() | leaf_paths.keys() | links.keys() | heads.keys() | required.keys(), key=str):
        entries = read_leaves(leaf_paths[number]) if number in leaf_paths else []
        theirs, signed_size = rows.pop(number, []), max((h.tree_size for h in heads.get(number, [])), default=0)
        wanted = len(entries) if is_all else max(required.get(number, 0), signed_size)
        partition = partition_of(number, entries, wanted)
        if wanted > len(entries):
            detail = f"it holds {len(entries)} of {wanted} leaves"
            findings.append(Finding(Kind.LEAF_FILE_CHANGED, "leaves", number, None, detail))
        findings += check_heads(topic, partition, heads.get(number, []), trust.keys, partial(seen_at_ms, seen))
        if published is not None:
            ours = written.get(number, []), published.get(number, [])
            findings += check_published(partition, *ours, exported_at_ms - ON_ITS_WAY_MS)
        findings += check_unsigned(trust.fresh, number, entries[signed_size:])
        findings += check_rows(partition, theirs, records)
        findings += check_links(partition, links.get(number, []), len(theirs))
        total, signed = total + len(theirs), signed + min(signed_size, len(theirs))
        younger += max(len(entries) - max(wanted, len(theirs)), 0)
    tables = _tables(folder, outside, manifest, trust, is_all=is_all) if with_tables else TablesReport()
    known = set(findings)  # what the witness's statements say of themselves is found once
    findings += [finding for finding in tables.findings if finding not in known]
    every = {head.text: head for theirs in heads.values() for head in theirs}
    newest_ms = max((head.anchored_at_ms for head in every.values()), default=None)
    if every or total:  # a log that has not begun is as fresh as it can be
        findings += check_freshness(trust.fresh, newest_ms, seen.newest_ms, seen.timestamped_ms)
    times = newest_ms, seen.newest_ms, seen.timestamped_ms
    counts = total, len(leaf_paths), len(every), signed, younger, seen.statements
    return Report(*counts, *times, findings, quarantined, tables)


def _releases(folder: Path, manifest: Mapping[str, Any]) -> dict[bytes, str] | None:
    """Return the schema of each header that records may begin with; None: the export knows one schema only."""
    if "schemas" not in manifest:
        return None
    texts = {str(n): (folder / "schemas" / f"{int(n)}.avsc").read_text("utf-8") for n in manifest["schemas"].values()}
    return {bytes.fromhex(header): texts[str(number)] for header, number in manifest["schemas"].items()}


def _tables(folder: Path, outside: Outside, manifest: Mapping[str, Any], trust: Trust, *, is_all: bool) -> TablesReport:
    """Check the followed tables, whose heads stand on anchors.v1 under a log's name of their own."""
    if "tables" not in manifest:
        finding = Finding(Kind.ROW_MISSING, "export", None, None, "it holds none of ledger, reviews and control")
        return TablesReport(findings=[finding])
    topic = manifest["tables"]["topic"]
    written = _written(outside.folder, topic)
    published = _published(folder / "anchors.jsonl", topic, written, trust.keys)
    heads = {p: [*written.get(p, []), *(published or {}).get(p, [])] for p in written.keys() | (published or {}).keys()}
    seen, findings = _witnessed(folder, outside, topic, heads, trust)
    since_ms = int(manifest["exported_at_ms"]) - ON_ITS_WAY_MS
    sources = Sources(manifest["tables"], folder / "tables", outside.folder, written, published, since_ms)
    found = check_tables(sources, trust.keys, trust.fresh, partial(seen_at_ms, seen), is_all=is_all)
    return found._replace(findings=[*findings, *found.findings])


def _witnessed(
    folder: Path, outside: Outside, topic: str, heads: Mapping[int, Sequence[Head]], trust: Trust
) -> tuple[Seen, list[Finding]]:
    """Check the witness's own file, where it is given, and the copy of its topic; what the former says counts.

    What no key of the set signed is passed over in the copy, as in that of anchors.v1; where a statement is missing for
    it, the next one names another.
    """
    hashes = {partition: {head.hashed for head in theirs} for partition, theirs in heads.items()}
    found: Seen | None = None
    findings: list[Finding] = []
    for path in (outside.witness, folder / "witness.jsonl"):
        if path is not None and (path.exists() or path is outside.witness):
            statements = read_statements(path)
            if path is not outside.witness:
                statements = [each for each in statements if is_of_set(each.signed, trust.keys)]
            seen, theirs = check_statements(topic, statements, hashes, trust.keys, trust.time_of)
            found = seen if found is None else found
            findings += [each for each in theirs if each not in findings]
    return found or Seen({}, None, None, 0), findings


def _rows(folder: Path) -> dict[Any, list[Placed]]:
    by_partition: dict[Any, list[Placed]] = defaultdict(list)
    for table in (*TABLES, QUARANTINED):
        for row in _lines(folder / f"{table}.jsonl"):
            by_partition[row["topic_partition"]].append(Placed(table, row))
    return by_partition


def _links(folder: Path) -> dict[Any, list[Row]]:
    by_partition: dict[Any, list[Row]] = defaultdict(list)
    for row in _lines(folder / "chain_link.jsonl"):
        by_partition[row["topic_partition"]].append(row)
    return by_partition


def _written(outside: Path, topic: str) -> dict[int, list[Head]]:
    by_partition: dict[int, list[Head]] = defaultdict(list)
    for path in sorted((outside / "heads").glob(f"{topic}-*/*.json")):
        by_partition[_number(path.parent)].append(_head(path.read_text(encoding="utf-8"), str(path)))
    return by_partition


def _published(
    anchors: Path, topic: str, written: Mapping[int, Sequence[Head]], keys: KeySet
) -> dict[int, list[Head]] | None:
    """Read the heads of the topic anchors.v1; None where the export has no copy of it.

    What no key of the set signed, and the files don't have, proves nothing and is passed over: whoever may write to the
    topic could make every export from then on look changed.
    """
    if not anchors.exists():
        return None
    by_partition: dict[int, list[Head]] = defaultdict(list)
    ours = {head.text for theirs in written.values() for head in theirs}
    for line in anchors.read_text(encoding="utf-8").splitlines():
        head = _head(line, str(anchors))
        if head.topic == topic and (head.text in ours or is_of_set(head.signed, keys)):
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
