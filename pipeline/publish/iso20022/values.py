"""Texts of ISO 20022 converted by checking: amounts, times, identifiers, accounts and agents.

Invariants
1. A text that isn't exactly what it should be is None, or a fault of its caller's: nothing is rounded, and no spelling
   is corrected.
2. Two texts never become one identifier.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from pipeline.domain.refusals import iban_in, is_iban
from pipeline.publish.iso20022.iban_lengths import IBAN_LENGTHS

IDENTIFIER_CHARACTERS_MAX: Final = 64
_CONTROL_SUM: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,17})?", re.ASCII)
_SUM_DIGITS_MAX: Final = 18
_COUNT: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_TIME: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:Z|[+-][0-9]{2}:[0-9]{2})?",
    re.ASCII,
)
_ESCAPED: Final = re.compile(r"[^A-Za-z0-9._\-]", re.ASCII)
_BIC: Final = re.compile(r"[A-Z0-9]{4}[A-Z]{2}[A-Z0-9]{2}([A-Z0-9]{3})?", re.ASCII)
_CLEARING: Final = re.compile(r"[A-Z]{5}", re.ASCII)
_MEMBER: Final = re.compile(r"[A-Za-z0-9._\-]{1,35}", re.ASCII)
_UETR: Final = re.compile(r"[a-f0-9]{8}-[a-f0-9]{4}-4[a-f0-9]{3}-[89ab][a-f0-9]{3}-[a-f0-9]{12}", re.ASCII)
_COUNTRY: Final = re.compile(r"[A-Z]{2}", re.ASCII)
_CURRENCY: Final = re.compile(r"[A-Z]{3}", re.ASCII)
_RATE: Final = re.compile(r"[0-9]{1,11}(\.[0-9]{1,10})?", re.ASCII)
_PRIMARY_OFFICE: Final = "XXX"


def control_sum(text: str) -> Decimal | None:
    digits = text.replace(".", "").lstrip("0")
    return Decimal(text) if _CONTROL_SUM.fullmatch(text) and len(digits) <= _SUM_DIGITS_MAX else None


def count_of(text: str) -> int | None:
    return int(text) if _COUNT.fullmatch(text) else None


def is_currency(text: str | None) -> bool:
    return text is not None and _CURRENCY.fullmatch(text) is not None


def is_country(text: str) -> bool:
    return _COUNTRY.fullmatch(text) is not None


def is_uetr(text: str) -> bool:
    """Whether it is a UUID of version 4 in the one spelling that ISO 20022 allows."""
    return _UETR.fullmatch(text) is not None


def rate_of(text: str) -> Decimal | None:
    """A positive number of at most 11 digits, 10 of them decimals (BaseOneRate)."""
    digits = text.replace(".", "")
    is_rate = _RATE.fullmatch(text) is not None and len(digits.lstrip("0")) <= 11 and digits.strip("0") != ""
    return Decimal(text) if is_rate else None


def is_time(text: str) -> bool:
    """Whether it has the form of an ISODateTime; whether there is such a time is another question."""
    return _TIME.fullmatch(text) is not None


def identifier_of(text: str) -> str | None:
    """The text as an id of ours: whatever isn't a letter, a digit or one of . _ - stands as a colon and its bytes in
    hexadecimal, so that INV/7 becomes INV:2F7. None where that is no id: it is empty, or too long."""
    escaped = _ESCAPED.sub(lambda found: "".join(f":{byte:02X}" for byte in found[0].encode()), text)
    return escaped if 0 < len(escaped) <= IDENTIFIER_CHARACTERS_MAX else None


def iban_fault(text: str) -> str | None:
    """Return why it is no IBAN in capitals without blanks (ISO 13616); None where it is one.

    A length beside the check digits: one number in 97 passes these by chance, also one that was cut off.
    """
    if not is_iban(text):
        return "is no IBAN in capitals without blanks whose check digits fit"
    length = IBAN_LENGTHS.get(text[:2])
    if length is None:
        return "is an IBAN of a country that is not in the registry of IBANs"
    return None if len(text) == length else f"has {len(text)} characters, and an IBAN of its country has {length}"


def is_spaced_iban(text: str) -> bool:
    """Whether it reads as an IBAN, of whatever length, once blanks and dashes are away, in whatever case."""
    return iban_in(text) is not None


def bic_of(text: str) -> str | None:
    """The BIC with all eleven characters: one of eight names the primary office, XXX."""
    if not _BIC.fullmatch(text):
        return None
    return text if len(text) == 11 else text + _PRIMARY_OFFICE


def member_of(clearing: str, member: str) -> str | None:
    """A bank by its number in a clearing system, such as USABA:021000021."""
    return f"{clearing}:{member}" if _CLEARING.fullmatch(clearing) and _MEMBER.fullmatch(member) else None
