"""An amount in the currency that the payer named."""

from __future__ import annotations

from typing import NamedTuple


class Money(NamedTuple):
    currency: str
    amount_minor: int
