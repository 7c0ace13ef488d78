"""Files of payments: parquet or CSV, in the columns of the Fraud Detection Handbook or in the fields of transaction.v1.

The Handbook's payments know a customer, a terminal, an amount and a time. What else a payment has is filled with fixed
values that no guardrail stops.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, Final, NamedTuple, get_args, get_type_hints

from pipeline.domain.payment import Channel, Transaction
from pipeline.terminal.failures import Failure

HANDBOOK_EPOCH_MS: Final = 1_522_540_800_000  # 2018-04-01T00:00:00Z, which its tx_time_s counts from
HANDBOOK_COLUMNS: Final = ("transaction_id", "tx_time_s", "customer_id", "terminal_id", "amount_minor")
LABEL_COLUMN: Final = "fraud"
ROWS_A_READ: Final = 8192
_TYPES: Final = get_type_hints(Transaction)
_NUMBERS: Final = frozenset(name for name, held in _TYPES.items() if held in (int, int | None))
_NULLABLE: Final = frozenset({"segments", *(name for name, held in _TYPES.items() if NoneType in get_args(held))})
_PARQUET: Final = frozenset({".parquet", ".pq"})
_OPENED_EPOCH_DAY: Final = 16_436  # 2015-01-01, what training takes a payment of the Handbook to have


class FilePayment(NamedTuple):
    transaction: Transaction
    is_fraud: bool


Row = Sequence[Any]


def open_payments(path: Path, *, with_labels: bool) -> Iterator[FilePayment]:
    """The payments in the file's order. Failure when it can't be read, lacks columns, or at a row that is none."""
    if not path.is_file():
        raise Failure(f"There is no file {path}.", "Give the path of a parquet or CSV file.")
    if path.suffix == ".csv":
        columns, rows = _csv_rows(path)
    elif path.suffix in _PARQUET:
        columns, rows = _parquet_rows(path)
    else:
        raise Failure(f"{path.name} is neither .parquet nor .csv.", "Name the file after what it holds.")
    if with_labels and LABEL_COLUMN not in columns:
        raise Failure(f"{path.name} has no column '{LABEL_COLUMN}'.", "Leave --labels out, or add it (0 or 1).")
    return _payments(path, columns, rows)


def rows_of(path: Path) -> int | None:
    """The number of payments in the file, if it says so without being read."""
    return int(_parquet(path).metadata.num_rows) if path.suffix in _PARQUET and path.is_file() else None


def _payments(path: Path, columns: Sequence[str], rows: Iterator[Row]) -> Iterator[FilePayment]:
    convert = _converter(path, columns)
    label = columns.index(LABEL_COLUMN) if LABEL_COLUMN in columns else None
    for number, row in enumerate(rows, 1):
        try:
            yield FilePayment(convert(row), label is not None and bool(int(row[label])))
        except (ValueError, TypeError, IndexError) as error:
            raise Failure(f"Row {number} of {path.name} can't be read: {error}.", "Correct the row.") from error


def _converter(path: Path, columns: Sequence[str]) -> Callable[[Row], Transaction]:
    if set(HANDBOOK_COLUMNS) <= set(columns):
        return _handbook_converter(columns)
    missing = [name for name in Transaction._fields if name not in columns and name not in _NULLABLE]
    if not missing:
        return _transaction_converter(columns)
    raise Failure(
        f"{path.name} lacks the column '{missing[0]}'.",
        f"It needs {', '.join(HANDBOOK_COLUMNS)}, or the fields of transaction.v1.",
    )


def _handbook_converter(columns: Sequence[str]) -> Callable[[Row], Transaction]:
    number, time_s, customer, terminal, amount = (columns.index(name) for name in HANDBOOK_COLUMNS)

    def convert(row: Row) -> Transaction:
        terminal_id = int(row[terminal])
        return Transaction(
            f"hb-{int(row[number]):09d}", f"cust-{int(row[customer]):06d}", int(row[amount]), "GBP",
            HANDBOOK_EPOCH_MS + int(row[time_s]) * 1000, f"term-{terminal_id:06d}", f"Terminal {terminal_id:06d}",
            "GB", None, "card payment", Channel.CARD, None, None, _OPENED_EPOCH_DAY, "UTC", {},
        )  # fmt: skip

    return convert


def _transaction_converter(columns: Sequence[str]) -> Callable[[Row], Transaction]:
    places = [(name, columns.index(name) if name in columns else None) for name in Transaction._fields]

    def convert(row: Row) -> Transaction:
        return Transaction._make(_field(name, None if place is None else row[place]) for name, place in places)

    return convert


def _field(name: str, value: Any) -> Any:
    """A field's value as it travels: CSV has only texts, and an empty one is a missing one."""
    if name == "segments":
        return _segments(value)
    if name == "channel":
        return Channel(value)
    if value is None or value == "":
        if name not in _NULLABLE:
            raise ValueError(f"'{name}' is empty")
        return None
    return int(value) if name in _NUMBERS else str(value)


def _segments(value: Any) -> dict[str, str]:
    if not value:
        return {}
    pairs = json.loads(value) if isinstance(value, str) else value
    return {str(name): str(segment) for name, segment in dict(pairs).items()}


def _csv_rows(path: Path) -> tuple[list[str], Iterator[Row]]:
    def rows() -> Iterator[Row]:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            next(reader, None)
            yield from reader

    try:
        with path.open(newline="", encoding="utf-8") as file:
            return next(csv.reader(file), []), rows()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise Failure(f"{path.name} can't be read as CSV.", "Save it as UTF-8 with a line of column names.") from error


def _parquet_rows(path: Path) -> tuple[list[str], Iterator[Row]]:
    file = _parquet(path)

    def rows() -> Iterator[Row]:
        for batch in file.iter_batches(ROWS_A_READ):
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    return list(file.schema_arrow.names), rows()


def _parquet(path: Path) -> Any:
    try:
        import pyarrow as arrow  # type: ignore[import-untyped]
        import pyarrow.parquet as parquet  # type: ignore[import-untyped]
    except ImportError as error:
        raise Failure("Reading parquet needs pyarrow.", "`pip install '.[train]'`, or give CSV.") from error
    try:
        return parquet.ParquetFile(path)
    except (OSError, arrow.ArrowException) as error:
        raise Failure(f"{path.name} can't be read as parquet.", "Write it again with a parquet library.") from error
