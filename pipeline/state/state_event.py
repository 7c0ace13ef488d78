"""Payments as the state store sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

OPENED_LONG_AGO_DAY: Final = 0
"""The day that an account counts as opened on where nothing says which: before all that a state may lack."""


@dataclass(init=False)
class StateEvent:
    """A payment as the state store sees it. Times are from 2015 to 2048 (pipeline.domain.refusals)."""

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
    is_counted: bool  # False where a static guardrail blocked it; its id is claimed then, but no window counts it
    account_opened_epoch_day: int = OPENED_LONG_AGO_DAY

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
        account_opened_epoch_day: int = OPENED_LONG_AGO_DAY,
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
        self.account_opened_epoch_day = account_opened_epoch_day
