"""Faults of charges, rates, acceptances and IBANs: what a message says twice, and not the same.

Each case: the message, what is replaced by what, and the faults expected, as the end of the path and words.
"""

from __future__ import annotations

from tests.publish.iso20022.given import pacs, pain

FIRST = "CstmrCdtTrfInitn/PmtInf[1]/CdtTrfTxInf[1]"
PAYEE_ACCOUNT = "<IBAN>DE89370400440532013000</IBAN>"
CHARGE = '<ChrgsInf><Amt Ccy="EUR">2.50</Amt></ChrgsInf>'


def ordered(amount: str, currency: str = "EUR") -> str:
    return f'<InstdAmt Ccy="{currency}">{amount}</InstdAmt>'


def remainder(country: str, check: str, number: str) -> int:
    return int("".join(str(int(each, 36)) for each in f"{number}{country}{check}")) % 97


def with_check_digits(country: str, number: str) -> str:
    """A text with an IBAN's check digits, whatever its length."""
    return f"{country}{98 - remainder(country, '00', number):02d}{number}"


LOW_CHECK = next(
    f"DE01{number}"
    for number in range(370400440532013000, 370400440532014000)
    if remainder("DE", "01", str(number)) == 1
)
"""An account whose check digits are 98, written with 01, which leaves the same remainder."""

SETTLEMENT = {
    "a charge that the payee bears and that was added": (
        pacs,
        ("<ChrgBr>SHAR", f"{ordered('98.01')}{CHARGE}<ChrgBr>CRED"),
        [("CdtTrfTxInf[1]/InstdAmt", "to the other side than ChrgBr says")],
    ),
    "a charge that both bear and that was not taken off": (
        pacs,
        ("<ChrgBr>", f"{ordered('100.51')}{CHARGE}<ChrgBr>"),
        [("CdtTrfTxInf[1]/InstdAmt", "another amount than the charges")],
    ),
    "a charge that the payer bears and that was taken off": (
        pacs,
        ("<ChrgBr>SHAR", f"{ordered('103.01')}{CHARGE}<ChrgBr>DEBT"),
        [("CdtTrfTxInf[1]/InstdAmt", "to the other side than ChrgBr says")],
    ),
    "charges that nobody bears": (
        pacs,
        ("<ChrgBr>SHAR</ChrgBr>", f"{ordered('103.01')}{CHARGE}"),
        [("CdtTrfTxInf[1]/ChrgBr", "is missing")],
    ),
    "a bearer of charges that there isn't": (
        pacs,
        ("<ChrgBr>SHAR", "<ChrgBr>BOTH"),
        [("CdtTrfTxInf[1]/ChrgBr", "is none of CRED, DEBT")],
    ),
    "charges without an ordered amount": (
        pacs,
        ("<ChrgBr>", f"{CHARGE}<ChrgBr>"),
        [("CdtTrfTxInf[1]/ChrgsInf", "without an InstdAmt")],
    ),
    "a rate without an ordered amount": (
        pacs,
        ("<ChrgBr>", "<XchgRate>1.1</XchgRate><ChrgBr>"),
        [("CdtTrfTxInf[1]/XchgRate", "without an InstdAmt")],
    ),
    "an ordered amount whose rate makes ten times what is settled": (
        pacs,
        ("<ChrgBr>", f"{ordered('1100.00', 'USD')}<XchgRate>0.9137</XchgRate><ChrgBr>"),
        [("CdtTrfTxInf[1]/InstdAmt", "to another amount than is settled")],
    ),
    "a rate that leaves more over than it was rounded by": (
        pacs,
        ("<ChrgBr>", f"{ordered('110.00', 'USD')}<XchgRate>0.9150</XchgRate><ChrgBr>"),
        [("CdtTrfTxInf[1]/InstdAmt", "to another amount than is settled")],
    ),
    "an acceptance of another year": (
        pacs,
        ("<ChrgBr>", "<AccptncDtTm>2015-11-24T09:00:00Z</AccptncDtTm><ChrgBr>"),
        [("CdtTrfTxInf[1]/AccptncDtTm", "over a year before")],
    ),
}
IBANS = {
    "an IBAN that was cut off, whose check digits fit": (
        pain,
        (PAYEE_ACCOUNT, f"<IBAN>{with_check_digits('DE', '3704004405320130')}</IBAN>"),
        [(f"{FIRST}/CdtrAcct/Id/IBAN", "has 20 characters, and an IBAN of its country has 22")],
    ),
    "an IBAN of a country that has none": (
        pain,
        (PAYEE_ACCOUNT, f"<IBAN>{with_check_digits('US', '370400440532013000')}</IBAN>"),
        [(f"{FIRST}/CdtrAcct/Id/IBAN", "not in the registry"), (f"{FIRST}/Cdtr", "in another by")],
    ),
    "an IBAN with the other check digits that leave the same remainder": (
        pain,
        (PAYEE_ACCOUNT, f"<IBAN>{LOW_CHECK}</IBAN>"),
        [(f"{FIRST}/CdtrAcct/Id/IBAN", "check digits fit")],
    ),
}
