"""Delimited text as people and spreadsheets save it: every value a text, with the line that it stands in.

The standard library reads it, in its strict mode (docs/adr/0038): it says in which line of the file a row stands, and
refuses a quote that is never closed. Encoding and separator are recognised where the file itself shows them, by a byte
order mark or its names of columns, and declared in the map otherwise.

A file that is cut off in its last value is a file of other values: 1000.00 becomes 100. Only the end of its last line
shows that it isn't, so a file without one is refused, unless the map says that its writer leaves it out.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Set
from contextlib import contextmanager
from typing import BinaryIO, Final, NamedTuple

from pipeline.publish.columns import Batch, Column, ColumnKind, plain_name
from pipeline.publish.file_map import FIELDS, FileMap
from pipeline.publish.payment_source import Fault, Unreadable
from pipeline.publish.table_files import BATCH_ROWS, BLANK_LINES_MAX, TOO_BLANK, WatchedFile

SEPARATORS: Final = (",", ";", "\t", "|")
LINE_CHARACTERS_MAX: Final = 256 * 1024
"""A payment with every text at its limit takes 2,000. A longer line, or row of lines, is none of a file of payments."""
VALUE_CHARACTERS_MAX: Final = 128 * 1024
_MARKS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16's, which its own begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
_HEADER_LINES_MAX: Final = 50
"""Blank lines above the names, and names that are quoted over several lines."""
_UNENDED: Final = (
    "has no line end, so the file may be cut off in it: get it anew, or declare unended = 'whole' in the map if its "
    "writer never ends the last line"
)
_NO_BYTES: Final = "Declare encoding in a map (--map), such as 'cp1252', or save the file as UTF-8."


class CsvTable:
    """Raises Unreadable where the file can't be read as columns."""

    unit = "line"
    count = None

    def __init__(self, file: WatchedFile, head: bytes, rules: FileMap) -> None:
        self._file = file
        self._encoding = _encoding(file.name, head, rules.file.encoding)
        self._is_end_needed = rules.file.unended == "refuse"
        self._header = self._found_header(rules)
        self.columns = [Column(name, ColumnKind.TEXT) for name in self._header.names]

    def batches(self, _wanted: Set[int], /) -> Iterator[Batch | Fault]:
        with self._file.unpacked() as opened, _lines(opened, self._encoding) as lines:
            for _ in range(self._header.lines):
                next(lines)
            is_sound = True
            for found in _batched(_rows(lines, self._header.separator, len(self.columns))):
                is_sound &= not isinstance(found, Fault)
                yield found
            if self._is_end_needed and is_sound and not lines.is_ended:
                yield Fault(lines.number, None, _UNENDED)

    def _found_header(self, rules: FileMap) -> _Header:
        wanted = {plain_name(name) for name in (*FIELDS, *rules.columns.values(), *rules.file.ignore)}
        try:
            with self._file.unpacked() as opened, _lines(opened, self._encoding) as lines:
                found = _header(lines, rules.file.separator, wanted)
        except _Broken as broken:
            raise Unreadable(f"{self._file.name}, line {broken.fault.line}, {broken.fault.what}.", _NO_BYTES) from None
        if any(_LONE_SURROGATE.search(name) for name in found.names):
            raise Unreadable(f"{self._file.name} has column names that are not in {self._encoding}.", _NO_BYTES)
        return found


class _Header(NamedTuple):
    lines: int  # that the names take, with what stands above them
    names: list[str]
    separator: str


class _Broken(Exception):
    """Nothing behind this fault can be read."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.what)
        self.fault = fault


class _Lines:
    """The lines of a text with their ends, counted; a row of them, like a line, is bounded. Raises _Broken."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text, self.number, self._row_characters = text, 0, 0
        self._blank = 0
        self.is_ended = True
        """Whether the last line that was read has its end."""

    def begin_row(self) -> None:
        self._row_characters = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        try:
            line = self._text.readline(LINE_CHARACTERS_MAX)
        except UnicodeError as error:
            what = f"is followed by bytes that are not {self._text.encoding}"
            raise _Broken(Fault(max(self.number, 1), None, what)) from error
        if not line:
            raise StopIteration
        self.number += 1
        self.is_ended = line.endswith(("\n", "\r"))
        self._blank = self._blank + 1 if line.isspace() else 0
        if self._blank > BLANK_LINES_MAX:
            raise _Broken(Fault(self.number, None, TOO_BLANK))
        self._row_characters += len(line)
        if self._row_characters >= LINE_CHARACTERS_MAX:
            whose = "is" if len(line) == self._row_characters else "makes a row"
            raise _Broken(Fault(self.number, None, f"{whose} longer than {LINE_CHARACTERS_MAX:,} characters"))
        return line


@contextmanager
def _lines(opened: BinaryIO, encoding: str) -> Iterator[_Lines]:
    """Open bytes as lines. Bytes that are not in the encoding become lone surrogates, which no value may hold; in
    UTF-16 and UTF-32 nothing behind them can be read."""
    errors = "strict" if encoding.startswith(("utf-16", "utf-32")) else "surrogateescape"
    text = io.TextIOWrapper(opened, encoding, errors, newline="")
    try:
        yield _Lines(text)
    finally:
        text.detach()


def _encoding(name: str, head: bytes, declared: str | None) -> str:
    """Return the encoding that a byte order mark shows, or the map declares, or else UTF-8."""
    shown = next((encoding for mark, encoding in _MARKS if head.startswith(mark)), None)
    if shown is not None:
        if declared is not None and not declared.startswith(shown.removesuffix("-sig")):
            raise Unreadable(
                f"{name} begins with the mark of {shown}, and the map declares {declared}.", "Correct the map."
            )
        return shown
    if declared is None and head.count(0) > len(head) // 4:
        raise Unreadable(f"{name} looks like UTF-16 without a byte order mark.", "Declare encoding in a map (--map).")
    if declared in ("utf-16", "utf-32"):
        fix = "Declare utf-16-le or utf-16-be." if declared == "utf-16" else "Save it as UTF-8."
        raise Unreadable(
            f"{name} begins without the mark that {declared} needs, so its order of bytes is unknown.", fix
        )
    return declared or "utf-8"


def _header(lines: _Lines, separator: str | None, wanted: set[str]) -> _Header:
    """Find the names of columns, and the separator by which most of them are names that are wanted."""
    kept = list[str]()
    for line in lines:
        said = line.strip("\r\n")
        if len(said) == 5 and said[:4].lower() == "sep=":  # Excel's own
            separator = separator or said[4]
        elif line.strip():
            kept.append(line)
            break
        if lines.number >= _HEADER_LINES_MAX:
            break
    above = lines.number - len(kept)
    found = [_first_row(lines, kept, above, each) for each in (separator or SEPARATORS)]
    return max(found, key=lambda header: sum(plain_name(name) in wanted for name in header.names))


def _first_row(lines: _Lines, kept: list[str], above: int, separator: str) -> _Header:
    """Read the names by a separator: they end where the reader of rows ends them, whatever quotes they hold."""
    reader = csv.reader(_again(lines, kept), delimiter=separator, strict=True)
    try:
        names = next(reader, [])
    except (csv.Error, _Broken):
        names = []
    return _Header(above + reader.line_num, names, separator)


def _again(lines: _Lines, kept: list[str]) -> Iterator[str]:
    """Yield the lines that were kept, and those that follow as they are asked for, which are kept, too."""
    for number in range(_HEADER_LINES_MAX):
        if number == len(kept):
            line = next(lines, None)
            if line is None:
                return
            kept.append(line)
        yield kept[number]


def _rows(lines: _Lines, separator: str, width: int) -> Iterator[tuple[int, list[str]] | Fault]:
    """Yield each row with the line that it begins in. Lines that hold nothing are no rows."""
    csv.field_size_limit(VALUE_CHARACTERS_MAX)
    reader = csv.reader(lines, delimiter=separator, strict=True)
    while True:
        begin = lines.number + 1
        lines.begin_row()
        try:
            row = next(reader, None)
        except csv.Error as error:
            yield Fault(begin, None, _why(error))
            continue
        except _Broken as broken:
            yield broken.fault
            return
        if row is None:
            return
        if len(row) == width:
            yield begin, row
        elif row:
            yield Fault(begin, None, _why_other_width(len(row), width))


def _why(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end" in text or "field limit" in text:
        return "begins a quote that is never closed, or a value that is too long"
    if "expected after" in text:
        return "has a quote within a quoted value that is not doubled"
    return "has a line end within a value that is not quoted"


def _why_other_width(found: int, width: int) -> str:
    why = "a separator within a value needs quotes around it" if found > width else "values are missing"
    return f"has {found} values for {width} columns: {why}"


def _batched(rows: Iterator[tuple[int, list[str]] | Fault]) -> Iterator[Batch | Fault]:
    numbers, values = list[int](), list[list[str]]()
    for row in rows:
        if isinstance(row, Fault):
            yield row
            continue
        numbers.append(row[0])
        values.append(row[1])
        if len(numbers) == BATCH_ROWS:
            yield Batch(numbers, list(zip(*values, strict=True)))
            numbers, values = [], []
    if numbers:
        yield Batch(numbers, list(zip(*values, strict=True)))
