"""The id of an execution, from the payment as its record holds it. It follows from nothing else, so that two decisions
about one payment lead to one execution."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID, uuid5

EXECUTIONS: Final = UUID("2d3f1c52-7b0e-5a44-9c1d-51f7a0c8e6b1")
CHANNELS: Final = ("OTHER", "CARD", "FASTER_PAYMENT", "BACS", "CHAPS", "SEPA", "SWIFT", "INTERNAL")


def execution_id(payment: Mapping[str, Any]) -> str:
    system = payment.get("source_system") or ""
    return str(uuid5(EXECUTIONS, "\n".join((system, payment["transaction_id"], payment_digest(payment).hex()))))


def payment_digest(payment: Mapping[str, Any]) -> bytes:
    """The SHA-256 of the payment's fields as Avro writes them, in the order of the first `transaction.v1`, the segments
    sorted by name in one block; then, of what later versions added, name and value of what the payment has."""
    segments = payment["segments"]
    parts = [
        _text(payment["transaction_id"]),
        _text(payment["account_id"]),
        _long(payment["amount_minor"]),
        _text(payment["currency"]),
        _long(payment["event_time_ms"]),
        _text(payment["beneficiary_account_id"]),
        _optional_text(payment["beneficiary_name"]),
        _text(payment["beneficiary_country"]),
        _optional_long(payment["beneficiary_opened_at_ms"]),
        _optional_text(payment["reference"]),
        _long(CHANNELS.index(payment["channel"])),
        _optional_text(payment["ip_address"]),
        _optional_text(payment["device_id"]),
        _long(payment["account_opened_epoch_day"]),
        _text(payment["account_time_zone"]),
        _long(len(segments)) if segments else b"",
        *(_text(name) + _text(segments[name]) for name in sorted(segments)),
        b"\0",
    ]
    if payment.get("source_system") is not None:
        parts += [_text("source_system"), _text(payment["source_system"])]
    return hashlib.sha256(b"".join(parts)).digest()


def _optional_text(text: str | None) -> bytes:
    return b"\0" if text is None else b"\2" + _text(text)


def _optional_long(number: int | None) -> bytes:
    return b"\0" if number is None else b"\2" + _long(number)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _long(len(encoded)) + encoded


def _long(number: int) -> bytes:
    rest, encoded = number * 2 if number >= 0 else -number * 2 - 1, bytearray()
    while rest > 127:
        encoded.append(rest % 128 + 128)
        rest //= 128
    encoded.append(rest)
    return bytes(encoded)
