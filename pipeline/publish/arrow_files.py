"""Parquet and Arrow files (Feather), read by pyarrow in batches. A value keeps the type that the file gives it."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO, Final

from pipeline.publish.columns import Batch, Column, ColumnKind
from pipeline.publish.memory_files import READ_BYTES_MAX, bounded_memory
from pipeline.publish.payment_source import Fault, Unreadable
from pipeline.publish.table_files import BATCH_ROWS, WatchedFile

COLUMN_BYTES_MAX: Final = 256 * 1024 * 1024
"""Of one column in a row group, unpacked, which pyarrow may hold at once. A million texts at their limit take 140 MB; a
file of some KB can say a thousand times that."""
PARQUET: Final = b"PAR1"
ARROW: Final = b"ARROW1"


_TEXT_TYPES: Final = frozenset({"BYTE_ARRAY"})
_DICTIONARIES: Final = frozenset({"PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY", "RLE", "BIT_PACKED"})
"""Encodings of which pyarrow makes a dictionary."""


class ArrowTable:
    """Raises Unreadable where the file can't be read as columns."""

    unit = "row"

    def __init__(self, file: WatchedFile, magic: bytes) -> None:
        self._file, self._is_parquet = file, magic == PARQUET
        self._shared = frozenset[str]()
        with self._opened() as reader, bounded_memory():
            self.count: int | None = int(reader.metadata.num_rows) if self._is_parquet else None
            file.refuse_rows(self.count or 0)
            schema = reader.schema_arrow if self._is_parquet else reader.schema
            self.columns = [_column(field.name, field.type) for field in schema]
            if self._is_parquet:
                self._refuse_old_times(reader.metadata)
                self._refuse_bombs(reader.metadata)
                self._shared = _shared(reader.metadata)

    def batches(self, wanted: Set[int], /) -> Iterator[Batch | Fault]:
        row, read = 1, sorted(wanted) or [0]  # without a column pyarrow would say no number of rows
        with self._opened(read) as reader:
            found = self._record_batches(reader, read)
            while (batch := self._next_batch(found, row, read)) is not None:
                yield batch
                row += len(batch.lines)

    def _next_batch(self, found: Iterator[Any], row: int, read: list[int]) -> Batch | None:
        with bounded_memory():
            rows = next(found, None)
            return None if rows is None else Batch(range(row, row + rows.num_rows), self._values_of(rows, read))

    @contextmanager
    def _opened(self, read: list[int] | None = None) -> Iterator[Any]:
        """Open the file for the columns at the places that are `read`, or all."""
        arrow, parquet = _library()
        with self._file.opened() as file, self._named(arrow):
            with bounded_memory():
                reader = self._reader(arrow, parquet, file, read)
            yield reader

    def _reader(self, arrow: Any, parquet: Any, file: BinaryIO, read: list[int] | None) -> Any:
        if self._is_parquet:
            # As a dictionary one long text that a million rows share stays one.
            texts = [self.columns[at].name for at in read or [] if self.columns[at].name in self._shared]
            return parquet.ParquetFile(file, page_checksum_verification=True, read_dictionary=texts)
        return arrow.ipc.open_file(file, options=arrow.ipc.IpcReadOptions(included_fields=read))

    def _values_of(self, found: Any, read: list[int]) -> list[list[Any]]:
        """Return each column's values, and none of those that are not read, or of a type that no field takes."""
        values = [list[Any]() for _ in self.columns]
        for place in read:
            if self.columns[place].kind is not ColumnKind.OTHER:
                values[place] = _values(found.column(self.columns[place].name))
        return values

    def _record_batches(self, reader: Any, read: list[int]) -> Iterator[Any]:
        if self._is_parquet:
            yield from reader.iter_batches(BATCH_ROWS, columns=[self.columns[place].name for place in read])
            return
        for number in range(reader.num_record_batches):
            whole = reader.get_batch(number)
            whole.validate(full=True)
            for begin in range(0, whole.num_rows, BATCH_ROWS):
                yield whole.slice(begin, BATCH_ROWS)

    @contextmanager
    def _named(self, arrow: Any) -> Iterator[None]:
        kind = "parquet" if self._is_parquet else "an Arrow file"
        try:
            yield
        except MemoryError as error:
            parts = "row groups" if self._is_parquet else "record batches"
            raise Unreadable(
                f"{self._file.name} unpacks to over {READ_BYTES_MAX // 1024**3} GB at once.",
                f"Write it in smaller {parts}, if it is to be so large.",
            ) from error
        except (OSError, arrow.ArrowException) as error:
            raise Unreadable(
                f"{self._file.name} can't be read as {kind}: it is cut off, damaged, encrypted, or of a later form.",
                "Write it again.",
            ) from error

    def _refuse_bombs(self, metadata: Any) -> None:
        for group in map(metadata.row_group, range(metadata.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                if column.total_uncompressed_size > COLUMN_BYTES_MAX:
                    raise Unreadable(
                        f"{self._file.name} has the column '{column.path_in_schema[:60]}' of over "
                        f"{COLUMN_BYTES_MAX // 1024**2} MB, unpacked, in one row group.",
                        "Write it in smaller row groups.",
                    )

    def _refuse_old_times(self, metadata: Any) -> None:
        for number in range(metadata.num_columns):
            column = metadata.schema.column(number)
            if column.physical_type == "INT96":
                raise Unreadable(
                    f"{self._file.name} has the column '{column.name[:60]}' of parquet's old INT96 times.",
                    "They overflow unseen: write it as a timestamp of milliseconds or microseconds.",
                )


def _shared(metadata: Any) -> frozenset[str]:
    """Return the columns of texts that pyarrow can read as dictionaries: it can't where texts stand by their
    differences, as DuckDB and others write them."""
    kept, others = set[str](), set[str]()
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            is_shared = column.physical_type in _TEXT_TYPES and _DICTIONARIES.issuperset(column.encodings)
            (kept if is_shared else others).add(column.path_in_schema)
    return frozenset(kept - others)


def _library() -> tuple[Any, Any]:
    try:
        import pyarrow as arrow  # type: ignore[import-untyped]
        import pyarrow.parquet as parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise Unreadable(
            "Reading parquet and Arrow files needs pyarrow.", "`pip install '.[train]'`, or give CSV."
        ) from error
    return arrow, parquet


def _column(name: str, arrow_type: Any) -> Column:
    from pyarrow import types

    inner = arrow_type
    while types.is_dictionary(inner) or types.is_run_end_encoded(inner):
        inner = inner.value_type
    shown = str(arrow_type)
    if types.is_timestamp(inner):
        return Column(name, ColumnKind.TIMESTAMP, shown, inner.unit, inner.tz is not None)
    if types.is_date64(inner):  # milliseconds; a time of day within them is not lost but refused
        return Column(name, ColumnKind.TIMESTAMP, shown, "ms")
    return Column(name, _kind(types, inner), shown)


def _kind(types: Any, arrow_type: Any) -> ColumnKind:
    for kind, tests in {
        ColumnKind.TEXT: (types.is_string, types.is_large_string, types.is_string_view),
        ColumnKind.BINARY: (
            types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view,
        ),
        ColumnKind.INTEGER: (types.is_integer,),
        ColumnKind.DOUBLE: (types.is_float64,),
        ColumnKind.SINGLE: (types.is_float32,),
        ColumnKind.DECIMAL: (types.is_decimal,),
        ColumnKind.BOOLEAN: (types.is_boolean,),
        ColumnKind.DATE: (types.is_date32,),
        ColumnKind.PAIRS: (partial(_is_pairs, types),),
        ColumnKind.NULL: (types.is_null,),
    }.items():  # fmt: skip
        if any(test(arrow_type) for test in tests):
            return kind
    return ColumnKind.OTHER


def _is_pairs(types: Any, arrow_type: Any) -> bool:
    """Whether it is a map, or a struct, of texts by names."""
    if types.is_map(arrow_type):
        parts = [arrow_type.key_type, arrow_type.item_type]
    elif types.is_struct(arrow_type):
        parts = [arrow_type.field(number).type for number in range(arrow_type.num_fields)]
    else:
        return False
    return all(types.is_string(part) or types.is_large_string(part) or types.is_null(part) for part in parts)


def _values(column: Any) -> list[Any]:
    """Return an array's values: texts that are not UTF-8 with lone surrogates, and times as their own numbers."""
    import pyarrow as arrow
    import pyarrow.compute as compute  # type: ignore[import-untyped]

    types = arrow.types
    while types.is_run_end_encoded(column.type):
        column = compute.run_end_decode(column)
    if types.is_dictionary(column.type):
        used = column.indices.unique().drop_null()
        known = dict(zip(used.to_pylist(), _values(column.dictionary.take(used)), strict=True))
        return [None if at is None else known[at] for at in column.indices.to_pylist()]
    if types.is_timestamp(column.type) or types.is_date64(column.type):
        return list(column.view(arrow.int64()).to_pylist())
    if types.is_date32(column.type):
        return list(column.view(arrow.int32()).to_pylist())
    if types.is_struct(column.type):
        # A struct has all its names in every row, so one without a value is absent.
        return [None if row is None else {k: v for k, v in row.items() if v is not None} for row in column.to_pylist()]
    try:
        return list(column.to_pylist())
    except UnicodeDecodeError:
        raw = column.cast(arrow.large_binary() if types.is_large_string(column.type) else arrow.binary())
        return [None if value is None else value.decode(errors="surrogateescape") for value in raw.to_pylist()]
