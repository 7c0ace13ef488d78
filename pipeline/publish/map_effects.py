"""Keys of a map that change nothing in a file: each is refused, since somebody counts on it.

The rule for times of a column that counts milliseconds by its name, for one, would leave seconds to be read as these. A
key that says what holds without it changes nothing either, and contradicts nothing: it may stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.publish.columns import Column, ColumnKind, plain_name
from pipeline.publish.file_map import DATES, FileMap, FileRules, TimeRule
from pipeline.publish.payment_source import Unreadable

COUNTED: Final = {
    "event_time": "event_time_ms",
    "beneficiary_opened_at": "beneficiary_opened_at_ms",
    "account_opened": "account_opened_epoch_day",
}
"""A field that people write, and the one whose name says its unit."""
_TEXTS: Final = frozenset({ColumnKind.TEXT, ColumnKind.BINARY, ColumnKind.MIXED})
_TRANSLATED: Final = _TEXTS | {ColumnKind.INTEGER, ColumnKind.BOOLEAN}
_FLOATS: Final = frozenset({ColumnKind.DOUBLE, ColumnKind.SINGLE, ColumnKind.OTHER})
"""A type that isn't read is refused as that."""
_WORDED: Final = _TEXTS | {ColumnKind.PAIRS}
_NUMBERS: Final = frozenset({"amount", "amount_minor", "tx_time_s", "customer_id", "terminal_id", *COUNTED.values()})
"""Fields whose texts are read by the signs in numbers."""
_DELIMITED: Final = ("encoding", "separator", "unended")
_UNSAID: Final = FileRules()


def refuse_without_effect(
    columns: Sequence[Column], found: Mapping[str, int], segments: Mapping[str, int], rules: FileMap
) -> None:
    """Raises Unreadable for a rule of the file, for times, or for words, that no value of the file is read by.

    found, segments: the places of the columns that are read.
    """
    for key in _idle_of_file(columns, found, segments, rules):
        raise _without_effect(f"file.{key}")
    for field, rule in rules.times.items():
        for key in _idle_keys(field, rule, columns, found, rules):
            raise _without_effect(f"times.{field}{key}")
    for field in rules.values:
        if field not in found or columns[found[field]].kind not in _TRANSLATED:
            raise _without_effect(f"values.{field}")


def refuse_delimited_rules(rules: FileMap) -> None:
    """Raises Unreadable for a rule of delimited text, about a file of another form."""
    for key in _said_of_file(rules):
        if key in _DELIMITED:
            raise _without_effect(f"file.{key}")


def _said_of_file(rules: FileMap) -> list[str]:
    return [key for key in sorted(rules.file.model_fields_set) if getattr(rules.file, key) != getattr(_UNSAID, key)]


def _idle_of_file(
    columns: Sequence[Column], found: Mapping[str, int], segments: Mapping[str, int], rules: FileMap
) -> list[str]:
    kinds = {columns[at].kind for at in (*found.values(), *segments.values())}
    numbers = {columns[at].kind for field, at in found.items() if field in _NUMBERS}
    has_number = bool(numbers & _TEXTS) or any(
        isinstance(value, str) for field, value in rules.constants.items() if field in _NUMBERS
    )
    has_words = bool(kinds & _WORDED)
    is_heeded = {
        "decimal": has_number,
        "grouping": has_number,
        "doubles": bool(kinds & _FLOATS),
        "nan": bool(kinds & _FLOATS),
        "binary": ColumnKind.BINARY in kinds,
        "blanks": has_words,
        "absent": has_words,
        "kept": has_words,
        "ignore": {plain_name(name) for name in rules.file.ignore} <= {plain_name(each.name) for each in columns},
    }
    return [key for key in _said_of_file(rules) if not is_heeded.get(key, True)]


def _idle_keys(
    field: str, rule: TimeRule, columns: Sequence[Column], found: Mapping[str, int], rules: FileMap
) -> list[str]:
    """Return the rule's keys that take no effect; an empty one stands for the whole rule."""
    if field in found:
        idle = _idle_in(columns[found[field]], rule, is_counted=False)
        return idle + ([".below_ms"] if _cuts_nothing(field, columns[found[field]], rule) else [])
    if COUNTED[field] in found:
        return _idle_in(columns[found[COUNTED[field]]], rule, is_counted=True)
    return [] if field in rules.constants else [""]


def _cuts_nothing(field: str, column: Column, rule: TimeRule) -> bool:
    """Whether nothing finer than milliseconds, which `below_ms` would cut, can stand in the column."""
    if rule.below_ms == "refuse":
        return False
    unit = column.unit if column.kind is ColumnKind.TIMESTAMP else rule.unit
    is_coarse = unit in ("s", "ms") or (rule.format is not None and "%f" not in rule.format)
    return field in DATES or column.kind is ColumnKind.DATE or is_coarse


def _idle_in(column: Column, rule: TimeRule, *, is_counted: bool) -> list[str]:
    said = [key for key in ("format", "zone", "unit") if getattr(rule, key) is not None]
    if column.kind is ColumnKind.TIMESTAMP:
        return [f".{key}" for key in said if key != "zone" or column.is_zoned]
    if is_counted:
        return [""]
    if column.kind in _TEXTS:
        return []
    return [f".{key}" for key in said if key != "unit"]


def _without_effect(key: str) -> Unreadable:
    return Unreadable(
        f"The map's {key} takes no effect on this file.",
        "Leave it out, or name the column that it is for under columns.",
    )
