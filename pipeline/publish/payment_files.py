"""Files of payments of every form that is read, told apart by their bytes: one reader for publishing and training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pipeline.publish.arrow_files import ARROW, PARQUET, ArrowTable
from pipeline.publish.columns import Batch
from pipeline.publish.control_totals import totals_of
from pipeline.publish.csv_files import CsvTable
from pipeline.publish.file_map import MAP_BYTES_MAX, FileMap, map_of
from pipeline.publish.iso20022.mapping import Account
from pipeline.publish.iso20022.message_files import MessageSource
from pipeline.publish.iso20022.told import rules_of
from pipeline.publish.json_files import BOM, JsonTable
from pipeline.publish.map_effects import refuse_delimited_rules
from pipeline.publish.payment_source import ControlTotals, Fault, FilePayment, PaymentSource, Unreadable
from pipeline.publish.plan import Plan
from pipeline.publish.table_files import GZIP, Table, WatchedFile

NO_MAP: Final = FileMap()
_PARQUET_NAMES: Final = frozenset({".parquet", ".pq"})
_ARROW_NAMES: Final = frozenset({".feather", ".arrow", ".ipc"})
_JSON_NAMES: Final = frozenset({".json", ".jsonl", ".ndjson"})
_WIDE_XML: Final = (b"\xff\xfe<\x00", b"\xfe\xff\x00<")
"""How XML in UTF-16 begins, so that its reader names what is wrong."""
_OTHERS: Final = (
    (GZIP, "packed by gzip twice", "Unpack it once."),
    (b"PARE", "an encrypted parquet file", "Decrypt it first."),
    (b"FEA1", "a Feather file of version 1", "Write it as parquet."),
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook", "Save the sheet as CSV, or unpack the archive."),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", "Save the sheet as CSV."),
    (b"BZh", "packed by bzip2", "Unpack it, or pack it by gzip."),
    (b"\xfd7zXZ\x00", "packed by xz", "Unpack it, or pack it by gzip."),
    (b"\x28\xb5\x2f\xfd", "packed by Zstandard", "Unpack it, or pack it by gzip."),
    (b"\x04\x22\x4d\x18", "packed by LZ4", "Unpack it, or pack it by gzip."),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "Unpack it, or pack it by gzip."),
    (b"\xff\xff\xff\xff", "an Arrow stream", "Write it as an Arrow file (Feather 2), or as parquet."),
    (b"ORC", "an ORC file", "Write it as parquet."),
    (b"Obj\x01", "an Avro file", "Write it as parquet."),
    (b"SQLite format 3\x00", "an SQLite database", "Export a table as CSV."),
    (b"%PDF", "a PDF", "Export the payments as CSV."),
    (b"<", "HTML, which is not read", "Give CSV, JSON lines, parquet, Arrow or a message of ISO 20022."),
    (b"[", "a JSON array", "Write one JSON object a line."),
)
"""How files that are not read begin, what they are, and what helps."""


class TableSource:
    """The payments of a file with columns and rows. A column without a place is refused, unless the map ignores it."""

    part: Final = "column"
    left_out: Mapping[str, int] = MappingProxyType({})

    def __init__(
        self, file: WatchedFile, table: Table, rules: FileMap, totals: ControlTotals, *, with_labels: bool
    ) -> None:
        self.name, self._file, self._table, self.totals = file.name, file, table, totals
        self._plan = Plan(file.name, table.columns, rules, with_labels=with_labels)

    @property
    def unit(self) -> str:
        return self._table.unit

    @property
    def count(self) -> int | None:
        return self._table.count

    @property
    def is_whole(self) -> bool:
        return self.totals.is_said

    def read(self) -> Iterator[FilePayment | Fault]:
        rows = 0
        for found in self._table.batches(self._plan.places):
            if isinstance(found, Batch):
                rows += len(found.lines)
                self._file.refuse_rows(rows)
                yield from self._plan.payments(found)
            else:
                yield found

    def read_to_its_end(self) -> None:
        self._file.read_to_its_end()

    def require_same(self) -> None:
        self._file.require_same()


def open_payments(
    path: Path,
    *,
    with_labels: bool,
    rules: FileMap = NO_MAP,
    accounts: Mapping[str, Account] | None = None,
    payments: int | None = None,
    sums: Sequence[str] = (),
) -> PaymentSource:
    """Open a file of payments, with their labels if asked. Raises Unreadable, here and while it is read.

    `accounts`: what no message of ISO 20022 says of its payers; no other file needs it. `payments`, `sums`: what the
    whole file comes to, each sum as EUR=1234.50.
    """
    totals = totals_of(rules.file, payments, sums)
    file = WatchedFile(path)
    if _is_xml(file):
        if with_labels:
            raise Unreadable(
                f"{file.name} is XML, and no message says which payments were frauds.", "Leave labels out."
            )
        return MessageSource(file, rules_of(rules, accounts), totals)
    if accounts is not None:
        raise Unreadable(
            f"{file.name} is no message of ISO 20022, and only those need accounts.", "Leave --accounts out."
        )
    return TableSource(file, _table(file, rules), rules, totals, with_labels=with_labels)


def read_map(path: Path | None) -> FileMap:
    """Read a mapping file, if there is one. Raises Unreadable."""
    if path is None:
        return NO_MAP
    file = WatchedFile(path)
    with file.opened() as opened:
        return map_of(opened.read(MAP_BYTES_MAX + 1), file.name)


def _is_xml(file: WatchedFile) -> bool:
    head = file.head()
    if file.path.name.lower().endswith((".xml", ".xml.gz")):
        return True
    text = head.removeprefix(BOM).lstrip()
    is_page = text[:32].lower().startswith((b"<html", b"<!doctype html"))
    return (text.startswith(b"<") and not is_page) or head.startswith(_WIDE_XML)


def _table(file: WatchedFile, rules: FileMap) -> Table:
    with file.opened() as opened:
        raw = opened.read(8)
    head = file.head()
    is_packed, text = raw.startswith(GZIP), head.removeprefix(BOM).lstrip()
    suffix = file.path.with_suffix("").suffix.lower() if is_packed else file.path.suffix.lower()
    if not head.strip():
        raise Unreadable(f"{file.name} is empty.", "Look at the program that wrote it.")
    if head[257:262] == b"ustar":
        raise Unreadable(f"{file.name} is a tar archive.", "Unpack it.")
    magic = next((each for each in (PARQUET, ARROW) if head.startswith(each)), None)
    if magic is not None:
        if is_packed:
            raise Unreadable(f"{file.name} is parquet or Arrow, packed by gzip.", "Unpack it first.")
        refuse_delimited_rules(rules)
        return ArrowTable(file, magic)
    for begins, what, fix in _OTHERS:
        if text.startswith(begins):
            raise Unreadable(f"{file.name} is {what}.", fix)
    if text.startswith(b"{"):
        refuse_delimited_rules(rules)
        return JsonTable(file)
    if suffix in _PARQUET_NAMES | _ARROW_NAMES | _JSON_NAMES:
        raise Unreadable(f"{file.name} is not what its name says: it begins otherwise.", "Look at what wrote it.")
    return CsvTable(file, head, rules)
