"""The rules that the map and a file of accounts give to the reader of messages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

from pipeline.domain.payment import Channel
from pipeline.publish.demands import demand
from pipeline.publish.file_map import FileMap, TimeRule
from pipeline.publish.iso20022.mapping import Account, Rules
from pipeline.publish.payment_source import Unreadable, Wrong
from pipeline.publish.times import time_ms

_OPENED: Final = ("account_opened", "account_opened_epoch_day")
_ZONE: Final = "account_time_zone"
_CONSTANTS: Final = frozenset({*_OPENED, _ZONE, "channel"})
_TIME: Final = "event_time"
_TOTALS: Final = frozenset({"payments", "sums"})
"""Keys of the map's [file] that are about a file of any form."""
_FIX: Final = "docs/files.md says what the map of a message may hold."


def rules_of(told: FileMap, accounts: Mapping[str, Account] | None) -> Rules:
    """Raises Unreadable where the map says what no message has a place for."""
    _require_places(told)
    rule = told.times.get(_TIME, TimeRule())
    if rule.format is not None or rule.unit is not None:
        raise Unreadable("The map gives event_time a form, and ISO 20022 has one of its own.", _FIX)
    return Rules(_account(told, accounts), time_ms(rule), cast("Channel | None", _constant("channel", told)))


def _require_places(told: FileMap) -> None:
    tables = {"columns": told.columns, "segments": told.segments, "values": told.values}
    named = [f"[{name}]" for name, table in tables.items() if table]
    named += ["[file]"] if told.file.model_fields_set - _TOTALS else []
    named += [f"constants.{name}" for name in told.constants if name not in _CONSTANTS]
    named += [f"times.{name}" for name in told.times if name != _TIME and name not in told.constants]
    if named:
        raise Unreadable(f"The map's {named[0]} has no place in a message of ISO 20022.", _FIX)


def _account(told: FileMap, accounts: Mapping[str, Account] | None) -> Callable[[str], Account | None]:
    constants = [name for name in (*_OPENED, _ZONE) if name in told.constants]
    if accounts is not None and constants:
        raise Unreadable(f"Both --accounts and the map's constants.{constants[0]} say it.", "Give one of them.")
    if accounts is not None:
        return accounts.get
    if len(constants) == 1 or len(constants) > 2 or (constants and _ZONE not in constants):
        raise Unreadable("The map says of accounts when they were opened, or their zone, and not both.", _FIX)
    if not constants:
        return lambda _: None
    opened, zone = (_constant(name, told) for name in constants)
    account = Account(cast(int, opened), cast(str, zone))
    return lambda _: account


def _constant(name: str, told: FileMap) -> object:
    if name not in told.constants:
        return None
    try:
        return demand(name, told)(told.constants[name])
    except Wrong as wrong:
        raise Unreadable(f"The map's constant '{name}' {wrong}.", "Correct the map.") from wrong
