"""The cases of the bad-input bench, and the sound payment that they spoil."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ops.bench.bad_input.wire import Parts, joined, parts_of
from pipeline.domain.refusals import RefusalCode as Code

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
STRUCTURAL: Final = frozenset({Code.DECODE_FAILED, Code.TRAILING_BYTES})
"""Codes for bytes that can't be a payment, but may be one with something behind it."""
SHIFTED: Final = frozenset(
    set(Code) - {Code.RECORD_UNREADABLE, Code.RECORD_EMPTY, Code.RECORD_TOO_LARGE, Code.FRAMING_UNKNOWN, Code.POISON}
)
"""Codes for bytes that shift all later ones, so that they may read as a payment that makes no sense."""
DAY_MS: Final = 86_400_000
EVENT_TIME_MS: Final = 1_767_225_600_000 + DAY_MS // 2  # noon on 2026-01-01, among the bench's sound payments

SOUND: Final[Mapping[str, Any]] = {
    "transaction_id": "bad",
    "account_id": "GB29-0001",
    "amount_minor": 12_345,
    "currency": "GBP",
    "event_time_ms": EVENT_TIME_MS,
    "beneficiary_account_id": "GB29-0002",
    "beneficiary_name": "Jane Smith",
    "beneficiary_country": "GB",
    "beneficiary_opened_at_ms": EVENT_TIME_MS - 400 * DAY_MS,
    "reference": "invoice 1234",
    "channel": "FASTER_PAYMENT",
    "ip_address": "192.0.2.17",
    "device_id": "device-1",
    "account_opened_epoch_day": 17_000,
    "account_time_zone": "Europe/London",
    "segments": {"postcode_area": "SW", "age_band": "30-39"},
    "source_system": None,
}


class Case(NamedTuple):
    name: str
    key: bytes | None
    value: bytes | None
    expected: frozenset[str]
    timestamp_ms: int = EVENT_TIME_MS + 200


def sound_value(name: str, **changes: Any) -> bytes:
    return joined(parts(name, changes))


def parts(name: str, changes: Mapping[str, Any]) -> Parts:
    return parts_of({**SOUND, "transaction_id": _transaction_id(name), **changes})


def _transaction_id(name: str) -> str:
    """Return an id of the case's own, so that none is a duplicate of another."""
    return "bad-" + "".join(c if c.isascii() and c.isalnum() else "-" for c in name)[:60]


def case(name: str, value: bytes | None, *expected: str) -> Case:
    return Case(name, SOUND["account_id"].encode(), value, frozenset(expected))


def changed(name: str, *expected: str, **changes: Any) -> Case:
    """Make a payment that is sound but for `changes`, keyed by its account."""
    key = str(changes.get("account_id", SOUND["account_id"])).encode("utf-8", "surrogatepass")
    return Case(name, key, sound_value(name, **changes), frozenset(expected))


def spoilt(name: str, field: str, encoded: bytes, *expected: str) -> Case:
    """Make a payment with the bytes of one field replaced."""
    return case(name, joined({**parts(name, {}), field: encoded}), *expected)
