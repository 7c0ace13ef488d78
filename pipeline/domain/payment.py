"""Payments as values, and the digest by which two records are known to hold the same payment.

Times are milliseconds since 1970-01-01T00:00:00Z; money is integer minor units with an ISO 4217 code (I8).

Invariants
1. The digest is one function of the decoded payment: framing, the order of segments, how their map is cut into blocks
   and the version of the schema that wrote it don't matter.
2. Payments that differ in any field, an absent text and an empty one included, have different encodings.
3. The digest of a payment never changes, since ids follow from it: a field that the schema gains takes part only in
   payments that have it.

The canonical encoding is Avro's, of the fields of the first version of `transaction.v1` in their order, with the
segments sorted by name in one block that says no size; so the bytes of most payments are canonical as they are. Behind
it stand the later fields that the payment has, each as its name and its value.
"""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from pipeline.domain.enums import FastStrEnum

AMOUNT_MINOR_MAX: Final = 10**11
"""One billion GBP. 50,000 payments of it still sum below 2^53, the largest integer that Lua holds exactly."""


class Channel(FastStrEnum):
    """The way in which a payment is made; in the schema's order."""

    OTHER = "OTHER"
    CARD = "CARD"
    FASTER_PAYMENT = "FASTER_PAYMENT"
    BACS = "BACS"
    CHAPS = "CHAPS"
    SEPA = "SEPA"
    SWIFT = "SWIFT"
    INTERNAL = "INTERNAL"


_CHANNELS: Final = {channel: number for number, channel in enumerate(Channel)}
_ABSENT: Final = b"\x00"
_PRESENT: Final = b"\x02"
_END: Final = b"\x00"


class Transaction(NamedTuple):
    """One payment as published on `transactions.v1`; fields in the order of `schemas/transaction.v1.avsc`.

    None means that the payment doesn't say: no beneficiary name, opening time, reference, address or device is known.
    """

    transaction_id: str
    account_id: str
    amount_minor: int
    currency: str
    event_time_ms: int
    beneficiary_account_id: str
    beneficiary_name: str | None
    beneficiary_country: str
    beneficiary_opened_at_ms: int | None
    reference: str | None
    channel: Channel
    ip_address: str | None
    device_id: str | None
    account_opened_epoch_day: int
    account_time_zone: str
    segments: dict[str, str]
    source_system: str | None = None  # that gave transaction_id; ids of different systems are different payments


class Decoded(NamedTuple):
    transaction: Transaction
    body: bytes  # the Avro encoding without framing
    digest: bytes  # see payment_digest


def payment_digest(transaction: Transaction) -> bytes:
    """The SHA-256 of the canonical encoding. From a record's bytes, the payment decoder gives the same for less."""
    return hashlib.sha256(canonical_payment(transaction)).digest()


def canonical_payment(transaction: Transaction) -> bytes:
    t = transaction
    return b"".join(
        (
            _text(t.transaction_id),
            _text(t.account_id),
            _number(t.amount_minor),
            _text(t.currency),
            _number(t.event_time_ms),
            _text(t.beneficiary_account_id),
            _optional_text(t.beneficiary_name),
            _text(t.beneficiary_country),
            _ABSENT if t.beneficiary_opened_at_ms is None else _PRESENT + _number(t.beneficiary_opened_at_ms),
            _optional_text(t.reference),
            _number(_CHANNELS[t.channel]),
            _optional_text(t.ip_address),
            _optional_text(t.device_id),
            _number(t.account_opened_epoch_day),
            _text(t.account_time_zone),
            canonical_segments(t.segments),
            later_fields(t.source_system),
        )
    )


def canonical_segments(segments: dict[str, str]) -> bytes:
    if not segments:
        return _END
    entries = [_text(name) + _text(segments[name]) for name in sorted(segments)]
    return b"".join((_number(len(entries)), *entries, _END))


def later_fields(source_system: str | None) -> bytes:
    """The fields that the first version of the schema didn't have. That version's encoding says itself where it ends,
    so what follows can't be taken for a part of it."""
    return b"" if source_system is None else _text("source_system") + _text(source_system)


_SMALL: Final = tuple(bytes((number,)) for number in range(0x80))
"""The encodings of one byte. Most numbers of a payment are lengths of short texts."""


def _text(text: str) -> bytes:
    encoded = text.encode()
    length = len(encoded)
    return (_SMALL[2 * length] if length < 0x40 else _number(length)) + encoded


def _optional_text(text: str | None) -> bytes:
    return _ABSENT if text is None else _PRESENT + _text(text)


def _number(number: int) -> bytes:
    """Avro's zigzag variable-length long."""
    rest = number << 1 if number >= 0 else ((-number) << 1) - 1
    if rest < 0x80:
        return _SMALL[rest]
    encoded = bytearray()
    while rest >= 0x80:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)
