"""Amounts and counts as people read them; money itself is integer minor units with a currency (I8)."""

from __future__ import annotations

from typing import Final

from pipeline.domain.payment import Transaction

_MINOR_DIGITS: Final = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV"), 0),
    **dict.fromkeys(("UYI", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
"""ISO 4217's exceptions from two, for showing an amount; what it is worth is the policy's to say."""
_OF_TWO: Final = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF CHE "
    "CHF CHW CNY COP COU CRC CUC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD "
    "HNL HRK HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP "
    "MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR "
    "SDG SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU UZS VED "
    "VES WST XCD XCG YER ZAR ZMW ZWG ZWL"
)
CURRENCIES: Final = frozenset({*_OF_TWO.split(), *_MINOR_DIGITS})
"""ISO 4217's currencies that have a number of decimals, those withdrawn since 2020 included."""


def minor_digits(currency: str) -> int:
    """How many decimals an amount of the currency has, by ISO 4217."""
    return _MINOR_DIGITS.get(currency, 2)


def amount_text(payment: Transaction) -> str:
    """The payment's amount in its own currency."""
    return money_text(payment.amount_minor, payment.currency)


def money_text(amount_minor: int, currency: str) -> str:
    """£1,234.50 for pounds; else the currency's code and the amount with as many decimals as ISO 4217 gives it.

    What is owed has its sign in front: -£1.50.
    """
    if currency == "GBP":
        return pounds_text(amount_minor)
    digits, sign = minor_digits(currency), "-" if amount_minor < 0 else ""
    whole, part = divmod(abs(amount_minor), 10**digits)  # divmod(-150, 100) is -2 and 50
    return f"{sign}{currency} {whole:,}" + (f".{part:0{digits}d}" if digits else "")


def pounds_text(amount_minor: int) -> str:
    sign, size = "-" if amount_minor < 0 else "", abs(amount_minor)
    return f"{sign}£{size // 100:,}.{size % 100:02d}"


def count_text(number: int, noun: str) -> str:
    """1 posting, 1,234 postings, 0 entries."""
    if number == 1:
        return f"{number} {noun}"
    return f"{number:,} {noun.removesuffix('y')}ies" if noun.endswith("ry") else f"{number:,} {noun}s"
