"""Payments as the state store sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pipeline.domain.refusals import iban_in

CLAIM_DIGEST_BYTES: Final = 16
"""Bytes of a payment's digest that a claim keeps: among 10^8 payments two share them once in 10^22 times."""


@dataclass(init=False)
class StateEvent:
    """A payment as the state store sees it. Event times are from 2015 to 2048 (pipeline.domain.refusals)."""

    offset: int
    transaction_id: str
    payment_digest: bytes  # CLAIM_DIGEST_BYTES of pipeline.domain.payment: what makes it the same payment
    account_id: str
    beneficiary_account_id: str  # as `payee_of` has it
    event_time_ms: int
    log_time_ms: int  # of the record; no producer can move it where the broker stamps records
    amount_gbp_minor: int
    is_near_limit: bool
    ip_address: str | None
    device_id: str | None
    is_counted: bool  # False where a static guardrail blocked it; its id is claimed then, but no window counts it
    source_system: str | None = None  # that gave transaction_id; None where the payment names none

    def __init__(
        self,
        offset: int,
        transaction_id: str,
        payment_digest: bytes,
        account_id: str,
        beneficiary_account_id: str,
        event_time_ms: int,
        log_time_ms: int,
        amount_gbp_minor: int,
        is_near_limit: bool,
        ip_address: str | None,
        device_id: str | None,
        is_counted: bool,
        source_system: str | None = None,
    ) -> None:
        self.offset = offset
        self.transaction_id = transaction_id
        self.payment_digest = payment_digest
        self.account_id = account_id
        self.beneficiary_account_id = payee_of(beneficiary_account_id)
        self.event_time_ms = event_time_ms
        self.log_time_ms = log_time_ms
        self.amount_gbp_minor = amount_gbp_minor
        self.is_near_limit = is_near_limit
        self.ip_address = ip_address
        self.device_id = device_id
        self.is_counted = is_counted
        self.source_system = source_system


def payee_of(beneficiary_account_id: str) -> str:
    """The one name by which the state knows a beneficiary: an IBAN is the same account in every spelling.

    Else `gb29…` and `GB29-…` would be strangers to all that is known of `GB29…`: its frauds, and who paid it.
    """
    iban = iban_in(beneficiary_account_id)
    return beneficiary_account_id if iban is None else iban


def claim_name(event: StateEvent) -> str:
    """The name that a payment claims: ids of different systems never meet."""
    system = event.source_system
    return event.transaction_id if system is None else f"{system}\n{event.transaction_id}"
