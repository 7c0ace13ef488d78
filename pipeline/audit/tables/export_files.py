"""The followed tables in an export: their rows as bytes, their shapes, and the files outside the database.

Each row is the length of its fields (4 bytes, big-endian), its transaction (8), and its fields.
"""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Final, NamedTuple

from pipeline.audit.chain import ENTRY_BYTES
from pipeline.audit.leaf_files import head_paths, leaf_path, partitions_of
from pipeline.audit.tables.line_files import lines_path
from pipeline.audit.tables.row_store import all_rows, one_snapshot, read_shapes
from pipeline.audit.tables.shapes import Shape, shape_text
from pipeline.audit.tables.snapshots import snapshot_text
from pipeline.audit.tables.streams import STREAMS
from pipeline.io.postgres import Connection

_LENGTH: Final = struct.Struct(">I")


class Tables(NamedTuple):
    """rows: by table. manifest: what the verifier must know besides."""

    rows: dict[str, int]
    manifest: dict[str, object]


def export_tables(connection: Connection, directory: Path, topic: str, out: Path) -> Tables:
    """Into `out`/tables, in one snapshot. Raises DatabaseUnavailable, DatabaseRefused, OSError.

    What had a leaf before the snapshot must be in it.
    """
    folder = out / "tables"
    folder.mkdir(parents=True)
    leaves = {p: leaf_path(directory, topic, p).stat().st_size // ENTRY_BYTES for p in partitions_of(directory, topic)}
    with one_snapshot(connection) as seen:
        shapes = read_shapes(connection, STREAMS)
        rows = {table: _write(connection, shape, folder / f"{table}.rows") for table, shape in shapes.items()}
    manifest: dict[str, object] = {
        "topic": topic,
        "leaves": leaves,
        "snapshot": snapshot_text(seen),
        "streams": list(STREAMS),
        "shapes": [json.loads(shape_text(shape)) for shape in shapes.values()],
    }
    return Tables(rows, manifest)


def copy_outside(directory: Path, topic: str, outside: Path) -> None:
    """The streams' leaf files, heads and lines; the leaves first, so that each has its line."""
    for folder in ("leaves", "rows"):
        (outside / folder).mkdir(parents=True, exist_ok=True)
    for partition in partitions_of(directory, topic):
        shutil.copy(leaf_path(directory, topic, partition), outside / "leaves")
        shutil.copy(lines_path(directory, topic, partition), outside / "rows")
        for path in head_paths(directory, topic, partition):
            heads = outside / "heads" / path.parent.name
            heads.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, heads / path.name)


def _write(connection: Connection, shape: Shape, path: Path) -> int:
    count = 0
    with path.open("wb") as file:
        for fields, xid in all_rows(connection, shape):
            file.write(_LENGTH.pack(len(fields)) + xid + fields)
            count += 1
    return count
