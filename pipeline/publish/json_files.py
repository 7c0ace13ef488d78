"""JSON lines: an object a line, whose numbers with decimals are read as decimals, never as doubles."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from decimal import Decimal
from typing import Final

from pipeline.publish.columns import Batch, Column, ColumnKind
from pipeline.publish.payment_source import Fault, Unreadable
from pipeline.publish.table_files import BATCH_ROWS, BLANK_LINES_MAX, TOO_BLANK, WatchedFile

LINE_BYTES_MAX: Final = 256 * 1024
BOM: Final = b"\xef\xbb\xbf"
NAMES_MAX: Final = 300
DIGITS_MAX: Final = 40


class JsonTable:
    """All lines' names are the columns; where a line leaves one out, its value is missing."""

    unit = "line"
    count = None

    def __init__(self, file: WatchedFile) -> None:
        self._file = file
        names: dict[str, None] = {}
        first: Fault | None = None
        for count, found in enumerate(self._objects(), 1):
            file.refuse_rows(count)
            if isinstance(found, Fault):
                first = first or found
            else:
                names.update(dict.fromkeys(found[1]))
            if len(names) > NAMES_MAX:
                raise Unreadable(f"{file.name} has more than {NAMES_MAX} names.", "Leave out what no payment needs.")
        if not names and first is not None:
            raise Unreadable(f"{file.name}, line {first.line:,}, {first.what}.", "Write one JSON object a line.")
        if not names:
            raise Unreadable(f"{file.name} holds no JSON object with names.", "Write one JSON object a line.")
        self.columns = [Column(name, ColumnKind.MIXED, "JSON") for name in names]

    def batches(self, _wanted: Set[int], /) -> Iterator[Batch | Fault]:
        names = [column.name for column in self.columns]
        lines, rows = list[int](), list[list[object]]()
        for found in self._objects():
            if isinstance(found, Fault):
                yield found
                continue
            line, fields = found
            lines.append(line)
            rows.append([fields.get(name) for name in names])
            if len(lines) == BATCH_ROWS:
                yield Batch(lines, list(zip(*rows, strict=True)))
                lines, rows = [], []
        if lines:
            yield Batch(lines, list(zip(*rows, strict=True)))

    def _objects(self) -> Iterator[tuple[int, dict[str, object]] | Fault]:
        with self._file.unpacked() as file:
            number = blank = 0
            while line := file.readline(LINE_BYTES_MAX):
                number += 1
                if len(line) >= LINE_BYTES_MAX:
                    yield Fault(number, None, f"is longer than {LINE_BYTES_MAX:,} bytes")
                    return
                if number == 1:
                    line = line.removeprefix(BOM)
                blank = 0 if line.strip() else blank + 1
                if blank > BLANK_LINES_MAX:
                    yield Fault(number, None, TOO_BLANK)
                    return
                if not blank:
                    found = _object(line)
                    yield Fault(number, None, found) if isinstance(found, str) else (number, found)


def _object(line: bytes) -> dict[str, object] | str:
    """Return the object, or why there is none."""
    try:
        found = json.loads(
            line.decode(),
            parse_float=_decimal,
            parse_int=_integer,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique,
        )
    except UnicodeDecodeError:
        return "is not UTF-8"
    except _Unread as error:
        return str(error)
    except (ValueError, RecursionError):
        return "is no JSON"
    return found if isinstance(found, dict) else "is no JSON object"


class _Unread(Exception):
    pass


def _decimal(text: str) -> Decimal:
    if len(text) > DIGITS_MAX:
        raise _Unread("has a number with too many digits")
    try:
        return Decimal(text)
    except ArithmeticError as error:
        raise _Unread("has a number that is out of range") from error


def _integer(text: str) -> int:
    if len(text) > DIGITS_MAX:
        raise _Unread("has a number with too many digits")
    if text == "-0":
        raise _Unread("has a minus zero: something was lost beside the sign")
    return int(text)


def _refuse_constant(_text: str) -> None:
    raise _Unread("has NaN or infinity, which JSON doesn't have")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _Unread("has one name twice")
    return found
