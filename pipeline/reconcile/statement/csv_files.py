"""Statements as CSV: a line for each statement, followed by its entries, under one header."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Final

from pipeline.reconcile.statement.entries import (
    Entry,
    Head,
    Kind,
    StatementUnusable,
    amount_minor,
    currency_of,
    named_key,
    sequence_of,
    time_of,
)

COLUMNS: Final = (
    "record",  # STATEMENT or ENTRY
    "account",
    "currency",
    "sequence",
    "statement",
    "from",
    "to",
    "opening",
    "closing",
    "entries",
    "kind",  # TRANSFER, RETURN or OTHER
    "key",
    "amount",  # from our side: below zero is paid out
    "debtor",
    "creditor",
)
FORM: Final = "csv"
FIELD_CHARACTERS_MAX: Final = 2_000

Row = Mapping[str, str]


def read_csv(file: BinaryIO) -> Iterator[Head | Entry]:
    """Yield each statement's head and then its entries. Raises StatementUnusable."""
    with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        rows = csv.DictReader(text, strict=True)
        try:
            if tuple(rows.fieldnames or ()) != COLUMNS:
                raise StatementUnusable(f"the first line is not {','.join(COLUMNS)}")
            yield from _parts(rows)
        except (csv.Error, UnicodeDecodeError) as error:
            raise StatementUnusable(f"line {rows.line_num} can't be read: {type(error).__name__}") from error


def _parts(rows: csv.DictReader[str]) -> Iterator[Head | Entry]:
    head: Head | None = None
    number = 0
    for row in rows:
        if any(value is None or not isinstance(value, str) or len(value) > FIELD_CHARACTERS_MAX or "\0" in value
               for value in row.values()):  # fmt: skip
            raise StatementUnusable(f"line {rows.line_num} has other fields than the first line says")
        if row["record"] == "STATEMENT":
            head, number = _head(row), 0
            yield head
        elif row["record"] == "ENTRY" and head is not None:
            number += 1
            yield _entry(row, number, head)
        else:
            raise StatementUnusable(f"line {rows.line_num} is neither a statement nor an entry of one")
    if head is None:
        raise StatementUnusable("the file holds no statement")


def _head(row: Row) -> Head:
    currency = currency_of(row["currency"])
    if not row["account"] or not row["statement"]:
        raise StatementUnusable("a statement does not say its account or its name")
    return Head(
        row["account"],
        currency,
        sequence_of(row["sequence"]),
        row["statement"],
        FORM,
        time_of(row["from"]),
        time_of(row["to"]),
        amount_minor(row["opening"], currency, is_signed=True),
        amount_minor(row["closing"], currency, is_signed=True),
        sequence_of(row["entries"]),
    )


def _entry(row: Row, number: int, head: Head) -> Entry:
    if (row["account"], row["currency"]) != (head.account_id, head.currency):
        raise StatementUnusable("an entry is of another account or currency than its statement")
    try:
        kind = Kind(row["kind"])
    except ValueError as error:
        raise StatementUnusable(f"an entry is none of {', '.join(Kind)}") from error
    key = named_key(kind, row["key"])
    return Entry(
        number,
        kind if key is not None else Kind.OTHER,
        key,
        amount_minor(row["amount"], head.currency, is_signed=True),
        row["debtor"] or None,
        row["creditor"] or None,
    )
