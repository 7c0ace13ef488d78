"""Amounts of a message, and of a pacs.008 how the amount that passes between the banks agrees with the one ordered.

Invariants
1. An amount is exact in its currency's decimals, or a fault.
2. What was ordered, the charges, who bears them and the rate come to what is settled, or the message contradicts
   itself: a digit that went missing in one of them shows.

ISO 20022's own rules for pacs.008: charges need an amount ordered; a rate stands where that is in another currency than
what is settled, and nowhere else. Charges that the payee or both bear (CRED, SHAR, SLEV) were taken off what was
ordered. Those that the payer bears (DEBT) were added for the banks that follow, or are accounted for apart.
"""

from __future__ import annotations

import re
from decimal import Decimal, localcontext
from typing import Final, NamedTuple

from pipeline.publish.amounts import amount_minor_of
from pipeline.publish.iso20022.said import Said, Text
from pipeline.publish.iso20022.values import is_currency, rate_of
from pipeline.publish.payment_source import Wrong

_AMOUNT: Final = re.compile(r"[0-9]{1,18}(\.[0-9]{1,5})?", re.ASCII)
_AMOUNT_DIGITS_MAX: Final = 18
_BEARERS: Final = frozenset({"DEBT", "CRED", "SHAR", "SLEV"})
_PAYER: Final = "DEBT"
_ROUNDED: Final = 2
"""Least units of the currency settled by which banks may round a converted amount, and a charge."""
_PRECISION: Final = 60
"""Digits: an amount has 18 and a rate 11, so their product is exact."""


class Amount(NamedTuple):
    value: Decimal  # in major units
    minor: int
    currency: str


def amount_of(said: Said, name: str, text: Text) -> Amount | None:
    digits = text.text.replace(".", "").lstrip("0")
    if not _AMOUNT.fullmatch(text.text) or len(digits) > _AMOUNT_DIGITS_MAX:
        said.fault(name, "is no decimal number of at most 18 digits, 5 of them decimals", text.line)
        return None
    if text.currency is None or not is_currency(text.currency):
        said.fault(f"{name}/@Ccy", "is no currency's code of three capitals", text.line)
        return None
    try:
        return Amount(Decimal(text.text), amount_minor_of(Decimal(text.text), text.currency), text.currency)
    except Wrong as wrong:
        said.fault(name, str(wrong), text.line)
        return None


def settled(said: Said) -> Amount | None:
    """The amount that passes between the banks by a pacs.008."""
    text = said.needed("IntrBkSttlmAmt")
    found = None if text is None else amount_of(said, "IntrBkSttlmAmt", text)
    ordered_text, rate_text, bearer = said.one("InstdAmt"), said.one("XchgRate"), said.one("ChrgBr")
    ordered = None if ordered_text is None else amount_of(said, "InstdAmt", ordered_text)
    rate = None if rate_text is None else rate_of(rate_text.text)
    if rate_text is not None and rate is None:
        said.fault("XchgRate", "is no positive number of at most 11 digits", rate_text.line)
    if bearer is not None and bearer.text not in _BEARERS:
        said.fault("ChrgBr", f"is none of {', '.join(sorted(_BEARERS))}", bearer.line)
    charge_texts = said.many("ChrgsInf/Amt")
    charges = [each for text in charge_texts if (each := amount_of(said, "ChrgsInf/Amt", text)) is not None]
    if ordered_text is None:
        for name, stray in (("ChrgsInf", charge_texts[0] if charge_texts else None), ("XchgRate", rate_text)):
            if stray is not None:
                said.fault(name, "stands without an InstdAmt that it would explain the amount settled by", stray.line)
    if found is None or ordered is None or ordered_text is None or len(charges) != len(charge_texts):
        return found
    if bearer is None and any(each.minor for each in charges):
        said.fault("ChrgBr", "is missing, and says who bears the charges")
    elif ordered.currency == found.currency:
        _compare(said, _Ordered(ordered, ordered_text, charges, bearer), found, rate_text)
    elif rate_text is None:
        what = "is missing, and the amounts ordered and settled are in two currencies"
        said.fault("XchgRate", what, ordered_text.line)
    elif rate is not None and not _agrees(_Ordered(ordered, ordered_text, charges, bearer), found, rate):
        said.fault("InstdAmt", "comes by XchgRate and charges to another amount than is settled", ordered_text.line)
    return found


class _Ordered(NamedTuple):
    amount: Amount
    text: Text
    charges: list[Amount]
    bearer: Text | None


def _compare(said: Said, ordered: _Ordered, found: Amount, rate: Text | None) -> None:
    """One currency: to the least unit."""
    if rate is not None:
        said.fault("XchgRate", "is a rate between amounts of one currency", rate.line)
    charged = sum(each.minor for each in ordered.charges if each.currency == found.currency)
    difference = found.minor - ordered.amount.minor
    if ordered.bearer is not None and ordered.bearer.text == _PAYER:
        is_explained = difference in (0, charged)
    else:
        is_explained = difference == -charged
    if not is_explained:
        what = "differs from IntrBkSttlmAmt by another amount than the charges, or to the other side than ChrgBr says"
        said.fault("InstdAmt", what, ordered.text.line)


def _agrees(ordered: _Ordered, found: Amount, rate: Decimal) -> bool:
    """Whether a rate explains the amount settled, within what was rounded of the rate and of the amounts.

    Messages differ in which currency the rate is a unit of, so it may multiply or divide. A charge in a third currency
    leaves open what it comes to, and all is as ordered only where nothing but it differs.
    """
    is_payer = ordered.bearer is not None and ordered.bearer.text == _PAYER
    with localcontext(prec=_PRECISION):
        exponent = rate.as_tuple().exponent
        assert isinstance(exponent, int), "a rate is a number"
        half = Decimal(5).scaleb(exponent - 1)
        least, greatest = rate - half, rate + half
        unit = found.value / found.minor if found.minor else Decimal(0)
        spare = (_ROUNDED + len(ordered.charges)) * unit
        own = sum((each.value for each in ordered.charges if each.currency == ordered.amount.currency), Decimal(0))
        theirs = sum((each.value for each in ordered.charges if each.currency == found.currency), Decimal(0))
        befores = (ordered.amount.value, ordered.amount.value + own) if is_payer else (ordered.amount.value - own,)
        afters = (Decimal(0), theirs) if is_payer else (-theirs,)
        for before in befores:
            for after in afters:
                spans = [(before * least, before * greatest)]
                if least > 0:
                    spans.append((before / greatest, before / least))
                if any(low - spare <= found.value - after <= high + spare for low, high in spans):
                    return True
    return False
