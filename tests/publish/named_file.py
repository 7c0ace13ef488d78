"""A file as people have it: its bytes, the map that goes with it, and what must become of it."""

from __future__ import annotations

import io
from typing import Any, NamedTuple

import pyarrow.feather as pa_feather  # type: ignore[import-untyped]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped]

from tests.publish.payment_rows import csv_text, whole

SHORTEST = '[file]\ndoubles = "shortest"\n'


class NamedFile(NamedTuple):
    name: str
    content: bytes
    mapping: str | None
    payments: int | None  # None where the file is refused
    last: dict[str, Any]  # fields of the last payment
    phrase: str  # within the sentence of what is refused
    place: tuple[int, str | None] | None  # line and column of the fault; None where the file can't be read at all


FILES: list[NamedFile] = []


def sound(name: str, content: str | bytes, mapping: str | None = None, payments: int = 2, **last: Any) -> None:
    FILES.append(NamedFile(name, as_bytes(content), mapping, payments, last, "", None))


def unreadable(name: str, content: str | bytes, phrase: str, mapping: str | None = None) -> None:
    FILES.append(NamedFile(name, as_bytes(content), mapping, None, {}, phrase, None))


def faulty(
    name: str, content: str | bytes, line: int, column: str | None, phrase: str, mapping: str | None = None
) -> None:
    FILES.append(NamedFile(name, as_bytes(content), mapping, None, {}, phrase, (line, column)))


def as_bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def parquet_of(table: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    pa_parquet.write_table(table, sink, **options)
    return sink.getvalue()


def feather_of(table: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    pa_feather.write_feather(table, sink, **options)
    return sink.getvalue()


def spoilt(name: str, field: str, value: str, phrase: str, mapping: str | None = None) -> None:
    """A CSV file of the whole form with one value spoilt, in its third line."""
    faulty(f"{name}.csv", csv_text(whole(**{field: value})), 3, field, phrase, mapping)


def said(name: str, field: str, value: str, mapping: str | None = None, **last: Any) -> None:
    """A CSV file of the whole form with one value said in another way."""
    sound(f"{name}.csv", csv_text(whole(**{field: value})), mapping, **last)
