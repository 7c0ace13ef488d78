"""What a record of a context topic comes to: something to take in, a withdrawal, or a refusal.

Invariants
1. A record is taken in only where its key names the entity that its value is about, and in the one spelling that it
   has, so that the log keeps the latest of each entity and of no other, and a withdrawal finds it.
2. No time that is taken in is outside 2015 to 2048, or more than 5 minutes ahead of the record's own.
3. No refusal quotes a value of the record (I10).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from pipeline.domain.context import Account, Label, RiskSignal, RiskSignalKind, signal_key
from pipeline.domain.features import ACCOUNT_PAYMENTS_MAX
from pipeline.domain.log import Record
from pipeline.domain.payment import AMOUNT_MINOR_MAX
from pipeline.domain.refusals import (
    FUTURE_TOLERANCE_MS,
    TEXT_REFUSED,
    Refusal,
    RefusalCode,
    canonical_ip_address,
    is_identifier,
    is_log_time,
    is_text,
)

NORMAL_MONTH_MINOR_MAX: Final = ACCOUNT_PAYMENTS_MAX * AMOUNT_MINOR_MAX
"""As much as all payments of an account in 30 days can come to: below 2^53, the largest integer that Lua holds."""


_KEYS: Final = " or ".join(signal_key(kind, "...") for kind in RiskSignalKind)
_NOT_CANONICAL: Final = Refusal(
    RefusalCode.KEY_MISMATCH,
    "the key's address is not in its canonical spelling: RFC 5952's, in lower case and shortened, and where an IPv4"
    " address stands in it (mapped, NAT64, 6to4, Teredo) that one as a.b.c.d",
)
"""It doesn't quote the right key, because a refusal is in the clear and an address is personal."""


class AccountWithdrawn(NamedTuple):
    account_id: str


class RiskSignalWithdrawn(NamedTuple):
    kind: RiskSignalKind
    entity: str


def checked(content: Account | RiskSignal | Label, record: Record) -> Account | RiskSignal | Label | Refusal:
    """The content as it is taken in, an address in its canonical spelling, or the first reason why it isn't."""
    match content:
        case Account(account_id, updated_at_ms, normal_month):
            refusal = (
                _key_refusal(record, account_id)
                or _identifier_refusal(account_id)
                or _number_refusal("normal_month_gbp_minor", normal_month or 0, NORMAL_MONTH_MINOR_MAX)
                or _time_refusal(record, updated_at_ms=updated_at_ms)
            )
        case RiskSignal(kind, entity, fraud_reports, observed_at_ms):
            named = _entity(kind, entity)
            refusal = (
                (named if isinstance(named, Refusal) else _signal_key_refusal(record, kind, entity, named))
                or _number_refusal("fraud_reports", fraud_reports, None)
                or _time_refusal(record, observed_at_ms=observed_at_ms)
            )
            if not isinstance(named, Refusal):
                content = content._replace(entity=named)
        case Label():
            refusal = (
                _key_refusal(record, content.beneficiary_account_id)
                or _identifier_refusal(content.transaction_id, content.account_id, content.beneficiary_account_id)
                or (None if is_text(content.labelled_by) else TEXT_REFUSED)
                or _time_refusal(record, event_time_ms=content.event_time_ms, labelled_at_ms=content.labelled_at_ms)
            )
    return content if refusal is None else refusal


def withdrawn(topic: str, record: Record) -> AccountWithdrawn | RiskSignalWithdrawn | Refusal:
    """What a record without a value, a tombstone, takes back. `topic` is without its prefix."""
    if topic not in ("accounts.v1", "risk_signals.v1"):
        why = "a tombstone here names a beneficiary and no payment; take a label back by another, with fraud = false"
        return Refusal(RefusalCode.RECORD_EMPTY, why)
    try:
        key = (record.key or b"").decode()
    except UnicodeDecodeError:
        key = ""
    if (refusal := _time_refusal(record)) is not None:
        return refusal
    if topic == "accounts.v1":
        return _identifier_refusal(key) or AccountWithdrawn(key)
    return _signal_withdrawn(key)


def _signal_withdrawn(key: str) -> RiskSignalWithdrawn | Refusal:
    name, _, entity = key.partition(":")
    kind = next((each for each in RiskSignalKind if each == name), None)
    if kind is None:
        return Refusal(RefusalCode.IDENTIFIER_INVALID, f"the key of a tombstone is none of {_KEYS}")
    named = _entity(kind, entity)
    if isinstance(named, Refusal):
        return named
    return RiskSignalWithdrawn(kind, named) if named == entity else _NOT_CANONICAL


def _key_refusal(record: Record, entity: str) -> Refusal | None:
    if record.key == entity.encode():
        return None
    return Refusal(RefusalCode.KEY_MISMATCH, "the record's key is not the entity that its value is about")


def _signal_key_refusal(record: Record, kind: RiskSignalKind, entity: str, named: str) -> Refusal | None:
    if record.key == signal_key(kind, named).encode():
        return None
    if record.key == signal_key(kind, entity).encode():
        return _NOT_CANONICAL
    return Refusal(RefusalCode.KEY_MISMATCH, f"the record's key is not what its value is about, as {_KEYS}")


def _identifier_refusal(*identifiers: str) -> Refusal | None:
    if all(map(is_identifier, identifiers)):
        return None
    return Refusal(RefusalCode.IDENTIFIER_INVALID, "an id is not 1 to 64 of A-Z a-z 0-9 . _ : -")


def _number_refusal(name: str, number: int, most: int | None) -> Refusal | None:
    if number >= 0 and (most is None or number <= most):
        return None
    return Refusal(
        RefusalCode.AMOUNT_OUT_OF_RANGE, f"{name} is below 0" + ("" if most is None else f" or above {most}")
    )


def _entity(kind: RiskSignalKind, text: str) -> str | Refusal:
    if kind is RiskSignalKind.DEVICE:
        why = "entity is no device: not 1 to 64 of A-Z a-z 0-9 . _ : -"
        return text if is_identifier(text) else Refusal(RefusalCode.DEVICE_INVALID, why)
    address = canonical_ip_address(text)
    return Refusal(RefusalCode.IP_ADDRESS_INVALID, "entity is neither IPv4 nor IPv6") if address is None else address


def _time_refusal(record: Record, **times_ms: int) -> Refusal | None:
    log_time_ms = record.source.timestamp_ms
    if not is_log_time(log_time_ms):
        return Refusal(RefusalCode.TIME_OUT_OF_RANGE, "the record's timestamp is missing or outside 2015 to 2048")
    for name, time_ms in times_ms.items():
        if not is_log_time(time_ms):
            return Refusal(RefusalCode.TIME_OUT_OF_RANGE, f"{name} is outside 2015 to 2048: is it in milliseconds?")
        if time_ms > log_time_ms + FUTURE_TOLERANCE_MS:
            return Refusal(RefusalCode.TIME_IN_FUTURE, f"{name} is over 5 minutes ahead of the record's timestamp")
    return None
