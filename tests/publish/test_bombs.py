"""Small files that unpack to much: what is held at once stays bounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]
import pytest

from pipeline.publish import arrow_files
from pipeline.publish.payment_files import open_payments
from pipeline.publish.payment_source import Unreadable
from pipeline.publish.whole_check import check
from tests.publish.named_file import parquet_of
from tests.publish.payment_rows import typed_whole

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
