"""A message's faults are named by line and element path; none of its payments is called sound then.

Each case: the message, pairs of what is replaced by what, and the faults expected, as the end of the path and words.
"""

from __future__ import annotations

import pytest

from pipeline.publish.file_map import TimeRule
from tests.publish.iso20022.contradictions import IBANS, SETTLEMENT
from tests.publish.iso20022.given import UETR, line_of, pacs, pain, read

FIRST = "CstmrCdtTrfInitn/PmtInf[1]/CdtTrfTxInf[1]"
AMOUNT = '<InstdAmt Ccy="EUR">100.51</InstdAmt>'
PAYEE_ACCOUNT = "<IBAN>DE89370400440532013000</IBAN>"
PAYER_ACCOUNT = "<IBAN>GB29NWBK60161331926819</IBAN>"
CREDITOR_BANK = "<CdtrAgt><FinInstnId><BICFI>COBADEFFXXX</BICFI></FinInstnId></CdtrAgt>"
ALL = "every"  # replace everywhere

CASES = {
    # Numbers and sums
    "a number of payments that is wrong": (
        pain,
        ("<NbOfTxs>2", "<NbOfTxs>3"),
        [("GrpHdr/NbOfTxs", "says 3 payments where 2 stand")],
    ),
    "an instruction's number that is wrong": (
        pain,
        ("<BtchBookg>true</BtchBookg>\n   <NbOfTxs>2", "<NbOfTxs>1"),
        [("PmtInf[1]/NbOfTxs", "says 1 payments where 2")],
    ),
    "a number that is none": (pain, ("<NbOfTxs>2", "<NbOfTxs>two"), [("GrpHdr/NbOfTxs", "no number")]),
    "no number of payments": (pain, ("<NbOfTxs>2</NbOfTxs>", ""), [("GrpHdr/NbOfTxs", "is missing")]),
    "a control sum that is a cent off": (
        pain,
        ("<CtrlSum>201.03", "<CtrlSum>201.04"),
        [("GrpHdr/CtrlSum", "not what the amounts come to")],
    ),
    "an instruction's control sum that is off": (
        pain,
        (
            "<NbOfTxs>2</NbOfTxs>\n   <CtrlSum>201.03</CtrlSum>\n   <PmtTpInf>",
            "<CtrlSum>201.030001</CtrlSum>\n   <PmtTpInf>",
        ),
        [("PmtInf[1]/CtrlSum", "not what the amounts come to")],
    ),
    "a control sum in exponents": (
        pain,
        ("<CtrlSum>201.03", "<CtrlSum>2.0103E2"),
        [("GrpHdr/CtrlSum", "no decimal number")],
    ),
    "a total between banks that is off": (
        pacs,
        ('<TtlIntrBkSttlmAmt Ccy="EUR">201.03', '<TtlIntrBkSttlmAmt Ccy="EUR">201.02'),
        [("GrpHdr/TtlIntrBkSttlmAmt", "not what the amounts come to")],
    ),
    "a total in another currency": (
        pacs,
        ('<TtlIntrBkSttlmAmt Ccy="EUR">', '<TtlIntrBkSttlmAmt Ccy="USD">'),
        [("GrpHdr/TtlIntrBkSttlmAmt", "in one currency")],
    ),
    "no payment at all": (
        lambda: pain(payments=0),
        (),
        [("PmtInf[1]/CdtTrfTxInf", "is missing"), ("GrpHdr", "a message without a payment")],
    ),
    # Amounts
    "an amount with too many decimals": (
        pain,
        (AMOUNT, AMOUNT.replace("100.51", "100.515")),
        [(f"{FIRST}/Amt/InstdAmt", "more decimals")],
    ),
    "yen with decimals": (
        pain,
        (AMOUNT, '<InstdAmt Ccy="JPY">100.5</InstdAmt>'),
        [(f"{FIRST}/Amt/InstdAmt", "more decimals")],
    ),
    "a negative amount": (
        pain,
        (AMOUNT, AMOUNT.replace("100.51", "-100.51")),
        [(f"{FIRST}/Amt/InstdAmt", "no decimal number")],
    ),
    "an amount with a decimal comma": (
        pain,
        (AMOUNT, AMOUNT.replace("100.51", "100,51")),
        [(f"{FIRST}/Amt/InstdAmt", "no decimal number")],
    ),
    "an amount with groups of digits": (
        pain,
        (AMOUNT, AMOUNT.replace("100.51", "1 000.51")),
        [(f"{FIRST}/Amt/InstdAmt", "no decimal number")],
    ),
    "an amount in exponents": (
        pain,
        (AMOUNT, AMOUNT.replace("100.51", "1E5")),
        [(f"{FIRST}/Amt/InstdAmt", "no decimal number")],
    ),
    "an infinite amount": (
        pain,
        (AMOUNT, AMOUNT.replace("100.51", "INF")),
        [(f"{FIRST}/Amt/InstdAmt", "no decimal number")],
    ),
    "an amount in other digits": (
        pain,
        (AMOUNT, AMOUNT.replace("100.51", "１００.５１")),
        [(f"{FIRST}/Amt/InstdAmt", "no decimal number")],
    ),
    "an amount of nineteen digits": (
        pain,
        (AMOUNT, AMOUNT.replace("100.51", "12345678901234567.89")),
        [(f"{FIRST}/Amt/InstdAmt", "18 digits")],
    ),
    "an empty amount": (pain, (AMOUNT, '<InstdAmt Ccy="EUR"/>'), [(f"{FIRST}/Amt/InstdAmt", "no decimal number")]),
    "an amount without a currency": (
        pain,
        (AMOUNT, "<InstdAmt>100.51</InstdAmt>"),
        [(f"{FIRST}/Amt/InstdAmt/@Ccy", "no currency")],
    ),
    "a currency in small letters": (
        pain,
        (AMOUNT, AMOUNT.replace("EUR", "eur")),
        [(f"{FIRST}/Amt/InstdAmt/@Ccy", "no currency")],
    ),
    "a currency that there is none of": (
        pain,
        (AMOUNT, AMOUNT.replace("EUR", "EUX")),
        [(f"{FIRST}/Amt/InstdAmt", "no number of decimals")],
    ),
    "gold": (pain, (AMOUNT, AMOUNT.replace("EUR", "XAU")), [(f"{FIRST}/Amt/InstdAmt", "no number of decimals")]),
    "no amount": (pain, (AMOUNT, ""), [(f"{FIRST}/Amt", "is missing")]),
    "two amounts": (pain, (AMOUNT, AMOUNT + AMOUNT), [(f"{FIRST}/Amt/InstdAmt", "more than once")]),
    "an equivalent in another currency": (
        pain,
        (AMOUNT, '<EqvtAmt><Amt Ccy="EUR">100.51</Amt><CcyOfTrf>USD</CcyOfTrf></EqvtAmt>'),
        [(f"{FIRST}/Amt/EqvtAmt", "leaves open")],
    ),
    "an equivalent without the currency that is paid": (
        pain,
        (AMOUNT, '<EqvtAmt><Amt Ccy="EUR">100.51</Amt></EqvtAmt>'),
        [(f"{FIRST}/Amt/EqvtAmt/CcyOfTrf", "is missing"), (f"{FIRST}/Amt/EqvtAmt", "leaves open")],
    ),
    "an amount and an equivalent": (
        pain,
        (AMOUNT, AMOUNT + '<EqvtAmt><Amt Ccy="EUR">100.51</Amt><CcyOfTrf>EUR</CcyOfTrf></EqvtAmt>'),
        [(f"{FIRST}/Amt", "an equivalent one")],
    ),
    "an ordered amount that differs by more than the charges": (
        pacs,
        ("<ChrgBr>", '<InstdAmt Ccy="EUR">103.02</InstdAmt><ChrgsInf><Amt Ccy="EUR">2.50</Amt></ChrgsInf><ChrgBr>'),
        [("CdtTrfTxInf[1]/InstdAmt", "another amount than the charges")],
    ),
    "an ordered amount in another currency without a rate": (
        pacs,
        ("<ChrgBr>", '<InstdAmt Ccy="USD">110.00</InstdAmt><ChrgBr>'),
        [("CdtTrfTxInf[1]/XchgRate", "is missing")],
    ),
    "a rate within one currency": (
        pacs,
        ("<ChrgBr>", '<InstdAmt Ccy="EUR">100.51</InstdAmt><XchgRate>1.1</XchgRate><ChrgBr>'),
        [("CdtTrfTxInf[1]/XchgRate", "of one currency")],
    ),
    **SETTLEMENT,
    # Accounts
    **IBANS,
    "an IBAN whose check digits don't fit": (
        pain,
        (PAYEE_ACCOUNT, PAYEE_ACCOUNT.replace("DE89", "DE98")),
        [(f"{FIRST}/CdtrAcct/Id/IBAN", "no IBAN")],
    ),
    "an IBAN with blanks": (
        pain,
        (PAYEE_ACCOUNT, PAYEE_ACCOUNT.replace("DE89", "DE89 ")),
        [(f"{FIRST}/CdtrAcct/Id/IBAN", "no IBAN")],
    ),
    "an IBAN in small letters": (
        pain,
        (PAYER_ACCOUNT, PAYER_ACCOUNT.replace("NWBK", "nwbk")),
        [("PmtInf[1]/DbtrAcct/Id/IBAN", "no IBAN")],
    ),
    "an IBAN in Cyrillic letters": (
        pain,
        (PAYEE_ACCOUNT, "<IBAN>DЕ89370400440532013000</IBAN>"),
        [(f"{FIRST}/CdtrAcct/Id/IBAN", "no IBAN"), (f"{FIRST}/Cdtr", "in one country by")],
    ),
    "an IBAN in the place of other ids": (
        pain,
        (PAYEE_ACCOUNT, "<Othr><Id>de89 3704 0044 0532 0130 00</Id></Othr>"),
        [(f"{FIRST}/CdtrAcct/Id/Othr/Id", "one account would be two")],
    ),
    "an IBAN and another id": (
        pain,
        (PAYEE_ACCOUNT, PAYEE_ACCOUNT + "<Othr><Id>7</Id></Othr>"),
        [(f"{FIRST}/CdtrAcct/Id", "and another id")],
    ),
    "an account of an unnamed bank": (
        pain,
        (PAYEE_ACCOUNT, "<Othr><Id>532013000</Id></Othr>", CREDITOR_BANK, ""),
        [
            (f"{FIRST}/CdtrAcct/Id/Othr/Id", "within its bank only"),
            (f"{FIRST}/Cdtr", "neither account, nor bank, nor address"),
        ],
    ),
    "two accounts": (
        pain,
        (
            f"<CdtrAcct><Id>{PAYEE_ACCOUNT}",
            f"<CdtrAcct><Id>{PAYEE_ACCOUNT}</Id></CdtrAcct><CdtrAcct><Id>{PAYEE_ACCOUNT}",
        ),
        [
            (f"{FIRST}/CdtrAcct", "more than once"),
            (f"{FIRST}/CdtrAcct/Id", "more than once"),
            (f"{FIRST}/CdtrAcct/Id/IBAN", "more than once"),
        ],
    ),
    "a beneficiary in two pieces": (
        pain,
        ("<Cdtr><Nm>Mira Holt</Nm></Cdtr>", "<Cdtr><Nm>Mira Holt</Nm></Cdtr><Cdtr><CtryOfRes>DE</CtryOfRes></Cdtr>"),
        [(f"{FIRST}/Cdtr", "more than once")],
    ),
    "an account in two pieces": (
        pain,
        (PAYEE_ACCOUNT + "</Id>", PAYEE_ACCOUNT + "</Id><Id></Id>"),
        [(f"{FIRST}/CdtrAcct/Id", "more than once")],
    ),
    "no account to pay to": (
        pain,
        (f"<CdtrAcct><Id>{PAYEE_ACCOUNT}</Id></CdtrAcct>", ""),
        [(f"{FIRST}/CdtrAcct/Id", "is missing")],
    ),
    "no account to pay from": (
        pain,
        (f"<DbtrAcct><Id>{PAYER_ACCOUNT}</Id></DbtrAcct>", ""),
        [("PmtInf[1]/DbtrAcct/Id", "is missing")],
    ),
    "a payer that nobody knows": (
        pacs,
        (PAYER_ACCOUNT, "<IBAN>GB82WEST12345698765432</IBAN>"),
        [("CdtTrfTxInf[1]/DbtrAcct", "opening date and time zone")],
    ),
    "a BIC that is none": (pain, ("COBADEFFXXX", "COBADEFFX"), [(f"{FIRST}/CdtrAgt/FinInstnId/BICFI", "no BIC")]),
    # Country
    "an account in one country and a bank in another": (
        pain,
        ("COBADEFFXXX", "COBAATFFXXX"),
        [(f"{FIRST}/Cdtr", "by CdtrAcct/Id/IBAN, in another by CdtrAgt/FinInstnId/BICFI")],
    ),
    "an address in another country": (
        pain,
        ("<Cdtr><Nm>", "<Cdtr><PstlAdr><Ctry>IR</Ctry></PstlAdr><Nm>"),
        [(f"{FIRST}/Cdtr", "by Cdtr/PstlAdr/Ctry, in another by")],
    ),
    "a residence in another country": (
        pain,
        ("<Cdtr>", "<Cdtr><CtryOfRes>KP</CtryOfRes>"),
        [(f"{FIRST}/Cdtr", "by Cdtr/CtryOfRes")],
    ),
    "a bank's address in another country": (
        pain,
        ("COBADEFFXXX</BICFI>", "COBADEFFXXX</BICFI><PstlAdr><Ctry>RU</Ctry></PstlAdr>"),
        [(f"{FIRST}/Cdtr", "CdtrAgt/FinInstnId/PstlAdr/Ctry")],
    ),
    "a country in small letters": (
        pain,
        ("<Cdtr>", "<Cdtr><CtryOfRes>de</CtryOfRes>"),
        [(f"{FIRST}/Cdtr", "in one country by")],
    ),
    # Times
    "a time without its distance from UTC": (pain, ("09:00:00Z", "09:00:00"), [("GrpHdr/CreDtTm", "names no zone")]),
    "a day that there is none of": (pain, ("2025-11-24T", "2025-11-31T"), [("GrpHdr/CreDtTm", "that doesn't exist")]),
    "a time finer than milliseconds": (
        pain,
        ("09:00:00Z", "09:00:00.0000001Z"),
        [("GrpHdr/CreDtTm", "finer than milliseconds")],
    ),
    "an hour that there is none of": (pain, ("T09:", "T24:"), [("GrpHdr/CreDtTm", "is not written as")]),
    "a date instead of a time": (
        pain,
        ("2025-11-24T09:00:00Z", "2025-11-24"),
        [("GrpHdr/CreDtTm", "is not written as")],
    ),
    "no time": (pain, ("<CreDtTm>2025-11-24T09:00:00Z</CreDtTm>", ""), [("GrpHdr/CreDtTm", "is missing")]),
    "two times": (
        pain,
        ("<CreDtTm>", "<CreDtTm>2025-11-24T08:00:00Z</CreDtTm><CreDtTm>"),
        [("GrpHdr/CreDtTm", "more than once")],
    ),
    "an acceptance later than its message": (
        pacs,
        ("<ChrgBr>", "<AccptncDtTm>2025-11-24T09:06:00Z</AccptncDtTm><ChrgBr>"),
        [("CdtTrfTxInf[1]/AccptncDtTm", "later than the message")],
    ),
    # Identity
    "an end-to-end id that says nothing": (
        pain,
        ("INVOICE-1<", "NOTPROVIDED<"),
        [(f"{FIRST}/PmtId", "nothing by which the payment is known")],
    ),
    "no id": (pain, ("<EndToEndId>INVOICE-1</EndToEndId>", ""), [(f"{FIRST}/PmtId", "nothing by which")]),
    "an id that is too long": (
        pain,
        ("INVOICE-1<", "/" * 22 + "<"),
        [(f"{FIRST}/PmtId/EndToEndId", "over 64 characters")],
    ),
    "a UETR in capitals": (
        pacs,
        (f"{UETR[:-4]}0001", f"{UETR[:-4]}0001".upper()),
        [("CdtTrfTxInf[1]/PmtId/UETR", "version 4 in small letters")],
    ),
    "a UETR of another version": (pacs, ("-48ba-", "-18ba-"), [("CdtTrfTxInf[1]/PmtId/UETR", "version 4")]),
    # What is paid, how, and for what
    "a cheque": (pain, ("<PmtMtd>TRF", "<PmtMtd>CHK"), [("PmtInf[1]/PmtMtd", "is a cheque")]),
    "a way of paying that there is none of": (
        pain,
        ("<PmtMtd>TRF", "<PmtMtd>DD"),
        [("PmtInf[1]/PmtMtd", "is none of")],
    ),
    "two ways of paying": (
        pain,
        ("</EndToEndId></PmtId>", "</EndToEndId></PmtId><PmtTpInf><SvcLvl><Cd>G001</Cd></SvcLvl></PmtTpInf>"),
        [(f"{FIRST}/PmtTpInf/SvcLvl", "another way of paying")],
    ),
    "a reference that is too long": (
        pain,
        ("<Ustrd>Invoice 1</Ustrd>", f"<Ustrd>{'x' * 100}</Ustrd><Ustrd>{'y' * 40}</Ustrd>"),
        [(f"{FIRST}/RmtInf", "over 140 characters in all")],
    ),
    "a name that is too long": (pain, ("Mira Holt", "x" * 141), [(f"{FIRST}/Cdtr/Nm", "over 140 characters")]),
    "a name with a control": (pain, ("Mira Holt", "Mira&#x85;Holt"), [(f"{FIRST}/Cdtr/Nm", "has controls")]),
    "a reference with a control": (
        pain,
        ("<Ustrd>Invoice 1</Ustrd>", "<Ustrd>Invoice</Ustrd><Ustrd>1&#x2028;2</Ustrd>"),
        [(f"{FIRST}/RmtInf", "has controls")],
    ),
    # Several at once
    "several faults of one payment": (
        pain,
        (AMOUNT, "", PAYEE_ACCOUNT, "", CREDITOR_BANK, "", "<EndToEndId>INVOICE-1</EndToEndId>", ""),
        [
            (f"{FIRST}/CdtrAcct/Id", "is missing"),
            (f"{FIRST}/Amt", "is missing"),
            (f"{FIRST}/Cdtr", "neither"),
            (f"{FIRST}/PmtId", "nothing by which"),
        ],
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_a_fault_is_named_by_its_element(what, tmp_path):
    make, replaced, expected = CASES[what]
    message = make()
    for before, after in zip(replaced[::2], replaced[1::2], strict=True):
        assert before in message, before
        message = message.replace(before, after, 1)
    _, faults, _ = read(tmp_path, message)
    assert [(fault.column, any(words in fault.what for _, words in expected)) for fault in faults] == [
        (fault.column, True) for fault in faults
    ]
    assert len(faults) == len(expected)
    for fault, (path, words) in zip(faults, expected, strict=True):
        assert fault.column is not None
        assert fault.column.endswith(path)
        assert words in fault.what


def test_a_fault_stands_in_the_line_of_its_element(tmp_path):
    message = pain().replace("100.52", "100.525", 1)
    _, [fault], _ = read(tmp_path, message)
    assert (fault.line, fault.column) == (
        line_of(message, "100.525"),
        "CstmrCdtTrfInitn/PmtInf[1]/CdtTrfTxInf[2]/Amt/InstdAmt",
    )


def test_something_missing_stands_in_the_line_of_its_payment(tmp_path):
    message = pain().replace("<PmtId><EndToEndId>INVOICE-2</EndToEndId></PmtId>", "")
    _, [fault], _ = read(tmp_path, message)
    assert message.splitlines()[fault.line - 1].strip() == "<CdtTrfTxInf>"
    assert fault.line > line_of(message, "<CdtTrfTxInf>")


def test_what_an_instruction_lacks_is_told_once(tmp_path):
    message = pain(payments=50).replace("<PmtMtd>TRF</PmtMtd>", "")
    _, faults, _ = read(tmp_path, message)
    assert [(fault.column, fault.what) for fault in faults] == [("CstmrCdtTrfInitn/PmtInf[1]/PmtMtd", "is missing")]


@pytest.mark.parametrize("local", ["2026-03-29T02:30:00", "2026-10-25T02:30:00"])
def test_a_local_time_that_the_clocks_skip_or_show_twice_is_none(local, tmp_path):
    message = pain().replace("2025-11-24T09:00:00Z", local)
    _, [fault], _ = read(tmp_path, message, rule=TimeRule(zone="Europe/Berlin"))
    assert "change of clocks" in fault.what


def test_no_fault_quotes_a_text_of_the_message(tmp_path):
    """I10, but for numbers of payments and the names of elements."""
    texts = ("Mira Holt", "INVOICE", "NWBK", "37040044", "100.5", "Invoice", "COBA")
    for make, replaced, _ in CASES.values():
        message = make()
        for before, after in zip(replaced[::2], replaced[1::2], strict=True):
            message = message.replace(before, after, 1)
        for fault in read(tmp_path, message)[1]:
            assert not any(text in fault.what for text in texts)


WORDS = ("NOTPROVIDED", "NotProvided", "Not Provided", "notprovided", "NONREF", "Nonref", "NOREF", "NO-REF")


@pytest.mark.parametrize("word", WORDS)
def test_a_word_for_nothing_is_no_id_no_bank_and_no_account(tmp_path, word: str) -> None:
    def what_is_wrong(message: str) -> set[tuple[str, str]]:
        return {((fault.column or "").partition("]/")[2], fault.what) for fault in read(tmp_path, message)[1]}

    bare = pacs(payments=1).replace(f"<UETR>{UETR[:-4]}0001</UETR>", "")
    [(place, what)] = what_is_wrong(bare.replace("E-1<", f"{word}<"))
    assert place == "PmtId"
    assert "nothing by which the payment is known" in what
    [payment], faults, _ = read(tmp_path, bare.replace("</EndToEndId>", f"</EndToEndId><TxId>{word}</TxId>"))
    assert [] == faults
    assert ("E-1", "e2e:GB29NWBK60161331926819") == payment.transaction[:1] + payment.transaction[-1:]
    other = f"<Othr><Id>{word}</Id></Othr>"
    assert ("CdtrAcct/Id", "is missing, and a payment has two accounts") in what_is_wrong(
        pacs(payments=1).replace(PAYEE_ACCOUNT, other)
    )
    banked = pacs(payments=1).replace(PAYEE_ACCOUNT, "<Othr><Id>17</Id></Othr>").replace("COBADEFFXXX", word)
    assert any("the bank says no BIC" in what for _, what in what_is_wrong(banked))


@pytest.mark.parametrize("word", WORDS)
def test_a_word_for_nothing_says_no_name_and_no_country(tmp_path, word: str) -> None:
    message = pacs(payments=1).replace("Mira Holt", word).replace("COBADEFFXXX", word)
    [payment], faults, _ = read(tmp_path, message)
    assert [] == faults
    assert (None, "DE") == (payment.transaction.beneficiary_name, payment.transaction.beneficiary_country)


@pytest.mark.parametrize("rate", ["", "about one", "1,1", "-1.1", "0", "0.000", "NaN", "1e3", "١", "123456.1234567"])
def test_a_rate_is_a_positive_number(tmp_path, rate: str) -> None:
    ordered = f'<InstdAmt Ccy="USD">110.00</InstdAmt><XchgRate>{rate}</XchgRate><ChrgBr>'
    _, faults, _ = read(tmp_path, pacs(payments=1).replace("<ChrgBr>", ordered))
    assert any((fault.column or "").endswith("XchgRate") for fault in faults)


@pytest.mark.parametrize(
    "written", ["DE89 3704 0044 0532 0130 00", "DE89-3704-0044-0532-0130-00", "de89370400440532013000"]
)
def test_an_iban_is_no_other_id_however_it_is_written(tmp_path, written: str) -> None:
    _, faults, _ = read(tmp_path, pacs(payments=1).replace(PAYEE_ACCOUNT, f"<Othr><Id>{written}</Id></Othr>"))
    assert ["is an IBAN in the place of other ids: one account would be two"] == [fault.what for fault in faults]
