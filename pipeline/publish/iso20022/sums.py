"""The sums of payments, compared with those that their message says."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from pipeline.publish.iso20022.said import Said
from pipeline.publish.iso20022.settlement import Amount

_DECIMALS: Final = 5
"""An amount of ISO 20022 has no more, so sums of it are whole numbers of 10^-5: exact, however many there are."""


class Sums:
    """A message's payments, or an instruction's. Where an amount can't be read, nothing is compared with the sums: that
    fault is told already."""

    def __init__(self) -> None:
        self.payments = 0
        self._sum = 0
        self._is_whole = True
        self._minor: dict[str, int] = {}

    def add(self, amount: Amount | None) -> None:
        self.payments += 1
        if amount is None:
            self._is_whole = False
            return
        self._sum += int(amount.value.scaleb(_DECIMALS))
        self._minor[amount.currency] = self._minor.get(amount.currency, 0) + amount.minor

    def compare(self, said: Said, payments: int | None, control_sum: Decimal | None) -> None:
        """A control sum adds up amounts of whatever currencies."""
        if payments is not None and payments != self.payments:
            said.fault("NbOfTxs", f"says {payments:,} payments where {self.payments:,} stand")
        if control_sum is not None and self._is_whole and control_sum.scaleb(_DECIMALS) != self._sum:
            said.fault("CtrlSum", "is not what the amounts come to")

    def compare_total(self, said: Said, total: Amount) -> None:
        if self._is_whole and self._minor != {total.currency: total.minor}:
            said.fault("TtlIntrBkSttlmAmt", "is not what the amounts come to, in one currency")
