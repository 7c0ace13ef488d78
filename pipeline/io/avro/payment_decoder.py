"""Payments from their Avro bytes, strictly.

A payment's bytes are spliced into its decision as received, so they must be what every Avro reader accepts. fastavro is
not strict enough for that; decoding with it and then comparing with a second encoding took 11 µs, and this takes 6 and
does both. tests/io/test_payment_decoder.py holds it to fastavro on whatever both accept.
"""

from __future__ import annotations

import hashlib
from typing import Final

from pipeline.domain.payment import Channel, Transaction, canonical_segments, later_fields
from pipeline.io.avro.reading import (
    Malformed,
    read_int,
    read_long,
    read_optional_long,
    read_optional_text,
    read_symbol,
    read_text,
    read_text_map,
)

_CHANNELS: Final = tuple(Channel)


def decode_payment(body: bytes, begin: int = 0) -> tuple[Transaction, int]:
    """The payment that begins there and where it ends; raises Malformed."""
    transaction, _, _, end = _whole_payment(body, begin)
    return transaction, end


def decode_with_digest(body: bytes) -> tuple[Transaction, bytes, int]:
    """The payment that the body begins with, its digest (pipeline.domain.payment) and where it ends.

    Raises Malformed. The digest is taken from the payment's own bytes, which are canonical up to the segments, since
    every other form of them is refused here: 1 µs, where encoding the payment again takes 8.
    """
    transaction, segments_begin, segments_end, end = _whole_payment(body, 0)
    segments = transaction.segments
    if _is_canonical(body[segments_begin], segments):
        canonical = body[:segments_end]
    else:
        canonical = body[:segments_begin] + canonical_segments(segments)
    if transaction.source_system is not None:
        canonical += later_fields(transaction)
    return transaction, hashlib.sha256(canonical).digest(), end


def _is_canonical(count: int, segments: dict[str, str]) -> bool:
    """Whether the encoding of the segments, whose first byte is `count`, is the canonical one.

    A block that says its size has an odd first byte, and the first of several blocks counts fewer entries.
    """
    if count != 2 * len(segments):
        return False
    before = ""
    for name in segments:  # a third of the time that sorting them takes
        if name < before:
            return False
        before = name
    return True


def _whole_payment(body: bytes, begin: int) -> tuple[Transaction, int, int, int]:
    try:
        return _payment(body, begin)
    except IndexError as error:
        raise Malformed("it is truncated") from error
    except UnicodeDecodeError as error:
        raise Malformed("a text is not UTF-8") from error


def _payment(body: bytes, at: int) -> tuple[Transaction, int, int, int]:
    """The payment, where its segments begin and end, and where it ends."""
    transaction_id, at = read_text(body, at)
    account_id, at = read_text(body, at)
    amount_minor, at = read_long(body, at)
    currency, at = read_text(body, at)
    event_time_ms, at = read_long(body, at)
    beneficiary_account_id, at = read_text(body, at)
    beneficiary_name, at = read_optional_text(body, at)
    beneficiary_country, at = read_text(body, at)
    beneficiary_opened_at_ms, at = read_optional_long(body, at)
    reference, at = read_optional_text(body, at)
    channel, at = read_symbol(body, at, _CHANNELS)
    ip_address, at = read_optional_text(body, at)
    device_id, at = read_optional_text(body, at)
    account_opened_epoch_day, at = read_int(body, at)
    account_time_zone, at = read_text(body, at)
    segments_begin = at
    segments, at = read_text_map(body, at)
    segments_end = at
    source_system, at = read_optional_text(body, at)
    return (
        Transaction(
            transaction_id,
            account_id,
            amount_minor,
            currency,
            event_time_ms,
            beneficiary_account_id,
            beneficiary_name,
            beneficiary_country,
            beneficiary_opened_at_ms,
            reference,
            channel,
            ip_address,
            device_id,
            account_opened_epoch_day,
            account_time_zone,
            segments,
            source_system,
        ),
        segments_begin,
        segments_end,
        at,
    )
