"""Keys of a map that change nothing in a file: each is refused, since somebody counts on it.

The rule for times of a column that counts milliseconds by its name, for one, would leave seconds to be read as these.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.publish.columns import Column, ColumnKind
from pipeline.publish.file_map import FileMap, TimeRule
from pipeline.publish.payment_source import Unreadable

COUNTED: Final = {
    "event_time": "event_time_ms",
    "beneficiary_opened_at": "beneficiary_opened_at_ms",
    "account_opened": "account_opened_epoch_day",
}
"""A field that people write, and the one whose name says its unit."""
_TEXTS: Final = frozenset({ColumnKind.TEXT, ColumnKind.BINARY, ColumnKind.MIXED})
_TRANSLATED: Final = _TEXTS | {ColumnKind.INTEGER, ColumnKind.BOOLEAN}


def refuse_without_effect(columns: Sequence[Column], found: Mapping[str, int], rules: FileMap) -> None:
    """Raises Unreadable for a rule for times, or for words, that no value of the file is read by.

    `found`: the places of the fields' columns.
    """
    for field, rule in rules.times.items():
        for key in _idle_keys(field, rule, columns, found, rules):
            raise _without_effect(f"times.{field}{key}")
    for field in rules.values:
        if field not in found or columns[found[field]].kind not in _TRANSLATED:
            raise _without_effect(f"values.{field}")


def _idle_keys(
    field: str, rule: TimeRule, columns: Sequence[Column], found: Mapping[str, int], rules: FileMap
) -> list[str]:
    """Return the rule's keys that take no effect; an empty one stands for the whole rule."""
    if field in found:
        return _idle_in(columns[found[field]], rule, is_counted=False)
    if COUNTED[field] in found:
        return _idle_in(columns[found[COUNTED[field]]], rule, is_counted=True)
    return [] if field in rules.constants else [""]


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
