"""Payments as values.

Times are milliseconds since 1970-01-01T00:00:00Z; money is integer minor units with an ISO 4217 code (I8).
"""

from __future__ import annotations

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
    digest: bytes  # of the payment, 32 bytes; see pipeline.domain.payment_digest
