"""What a file's sender says that the file comes to: how many payments, and their sum in each currency.

A delimited file that is cut off between two lines looks like a whole one of fewer payments, and nothing in it shows
that it isn't. Whoever sent it knows, and says so beside it, as a message of ISO 20022 says it within.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from pipeline.publish.amounts import amount_minor_of
from pipeline.publish.demands import major_amount
from pipeline.publish.file_map import FileRules
from pipeline.publish.payment_source import ControlTotals, Unreadable, Wrong

_SAID: Final = re.compile(r"([A-Z]{3})=(.{1,40})", re.DOTALL)
_FIX: Final = "Write it as EUR=1234.50, in whole units of its currency and with a point."
_PLAIN: Final = FileRules()


def totals_of(rules: FileRules, payments: int | None, sums: Sequence[str]) -> ControlTotals:
    """Return what the map and the command's options say together. Raises Unreadable where both say one thing, or one
    of them can't be read."""
    for option, is_given, key in (("--payments", payments is not None, "payments"), ("--sum", bool(sums), "sums")):
        if is_given and key in rules.model_fields_set:
            raise Unreadable(f"Both {option} and the map's file.{key} say it.", "Give one of them.")
    said: list[tuple[str, str | int]] = [_parts(text) for text in sums] or list(rules.sums.items())
    found: dict[str, int] = {}
    for currency, amount in said:
        if currency in found:
            raise Unreadable(f"Two sums in {currency} are declared.", "Give one of them.")
        found[currency] = _minor(currency, amount)
    return ControlTotals(rules.payments if payments is None else payments, found)


def _parts(text: str) -> tuple[str, str]:
    found = _SAID.fullmatch(text)
    if found is None:
        raise Unreadable("A --sum is no currency with an amount.", _FIX)
    return found[1], found[2]


def _minor(currency: str, amount: str | int) -> int:
    try:
        found = amount_minor_of(major_amount(amount, _PLAIN), currency)
    except Wrong as wrong:
        raise Unreadable(f"The sum in {currency} that is declared {wrong}.", _FIX) from wrong
    if found < 0:
        raise Unreadable(f"The sum in {currency} that is declared is below zero.", "No payment is.")
    return found
