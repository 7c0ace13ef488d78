"""An amount in the currency that the payer named."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.domain.payment import Transaction


class Money(NamedTuple):
    currency: str
    amount_minor: int


def foreign_money(payment: Transaction) -> Money | None:
    """The payment's amount where its currency isn't the pound, in which everything else is counted."""
    return None if payment.currency == "GBP" else Money(payment.currency, payment.amount_minor)
