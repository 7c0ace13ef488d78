"""Lines and rows as bytes, and what the verifier reads of them with code of its own."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.verifier import lines as verifier
from pipeline.audit.tables.lines import (
    LineKind,
    Position,
    content_of,
    kind_of,
    leaf_of,
    line_of,
    position_line,
    position_of,
    row_line,
    row_line_of,
)
from pipeline.audit.tables.shapes import (
    Column,
    Shape,
    added,
    fields_of,
    in_shape,
    key_of,
    row_of,
    shape_of,
    shape_text,
    shown_key,
)
from pipeline.audit.tables.snapshots import Snapshot

FIELDS = st.lists(st.none() | st.binary(max_size=20), min_size=1, max_size=6)
OLD = Shape(
    "ledger.posting", (Column("execution_id", "uuid"), Column("attempt", "integer"), Column("step", "text")), 2, {}
)
NEW = OLD._replace(columns=(*OLD.columns, Column("note", "text")), filled={"note": None})


@given(FIELDS)
def test_a_row_s_bytes_are_its_fields_alone(fields: list[bytes | None]) -> None:
    assert fields == fields_of(row_of(fields)) == verifier.fields_of(row_of(fields))


@given(st.binary(max_size=30))
def test_bytes_that_are_no_row_are_refused_or_are_the_only_ones_of_theirs(content: bytes) -> None:
    for read, write in ((fields_of, row_of), (verifier.fields_of, verifier.joined)):
        try:
            fields = read(content)
        except ValueError:
            continue
        if None not in fields:  # any negative length is NULL, and PostgreSQL writes -1
            assert content == write(fields)


@given(st.integers(0, 2**40), st.binary(min_size=8, max_size=8), FIELDS)
def test_a_row_s_line_is_read_as_written_and_its_leaf_by_the_verifier(
    at: int, xid: bytes, fields: list[bytes | None]
) -> None:
    row, key = row_of(fields), key_of(row_of([b"k", *fields]), 1)
    line = row_line(at, xid, row, key)
    assert LineKind.ROW is kind_of(line)
    read = row_line_of(line)
    assert (at, xid, key) == (read.shape_at, read.xid, read.key)
    assert leaf_of(line) == verifier.leaf_of_row(at, int.from_bytes(xid, "big"), row, key)


def test_every_part_of_a_row_s_line_changes_its_leaf() -> None:
    parts = (7, b"\0" * 8, b"row", b"key")
    others = (8, b"\1" * 8, b"row.", b"keys")
    leaves = {leaf_of(row_line(*parts))}
    for place, other in enumerate(others):
        changed = list(parts)
        changed[place] = other
        leaves.add(leaf_of(row_line(*changed)))  # type: ignore[arg-type]
    leaves.add(leaf_of(line_of(LineKind.SHAPE, content_of(row_line(*parts)))))
    assert 6 == len(leaves)


def test_positions_and_shapes_are_read_as_written() -> None:
    position = Position(Snapshot(9, (3, 7)), {"ledger.posting": 40})
    assert position == position_of(position_line(position))
    assert NEW == shape_of(shape_text(NEW))
    assert ("note", None) == next(iter(verifier.shape_of(shape_text(NEW)).filled.items()))


@pytest.mark.parametrize("text", [b"", b"{}", b'{"columns":[],"filled":{},"key":0, "table":"a"}'])
def test_what_is_no_shape_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"shape|Expecting"):
        shape_of(text)


def test_a_row_of_before_a_column_came_is_the_same_only_while_that_holds_what_was_filled_in() -> None:
    old = [b"u" * 16, b"\0\0\0\1", b"HOLD"]
    assert row_of(old) == in_shape(row_of([*old, None]), NEW, OLD)
    assert in_shape(row_of([*old, b""]), NEW, OLD) is None
    theirs = verifier.shape_of(shape_text(NEW)), verifier.shape_of(shape_text(OLD))
    assert row_of(old) == verifier.in_shape(row_of([*old, None]), *theirs)
    assert verifier.in_shape(row_of([*old, b""]), *theirs) is None


def test_a_shape_that_lost_a_column_or_key_is_no_continuation() -> None:
    assert [Column("note", "text")] == added(OLD, NEW)
    with pytest.raises(ValueError, match="note is gone"):
        added(NEW, OLD)
    with pytest.raises(ValueError, match="key"):
        added(OLD, NEW._replace(key=1))
    with pytest.raises(ValueError, match="step is gone, or of another type"):
        added(OLD, OLD._replace(columns=(*OLD.columns[:2], Column("step", "bytea"))))


def test_a_key_is_shown_as_people_write_it() -> None:
    key = key_of(row_of([bytes(16), b"\0\0\0\2", b"HOLD"]), 2)
    expected = "execution_id=00000000-0000-0000-0000-000000000000, attempt=2"
    assert expected == shown_key(OLD, key)
    assert expected == verifier.shown_key(verifier.shape_of(shape_text(OLD)), key)
