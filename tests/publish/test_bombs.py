"""Small files that unpack to much: what is held at once stays bounded."""

from __future__ import annotations

import gzip
import resource
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from pipeline.publish import arrow_files, table_files
from pipeline.publish.payment_files import open_payments
from pipeline.publish.payment_source import Unreadable
from pipeline.publish.whole_check import check
from tests.publish.named_arrow_files import equal_rows
from tests.publish.named_file import feather_of, parquet_of
from tests.publish.payment_rows import csv_text, typed_whole, whole

ROWS, CHARACTERS = 4_096, 40_000
NOW_MS = 1_790_000_000_000
HELD_BYTES_MAX = 40 * 1024 * 1024
"""A quarter of what the rows' texts come to, each for itself."""


@pytest.fixture
def pool() -> Iterator[pa.MemoryPool]:
    before = pa.default_memory_pool()
    counting = pa.proxy_memory_pool(before)
    pa.set_memory_pool(counting)
    yield counting
    pa.set_memory_pool(before)


@pytest.mark.parametrize("is_dictionary", [True, False])
def test_a_text_that_all_rows_share_is_held_once(tmp_path: Path, pool: pa.MemoryPool, is_dictionary: bool) -> None:
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * ROWS, pa.int32()), ["x" * CHARACTERS])
    content = parquet_of(typed_whole({"reference": shared}, ROWS), store_schema=is_dictionary)
    assert len(content) < 1024 * 1024
    (tmp_path / "bomb.parquet").write_bytes(content)
    before = pool.bytes_allocated()
    source = open_payments(tmp_path / "bomb.parquet", with_labels=False)
    found = check(source, NOW_MS, is_order_needed=True)
    assert found.faults
    assert "over 140 characters" in found.faults[0].what
    assert pool.max_memory() - before < HELD_BYTES_MAX


def test_a_column_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrow_files, "COLUMN_BYTES_MAX", 10_000)
    texts = pa.array(["".join(chr(97 + (n * k) % 26) for k in range(100)) for n in range(500)])
    (tmp_path / "large.parquet").write_bytes(parquet_of(typed_whole({"reference": texts}, 500)))
    with pytest.raises(Unreadable, match="of over 0 MB, unpacked, in one row group"):
        open_payments(tmp_path / "large.parquet", with_labels=False)


FREE = 2_000


@pytest.mark.parametrize(
    ("form", "rows"), [("parquet", 60_000), ("arrow", 60_000), ("csv.gz", 20_000), ("jsonl.gz", 20_000)]
)
def test_more_equal_rows_than_bytes_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, rows: int
) -> None:
    """Of fifty million, in a file of some KB, the second one's id was told after a quarter of an hour."""
    monkeypatch.setattr(table_files, "ROWS_FREE", FREE)
    path = tmp_path / f"equal.{form}"
    if form == "csv.gz":
        header, row = csv_text(whole(1)).splitlines(keepends=True)
        path.write_bytes(gzip.compress((header + row * rows).encode()))
    elif form == "jsonl.gz":
        path.write_bytes(gzip.compress(b'{"amount": "12.50"}\n' * rows))
    else:
        table = equal_rows(rows)
        path.write_bytes(parquet_of(table) if form == "parquet" else feather_of(table, compression="zstd"))
    assert path.stat().st_size < rows - FREE
    read = 0
    with pytest.raises(Unreadable, match="more of them than bytes"):  # noqa: PT012  (what was read before counts)
        for _ in open_payments(path, with_labels=False).read():
            read += 1
    assert read <= (0 if form == "parquet" else FREE + path.stat().st_size)


BOUND_BYTES, LONG, MANY = 100 * 1024 * 1024, 50_000, 4_096
"""So many rows of so long a text take 200 MB, each for itself."""


def _views() -> bytes:
    """Rows that all show the same place of one buffer."""
    views = struct.pack("<i4sii", LONG, b"xxxx", 0, 0) * MANY
    column = pa.Array.from_buffers(pa.string_view(), MANY, [None, pa.py_buffer(views), pa.py_buffer(b"x" * LONG)])
    return feather_of(typed_whole({"reference": column}, MANY), compression="zstd")


def _run() -> bytes:
    column = pa.RunEndEncodedArray.from_arrays(pa.array([MANY], pa.int32()), pa.array(["x" * LONG]))
    return feather_of(typed_whole({"reference": column}, MANY), compression="zstd")


def _packed() -> bytes:
    texts = pa.array(["x" * LONG] * MANY)
    return feather_of(typed_whole({"reference": texts}, MANY), compression="zstd", chunksize=MANY)


def _prefixes() -> bytes:
    """Texts that are each written as how much of the one before they begin with."""
    texts = pa.array([f"{'x' * LONG}{number}" for number in range(MANY)])
    encoding = {"reference": "DELTA_BYTE_ARRAY"}
    return parquet_of(typed_whole({"reference": texts}, MANY), use_dictionary=False, column_encoding=encoding)


READER = f"""
import sys
from pathlib import Path
from pipeline.publish import memory_files
from pipeline.publish.payment_files import open_payments
from pipeline.publish.payment_source import Unreadable
from pipeline.publish.whole_check import check

memory_files.READ_BYTES_MAX = {BOUND_BYTES}
try:
    check(open_payments(Path(sys.argv[1]), with_labels=False), {NOW_MS}, is_order_needed=True)
except Unreadable as refusal:
    print(refusal)
"""
"""In a process of its own, which holds nothing yet that it could use again."""


@pytest.mark.skipif(sys.platform != "linux", reason="the bound is Linux's")
@pytest.mark.parametrize("made", [_views, _run, _packed, _prefixes])
def test_what_unpacks_to_too_much_at_once_is_refused_as_that(made: Callable[[], bytes], tmp_path: Path) -> None:
    """Whatever the file says of itself: no number in any of these tells what it takes."""
    content = made()
    assert len(content) < 2 * 1024 * 1024
    (tmp_path / "bomb").write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", READER, tmp_path / "bomb"], capture_output=True, text=True, timeout=300
    )
    assert done.stdout.startswith("bomb unpacks to over 2 GB at once. Write it in smaller"), done


@pytest.mark.skipif(sys.platform != "linux", reason="the bound is Linux's")
def test_the_bound_is_gone_once_a_file_is_read(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_DATA)
    (tmp_path / "sound.parquet").write_bytes(parquet_of(typed_whole({})))
    source = open_payments(tmp_path / "sound.parquet", with_labels=False)
    for _ in source.read():
        assert before == resource.getrlimit(resource.RLIMIT_DATA)
