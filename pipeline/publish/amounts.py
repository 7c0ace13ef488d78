"""Amounts in major units as integer minor units: exact, or refused. Nothing is rounded (I8)."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from pipeline.domain.money import CURRENCIES, minor_digits
from pipeline.publish.payment_source import Wrong

_DIGITS_OF_A_GROUP: Final = 3


class PerhapsGrouped(Decimal):
    """A number of a text whose one sign may stand before decimals or between thousands: 12.500."""


def digits_of(currency: str) -> int:
    """Return the currency's decimals by ISO 4217. Raises Wrong for a code that has none (XAU), or is none."""
    if currency in CURRENCIES:
        return minor_digits(currency)
    raise Wrong("is in major units, and its currency has no number of decimals in ISO 4217; give amount_minor")


def amount_minor_of(amount: Decimal | int, currency: str) -> int:
    """Return an amount in major units in minor ones, exactly. Raises Wrong where it has more decimals than that."""
    digits = digits_of(currency)
    if isinstance(amount, int):
        return amount * int(10**digits)
    if not amount.is_finite():
        raise Wrong("is no finite number")
    sign, figures, exponent = amount.as_tuple()
    assert isinstance(exponent, int), "finite"
    if abs(exponent) > len(figures) + 40:
        raise Wrong("is out of range" if exponent > 0 else _too_fine(digits))
    shift = exponent + digits
    number = int("".join(map(str, figures)))
    if shift >= 0:
        minor = number * int(10**shift)
    else:
        minor, rest = divmod(number, int(10**-shift))
        if rest:
            raise Wrong(_too_fine(digits))
    if isinstance(amount, PerhapsGrouped) and digits != _DIGITS_OF_A_GROUP:
        raise Wrong("may have its point between thousands: declare decimal or grouping in the map, or write it with "
                    "the decimals of its currency")  # fmt: skip
    return -minor if sign else minor


def _too_fine(digits: int) -> str:
    return f"has more decimals than the {digits} of its currency"
