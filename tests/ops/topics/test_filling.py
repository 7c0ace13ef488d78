"""A partition is written anew with every record at its offset, and what was copied is read as it was."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.topics.copies import (
    Copied,
    CopyBroken,
    PartitionCopy,
    PartWriter,
    decode,
    encode,
    read_manifest,
    read_part,
    write_manifest,
)
from ops.topics.filling import How, Unfillable, Write, writes

RECORDS = st.builds(
    Copied,
    st.integers(0, 2**62),
    st.integers(-1, 2**62),
    st.none() | st.binary(max_size=20),
    st.none() | st.binary(max_size=50),
    st.lists(st.tuples(st.text(max_size=5), st.none() | st.binary(max_size=5)), max_size=3).map(tuple),
)


def at(offset: int) -> Copied:
    return Copied(offset, 1_700_000_000_000 + offset, b"k", b"v", ())


def landed(made: list[Write], begin: int) -> tuple[dict[int, Copied], int]:
    """What a broker would make of it: where each record lands, and the end."""
    position, found = begin, {}
    for each in made:
        for record in each.records:
            found[position] = record
            position += 1
        position += each.fillers + (each.how is not How.PLAIN)
    return found, position


@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(0, 4)), max_size=12),
    st.integers(0, 100),
    st.integers(1, 4),
)
def test_every_record_lands_where_it_was_whatever_the_gaps(runs, begin, run_max):
    records, position = [], begin
    for length, gap in runs:
        records += [at(position + number) for number in range(length)]
        position += length + gap
    found, end = landed(list(writes(records, begin, position, run_max)), begin)
    assert found == {record.offset: record for record in records}
    assert end == position


def test_a_run_before_a_marker_is_committed_and_other_gaps_are_aborted():
    made = list(writes([at(0), at(1), at(3), at(7)], 0, 8, 100))
    assert [(each.how, len(each.records), each.fillers) for each in made] == [
        (How.COMMITTED, 2, 0),
        (How.PLAIN, 1, 0),
        (How.ABORTED, 0, 2),
        (How.PLAIN, 1, 0),
    ]


def test_a_long_run_before_a_marker_is_written_in_parts():
    made = list(writes([at(number) for number in range(5)], 0, 6, 2))
    assert [(each.how, len(each.records)) for each in made] == [(How.PLAIN, 2), (How.PLAIN, 2), (How.COMMITTED, 1)]


@pytest.mark.parametrize(("records", "end"), [([at(1)], 2), ([at(0), at(0)], 2), ([at(0), at(1)], 1)])
def test_what_can_not_be_written_so_is_refused(records, end):
    with pytest.raises(Unfillable):
        list(writes(records, 0, end, 100))


@given(st.lists(RECORDS, max_size=5))
def test_what_is_written_is_read(records):
    file = io.BytesIO(b"".join(map(encode, records)))
    found = []
    while (record := decode(file)) is not None:
        found.append(record)
    assert found == records


@given(RECORDS, st.data())
def test_a_record_that_was_cut_short_is_none(record, data):
    frame = encode(record)
    with pytest.raises(CopyBroken):
        decode(io.BytesIO(frame[: data.draw(st.integers(1, len(frame) - 1))]))


def test_a_copy_is_its_owners_alone_and_what_was_changed_is_found(tmp_path):
    writer = PartWriter(tmp_path, "decisions.v1", 0, 5)
    writer.write(at(5))
    part = writer.close(7)
    write_manifest(tmp_path, {"decisions.v1": {0: PartitionCopy(5, (part,))}}, is_whole=True)
    path = tmp_path / part.name
    assert path.stat().st_mode & 0o777 == 0o600
    [kept] = read_manifest(tmp_path)["decisions.v1"][0].parts
    assert list(read_part(tmp_path, kept)) == [at(5)]
    path.write_bytes(path.read_bytes().replace(b"v", b"w"))
    with pytest.raises(CopyBroken, match="not what was written"):
        list(read_part(tmp_path, kept))


def test_a_folder_without_a_copy_holds_none_and_a_broken_one_is_refused(tmp_path):
    assert read_manifest(tmp_path) == {}
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(CopyBroken):
        read_manifest(tmp_path)
