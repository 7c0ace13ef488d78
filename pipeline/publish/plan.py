"""How the columns of a file become payments: in the fields of `transaction.v1`, or in the Handbook's short form.

Invariants
1. Every column is read, or is declared to be ignored. None is read for two fields, and no field from two columns.
2. A row becomes a payment only if each of its values is what its field demands.
3. One file gives the same payments whoever reads it: publishing and training use this plan.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from difflib import get_close_matches
from itertools import repeat
from typing import Any, Final, NamedTuple, cast

from pipeline.domain.payment import AMOUNT_MINOR_MAX, Channel, Transaction
from pipeline.publish.amounts import amount_minor_of
from pipeline.publish.columns import Batch, Column, ColumnKind, plain_name
from pipeline.publish.demands import OPTIONAL, demand
from pipeline.publish.file_map import FIELDS, FileMap
from pipeline.publish.map_effects import COUNTED, refuse_without_effect
from pipeline.publish.payment_source import Fault, FilePayment, Unreadable, Wrong
from pipeline.publish.plain_values import Convert, as_is, plain

HANDBOOK_EPOCH_MS: Final = 1_522_540_800_000  # 2018-04-01T00:00:00Z, which tx_time_s counts from
SHORT_FORM: Final = ("transaction_id", "tx_time_s", "customer_id", "terminal_id", "amount_minor")
LABEL: Final = "fraud"
_SHORT_ONLY: Final = ("tx_time_s", "customer_id", "terminal_id")
_SHORT_READ: Final = frozenset({*SHORT_FORM, "amount", LABEL})
_SHORT_IGNORED: Final = frozenset({"scenario"})  # the Handbook's kind of fraud
_SPELLINGS: Final = {
    "amount_minor": ("amount_minor", "amount"),
    **{counted: (counted, written) for written, counted in COUNTED.items()},
}
"""A transaction's field, and the names of columns that may hold it."""
_OPENED_EPOCH_DAY: Final = 16_436  # 2015-01-01: the short form doesn't say when its accounts were opened
_FIX: Final = "Name the columns as docs/files.md does, or say in a map (--map) which is which."


class _Place(NamedTuple):
    """What gives a field: a column, or else the same value for every row."""

    field: str
    column: int | None
    name: str  # for faults
    convert: Convert
    constant: object = None


class Plan:
    """Makes payments of a file's batches. Raises Unreadable where columns are missing, unknown, or there twice."""

    def __init__(self, file: str, columns: Sequence[Column], rules: FileMap, *, with_labels: bool) -> None:
        found = _assigned(file, columns, rules)
        self._is_short = _is_short(found, rules)
        place = _PlaceMaker(file, columns, rules, found, self._is_short)
        if with_labels and not place.has(LABEL):
            raise Unreadable(f"{file} has no column '{LABEL}'.", "Add it (0 or 1), or publish without --labels.")
        self._label = place(LABEL) if with_labels else None
        segments = _segment_columns(file, columns, rules)
        for name, at in segments.items():
            _refuse_kind(file, f"segment {name}", columns[at])
        self._segments = [
            _Place(f"segment {name}", at, columns[at].name, _segment(columns[at], rules))
            for name, at in segments.items()
        ]
        self._segment_names = list(rules.segments)
        if self._is_short:
            self._places = [place(name) for name in ("transaction_id", *_SHORT_ONLY, place.spelling("amount_minor"))]
        else:
            self._places = [place(place.spelling(name)) for name in Transaction._fields]

    @property
    def places(self) -> frozenset[int]:
        """The places of the columns that are read."""
        read = [*self._places, *self._segments, *([] if self._label is None else [self._label])]
        return frozenset(place.column for place in read if place.column is not None)

    def payments(self, batch: Batch) -> Iterator[FilePayment | Fault]:
        """Yield the rows' payments, or all faults of a row, in their order."""
        faults: dict[int, list[Fault]] = {}
        fields = [_converted(place, batch, faults) for place in self._places]
        labels = repeat(None) if self._label is None else _converted(self._label, batch, faults)
        if self._is_short:
            fields[-1] = _minor(self._places[-1], fields[-1], repeat("GBP"), batch, faults)
            payments = _made(_short_payment, fields, faults)
        else:
            self._complete(fields, batch, faults)
            payments = _made(_whole_payment, fields, faults)
        for row, (line, payment, label) in enumerate(zip(batch.lines, payments, labels, strict=False)):
            if payment is not None and row not in faults:
                yield FilePayment(line, payment, label)
            else:
                yield from faults[row]

    def _complete(self, fields: list[Any], batch: Batch, faults: dict[int, list[Fault]]) -> None:
        """Make the amounts minor, and the segments of columns one dict a payment."""
        amount, currency = Transaction._fields.index("amount_minor"), Transaction._fields.index("currency")
        fields[amount] = _minor(self._places[amount], fields[amount], fields[currency], batch, faults)
        if self._segments:
            values = zip(*(_converted(place, batch, faults) for place in self._segments), strict=True)
            fields[Transaction._fields.index("segments")] = [
                {name: value for name, value in zip(self._segment_names, row, strict=True) if value is not None}
                for row in values
            ]


class _PlaceMaker:
    """Finds what gives a field, once."""

    def __init__(
        self, file: str, columns: Sequence[Column], rules: FileMap, found: Mapping[str, int], is_short: bool
    ) -> None:
        self._file, self._columns, self._rules, self._found = file, columns, rules, found
        self._is_short = is_short

    def has(self, name: str) -> bool:
        return name in self._found or name in self._rules.constants

    def spelling(self, field: str) -> str:
        """Return the name under which the file has the field; the field's own where it has none."""
        names = [name for name in _SPELLINGS.get(field, (field,)) if self.has(name)]
        if len(names) > 1:
            raise Unreadable(f"{self._file} has both '{names[0]}' and '{names[1]}'.", "Ignore one of them in a map.")
        return names[0] if names else field

    def __call__(self, name: str) -> _Place:
        if name not in FIELDS:  # a field that no file has yet
            return _Place(name, None, name, as_is, Transaction._field_defaults[name])
        key = "short transaction_id" if self._is_short and name == "transaction_id" else name
        wanted = demand(key, self._rules)
        if name in self._found:
            at = self._found[name]
            column = self._columns[at]
            _refuse_kind(self._file, name, column)
            return _Place(name, at, column.name, _joined(plain(name, column, self._rules), wanted))
        if name in self._rules.constants:
            try:
                return _Place(name, None, name, wanted, wanted(self._rules.constants[name]))
            except Wrong as wrong:
                raise Unreadable(f"The map's constant '{name}' {wrong}.", "Correct the map.") from wrong
        if name in OPTIONAL:
            return _Place(name, None, name, wanted, wanted(None))
        raise Unreadable(f"{self._file} lacks the column '{name}'.", _FIX)


def short_payment(
    transaction_id: int, tx_time_s: int, customer_id: int, terminal_id: int, amount_minor: int
) -> Transaction:
    """Make a payment of the short form: an old account in UTC pays a named terminal of unknown age in GBP by card."""
    return Transaction(
        f"hb-{transaction_id:09d}", f"cust-{customer_id:06d}", amount_minor, "GBP",
        HANDBOOK_EPOCH_MS + tx_time_s * 1000, f"term-{terminal_id:06d}", f"Terminal {terminal_id:06d}",
        "GB", None, "card payment", Channel.CARD, None, None, _OPENED_EPOCH_DAY, "UTC", {},
    )  # fmt: skip


def _short_payment(fields: tuple[Any, ...]) -> Transaction:
    return short_payment(*fields)


def _whole_payment(fields: tuple[Any, ...]) -> Transaction:
    return Transaction._make(fields)


def _made(
    make: Callable[[tuple[Any, ...]], Transaction], fields: Sequence[Any], faults: Mapping[int, object]
) -> Iterator[Transaction | None]:
    for row, values in enumerate(zip(*fields, strict=False)):
        yield None if row in faults else make(values)


def _converted(place: _Place, batch: Batch, faults: dict[int, list[Fault]]) -> Any:
    if place.column is None:
        return [place.constant] * len(batch.lines)
    values, convert = batch.values[place.column], place.convert
    try:
        return [convert(value) for value in values]
    except Wrong:
        return [_each(convert, value, place.name, row, batch, faults) for row, value in enumerate(values)]


def _each(convert: Convert, value: object, name: str, row: int, batch: Batch, faults: dict[int, list[Fault]]) -> object:
    try:
        return convert(value)
    except Wrong as wrong:
        faults.setdefault(row, []).append(Fault(batch.lines[row], name, str(wrong)))
        return None


def _minor(place: _Place, amounts: Any, currencies: Any, batch: Batch, faults: dict[int, list[Fault]]) -> Any:
    """Return amounts in minor units. A row that has a fault already has no currency, or no amount, to go by."""
    if place.field == "amount_minor":
        return amounts

    def minor(pair: object) -> object:
        amount, currency = cast(tuple[Decimal | int, str], pair)
        found = amount_minor_of(amount, currency)
        if not 0 <= found <= AMOUNT_MINOR_MAX:
            raise Wrong(f"is not 0 to {AMOUNT_MINOR_MAX} minor units")
        return found

    return [
        None if row in faults else _each(minor, pair, place.name, row, batch, faults)
        for row, pair in enumerate(zip(amounts, currencies, strict=False))
    ]


def _joined(first: Convert, second: Convert) -> Convert:
    return second if first is as_is else lambda value: second(first(value))


def _segment(column: Column, rules: FileMap) -> Convert:
    words = plain("segments", column, rules)

    def convert(value: object) -> object:
        text = words(value)
        if text is None or isinstance(text, str):
            return text
        if isinstance(text, int) and not isinstance(text, bool):
            return str(text)
        raise Wrong("is no text")

    return convert


def _segment_columns(file: str, columns: Sequence[Column], rules: FileMap) -> dict[str, int]:
    return {name: _place_of(file, columns, wanted) for name, wanted in rules.segments.items()}


def _assigned(file: str, columns: Sequence[Column], rules: FileMap) -> dict[str, int]:
    """Return the place of each field's column."""
    if not rules.columns and not any(plain_name(column.name) in FIELDS for column in columns):
        # No name is quoted: they may be values of a payment.
        raise Unreadable(f"{file} has no column of a payment: it may lack its line of column names.", _FIX)
    _refuse_repeated(file, columns, rules)
    found = {field: _place_of(file, columns, wanted) for field, wanted in rules.columns.items()}
    taken = {*found.values(), *_segment_columns(file, columns, rules).values()}
    if len(taken) < len(found) + len(rules.segments):
        raise Unreadable(f"The map gives one column of {file} to two fields.", "Correct the map.")
    ignored = {plain_name(name) for name in rules.file.ignore}
    taken |= {at for at, column in enumerate(columns) if at not in taken and plain_name(column.name) in ignored}
    unknown = []
    for at, column in enumerate(columns):
        if at in taken:
            continue
        name = plain_name(column.name)
        if name in FIELDS and name not in found and name not in rules.constants:
            found[name] = at
        else:
            unknown.append(at)
    if _is_short(found, rules):
        unknown = [at for at in unknown if plain_name(columns[at].name) not in _SHORT_IGNORED]
        unknown += [at for field, at in found.items() if field not in _SHORT_READ]
    _refuse_missing(file, found, rules)
    if unknown:
        _refuse_said_twice(file, columns, unknown, rules)
        raise Unreadable(*_unknown(file, [columns[at].name for at in sorted(unknown)], found))
    _refuse_twice_given(found, rules)
    refuse_without_effect(columns, found, _segment_columns(file, columns, rules), rules)
    return found


def _refuse_said_twice(file: str, columns: Sequence[Column], unknown: Sequence[int], rules: FileMap) -> None:
    for at in unknown:
        name = plain_name(columns[at].name)
        if name in rules.constants:
            raise Unreadable(f"{file} has the column '{name}', and the map a constant of that name.",
                             "Leave one of them out; file.ignore does so with the column.")  # fmt: skip


def _refuse_twice_given(found: Mapping[str, int], rules: FileMap) -> None:
    if rules.segments and {"segments"} & {*found, *rules.constants}:
        raise Unreadable("The map gives segments, and the file has them, too.", "Leave one of them out.")
    if _is_short(found, rules) and (unread := sorted(rules.constants.keys() - _SHORT_READ)):
        raise Unreadable(f"The map's constant '{unread[0]}' has no place in the short form.", "Correct the map.")
    if _is_short(found, rules) and rules.segments:
        raise Unreadable("The map's segments have no place in the short form.", "Correct the map.")


def _refuse_repeated(file: str, columns: Sequence[Column], rules: FileMap) -> None:
    """Columns that the map ignores may share a name, as the empty ones do that spreadsheets save at the end."""
    seen, ignored = set[str](), {plain_name(name) for name in rules.file.ignore}
    for column in columns:
        name = plain_name(column.name)
        if name in seen and name not in ignored:
            raise Unreadable(f"{file} has two columns {_quoted(column.name)}.", "Leave one of them out of the file.")
        seen.add(name)


def _place_of(file: str, columns: Sequence[Column], wanted: str) -> int:
    for at, column in enumerate(columns):
        if column.name == wanted:
            return at
    for at, column in enumerate(columns):
        if plain_name(column.name) == plain_name(wanted):
            return at
    raise Unreadable(f"{file} has no column {_quoted(wanted)}, which the map names.", "Correct the map.")


def _refuse_missing(file: str, found: Mapping[str, int], rules: FileMap) -> None:
    """Name the first column that is missing, before any that is unknown: it may be the same one, misspelt."""
    known = {*found, *rules.constants}
    needed: Sequence[str] = Transaction._fields
    if set(_SHORT_ONLY) & known:
        needed = SHORT_FORM
    for field in needed:
        if field not in OPTIONAL and not known & set(_SPELLINGS.get(field, (field,))):
            raise Unreadable(f"{file} lacks the column '{field}'.", _FIX)


def _unknown(file: str, names: Sequence[str], found: Mapping[str, int]) -> tuple[str, str]:
    close = get_close_matches(plain_name(names[0]), [name for name in FIELDS if name not in found], 1)
    hint = f"If it is '{close[0]}', name it so" if close else "Name it in a map (--map), under columns"
    more = f" and {len(names) - 1} more columns" if len(names) > 1 else ""
    return f"{file} has the column {_quoted(names[0])}{more}, which no field takes.", f"{hint}, or under file.ignore."


def _quoted(name: str) -> str:
    return f"'{name[:60]}'"


def _is_short(found: Mapping[str, int], rules: FileMap) -> bool:
    return bool({*found, *rules.constants} & set(_SHORT_ONLY))


def _refuse_kind(file: str, name: str, column: Column) -> None:
    """Refuse a column that no row could be read from."""
    is_nested = column.kind is ColumnKind.PAIRS and name != "segments"
    if column.kind is ColumnKind.OTHER or is_nested:
        raise Unreadable(
            f"{file} has the column {_quoted(column.name)} of type {column.type_name[:60]}, which is not read.",
            "Write it as texts, integers, decimals, dates or timestamps.",
        )
