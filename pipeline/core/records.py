"""The records that flow through the pipeline, as values.

Times are milliseconds since 1970-01-01T00:00:00Z; money is integer minor units with an ISO 4217 code (I8).
Records are NamedTuples. What only the compiled hot path makes, anew for each payment, is a class with an __init__ of
its own: mypyc makes one natively, where a NamedTuple, or the __init__ that a dataclass generates, takes a Python call.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

AMOUNT_MINOR_MAX: Final = 10**11
"""One billion GBP. 50,000 payments of it still sum below 2^53, the largest integer that Lua holds exactly."""

UNKNOWN: Final = -1
"""In a feature: not known. Every known feature value is at least 0."""


class FastStrEnum(StrEnum):
    """Hashes as the text it is: Enum's own hash is a Python function, 0.2 µs a look-up on the hot path."""

    __hash__ = str.__hash__


class Outcome(FastStrEnum):
    ALLOW = "ALLOW"
    BLOCK = "BLOCK"
    ESCALATE = "ESCALATE"


class Route(FastStrEnum):
    """Who answered: a hard guardrail, the model, or the fallback rules."""

    GUARDRAIL = "GUARDRAIL"
    MODEL = "MODEL"
    FALLBACK = "FALLBACK"


class BreakerState(FastStrEnum):
    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"
    FORCED_OPEN = "FORCED_OPEN"
    UNKNOWN = "UNKNOWN"


class Transaction(NamedTuple):
    """One payment as published on `transactions.v1`; fields in the order of `schemas/transaction.v1.avsc`."""

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
    channel: str
    ip_address: str | None
    device_id: str | None
    account_opened_epoch_day: int
    account_time_zone: str
    segments: dict[str, str]


class Source(NamedTuple):
    """Where a record stood in the log."""

    partition: int
    offset: int
    timestamp_ms: int


@dataclass(init=False)
class StateEvent:
    """What the state store sees of a payment. Times are from 2015 to 2048 (pipeline.core.refusals)."""

    offset: int
    transaction_id: str
    body_digest: bytes  # the first 6 bytes of the SHA-256 of the record's body
    account_id: str
    beneficiary_account_id: str
    event_time_ms: int
    amount_gbp_minor: int
    is_near_limit: bool
    ip_address: str | None
    device_id: str | None
    is_counted: bool  # False where a static guardrail blocked it: its id is claimed, but no window sees it

    def __init__(
        self,
        offset: int,
        transaction_id: str,
        body_digest: bytes,
        account_id: str,
        beneficiary_account_id: str,
        event_time_ms: int,
        amount_gbp_minor: int,
        is_near_limit: bool,
        ip_address: str | None,
        device_id: str | None,
        is_counted: bool,
    ) -> None:
        self.offset = offset
        self.transaction_id = transaction_id
        self.body_digest = body_digest
        self.account_id = account_id
        self.beneficiary_account_id = beneficiary_account_id
        self.event_time_ms = event_time_ms
        self.amount_gbp_minor = amount_gbp_minor
        self.is_near_limit = is_near_limit
        self.ip_address = ip_address
        self.device_id = device_id
        self.is_counted = is_counted


class Reason(NamedTuple):
    """One reason of a decision (I9). `observed`, `limit` and `excess` share the unit that `text` names.

    `limit` is what a rule allows, or for a model reason what is typical; `excess` is `observed - limit`, and both
    are None where there is nothing to compare with. `contribution_micro` is the exact addend of the model's
    log-odds in millionths; None for a rule.
    """

    code: str
    text: str
    observed: int
    limit: int | None
    excess: int | None
    contribution_micro: int | None
