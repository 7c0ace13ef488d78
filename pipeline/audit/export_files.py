"""An export for an auditor: the audit tables as lines of JSON, the schema of their records, and what stands outside
the database. The offline verifier (ops/verifier) reads it.

One snapshot of the database, taken once it holds every record whose leaf was on disk when the export began: a row that
is missing then is missing for a reason.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.audit.chain import ENTRY_BYTES
from pipeline.audit.leaf_files import head_paths, leaf_path, partitions_of
from pipeline.audit.tables.export_files import copy_outside, export_tables
from pipeline.io.postgres import Connection, failures_named, statements

CATCH_UP_S: Final = 10.0
"""For rows whose leaves were just written: the service commits them within a second, or it does not run."""
CATCH_UP_POLL_S: Final = 0.1
TABLES: Final[Mapping[str, str]] = {
    "ai_decision_log": "export_decisions",
    "reversal_log": "export_reversals",
    "review_log": "export_reviews",
    "quarantined": "export_quarantined",
    "chain_link": "export_links",
}


class Exported(NamedTuple):
    rows: Mapping[str, int]  # by table
    leaves: Mapping[int, int]  # by partition: so many must have a row
    anchors: int
    statements: int


class Logs(NamedTuple):
    """The logs by their full names. tables: None: the tables of ledger, reviews and control are left out."""

    topic: str
    tables: str | None


class Schemas(NamedTuple):
    """The schemas of the records: the current one's text, those of all releases by their numbers, and the release of
    every header that a record may begin with."""

    current: str
    releases: Mapping[int, str]
    headers: Mapping[bytes, int]


class Published(NamedTuple):
    """What stands on topics, as lines of JSON, read when they are asked for; None: it is not to be exported.

    anchors: each as the text of a head's file. statements: the witness's.
    """

    anchors: Iterable[str] | None
    statements: Iterable[str] | None


def export(
    connection: Connection, directory: Path, logs: Logs, schemas: Schemas, published: Published, out: Path
) -> Exported:
    """Into the new folder `out`. The witness goes first, so that every head that it saw is among those that follow.

    Raises FileExistsError, DatabaseUnavailable, DatabaseRefused.
    """
    out.mkdir(parents=True)
    topic = logs.topic
    statements_seen = _copy_lines(published.statements, out / "witness.jsonl")
    leaves = {p: leaf_path(directory, topic, p).stat().st_size // ENTRY_BYTES for p in partitions_of(directory, topic)}
    _await_rows(connection, leaves)
    rows = _copy_tables(connection, out)
    tables = None if logs.tables is None else export_tables(connection, directory, logs.tables, out)
    _copy_outside(directory, topic, leaves, out / "outside")
    if logs.tables is not None:
        copy_outside(directory, logs.tables, out / "outside")
    anchors = _copy_lines(published.anchors, out / "anchors.jsonl")
    _write_schemas(schemas, out)
    exported_at_ms = time.time_ns() // 1_000_000
    manifest: dict[str, object] = {
        "kind": "fraud-audit-export-v4",
        "topic": topic,
        "exported_at_ms": exported_at_ms,
        "leaves": leaves,
        "rows": rows,
        "schemas": {header.hex(): number for header, number in sorted(schemas.headers.items())},
    }
    if tables is not None:
        manifest["tables"] = tables.manifest
        rows |= tables.rows
    (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return Exported(rows, leaves, anchors, statements_seen)


def _write_schemas(schemas: Schemas, out: Path) -> None:
    (out / "schema.avsc").write_text(schemas.current, encoding="utf-8")
    (out / "schemas").mkdir()
    for number, text in schemas.releases.items():
        (out / "schemas" / f"{number}.avsc").write_text(text, encoding="utf-8")


def _copy_lines(lines: Iterable[str] | None, path: Path) -> int:
    if lines is None:
        return 0
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for line in lines:
            file.write(line)
            count += 1
    return count


def _await_rows(connection: Connection, leaves: Mapping[int, int]) -> None:
    deadline = time.monotonic() + CATCH_UP_S
    while time.monotonic() < deadline:
        with failures_named():
            found = connection.execute(statements("pipeline.audit", "audit")["last_links"], [list(leaves)]).fetchall()
        reached = {partition: size for partition, size, *_ in found}
        if all(reached.get(partition, 0) >= size for partition, size in leaves.items()):
            return
        time.sleep(CATCH_UP_POLL_S)


def _copy_tables(connection: Connection, out: Path) -> dict[str, int]:
    with failures_named(), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        return {table: _copy_table(connection, out, table, name) for table, name in TABLES.items()}


def _copy_table(connection: Connection, out: Path, table: str, name: str) -> int:
    count = 0
    with (out / f"{table}.jsonl").open("wb") as file:
        for line in _lines(connection, name):
            file.write(line)
            count += 1
    return count


def _lines(connection: Connection, name: str) -> Iterator[bytes]:
    """Rows as JSON, a line each. COPY's text format doubles backslashes, and JSON has no other character it escapes."""
    with connection.cursor().copy(statements("pipeline.audit", "audit")[name]) as copy:
        for row in copy:
            yield bytes(row).replace(b"\\\\", b"\\")


def _copy_outside(directory: Path, topic: str, leaves: Mapping[int, int], outside: Path) -> None:
    (outside / "leaves").mkdir(parents=True)
    for partition in leaves:
        shutil.copy(leaf_path(directory, topic, partition), outside / "leaves")
        for path in head_paths(directory, topic, partition):
            folder = outside / "heads" / path.parent.name
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / path.name)
