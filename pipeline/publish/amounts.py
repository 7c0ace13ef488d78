"""Amounts in major units as integer minor units: exact, or refused. Nothing is rounded (I8)."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from pipeline.domain.money import minor_digits
from pipeline.publish.payment_source import Wrong

_CURRENCIES: Final = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF "
    "CHE CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ "
    "GYD HKD HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD "
    "MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD "
    "RUB SAR SBD SCR SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH "
    "USD USN UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG ZWL "
    "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF BHD IQD JOD KWD LYD OMR TND CLF UYW"
)
"""ISO 4217's currencies that have a number of decimals, those withdrawn since 2020 included; the last line's have other
than two, and `minor_digits` knows them."""
_KNOWN: Final = frozenset(_CURRENCIES.split())


def digits_of(currency: str) -> int:
    """Return the currency's decimals by ISO 4217. Raises Wrong for a code that has none (XAU), or is none."""
    if currency in _KNOWN:
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
    return -minor if sign else minor


def _too_fine(digits: int) -> str:
    return f"has more decimals than the {digits} of its currency"
