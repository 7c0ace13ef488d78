"""The proof of one row of a followed table: its fields, its line, and the path to a signed head that includes that."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from pipeline.audit.leaf_files import head_paths, leaf_path, partitions_of, read_entries, read_head
from pipeline.audit.proof_store import Unproved, head_proof
from pipeline.audit.tables.line_files import Lines
from pipeline.audit.tables.lines import leaf_of, row_line, shape_line
from pipeline.audit.tables.row_store import Row, one_snapshot, read_shapes, rows_with
from pipeline.audit.tables.shapes import Shape, in_shape, key_of, shape_text
from pipeline.audit.tables.streams import STREAMS, current_partitions
from pipeline.io.postgres import Connection


def row_of_table(connection: Connection, table: str, wanted: Mapping[str, str]) -> tuple[Shape, Row]:
    """The one row in which these columns have these values, as text.

    Raises Unproved, DatabaseUnavailable, DatabaseRefused.
    """
    with one_snapshot(connection):
        shape = read_shapes(connection, STREAMS).get(table)
        if shape is None:
            raise Unproved(f"{table} is no table that is followed")
        if unknown := wanted.keys() - {column.name for column in shape.columns}:
            raise Unproved(f"{table} has no column {min(unknown)}")
        found = []
        with closing(rows_with(connection, shape, wanted)) as rows:
            for row in rows:
                found.append(row)
                if len(found) > 1:
                    raise Unproved(f"{table} has more than one such row")
    if not found:
        raise Unproved(f"{table} has no such row")
    return shape, found[0]


def row_proof(directory: Path, topic: str, present: Shape, row: Row) -> dict[str, object]:
    """The proof as JSON. Raises Unproved, NotContinued, HeadRefused, OSError."""
    partition = current_partitions(partitions_of(directory, topic))[present.table.partition(".")[0]]
    lines, path = Lines(directory, topic, partition), leaf_path(directory, topic, partition)
    heads = [read_head(each) for each in head_paths(directory, topic, partition)]
    if not heads:
        raise Unproved(f"the stream of {present.table} has no signed head yet")
    entries = list(read_entries(path))
    leaves = [entry.leaf for entry in entries]
    index_of = {leaf: index for index, leaf in enumerate(leaves)}
    for shape_at, shape in lines.shapes_of(present.table, len(entries)):
        fields = in_shape(row.fields, present._replace(filled=lines.filled(present.table, len(entries))), shape)
        if fields is None:
            continue
        index = index_of.get(leaf_of(row_line(shape_at, row.xid, fields, key_of(fields, shape.key))))
        if index is not None:
            shape_index = index_of[leaf_of(shape_line(shape_at, shape_text(shape)))]
            shape_proof = head_proof(heads, leaves, shape_index)
            return {
                "kind": "fraud-audit-row-proof-v1",
                "topic": topic,
                "partition": partition,
                "index": index,
                "xid": int.from_bytes(row.xid, "big"),
                "row": fields.hex(),
                **head_proof(heads, leaves, index),
                "shape": {"at": shape_at, "index": shape_index, "text": shape_text(shape).decode(), **shape_proof},
            }
    raise Unproved("the row is not as it was chained, or has no leaf yet")
