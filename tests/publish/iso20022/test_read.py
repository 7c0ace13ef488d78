"""The payments that a sound message gives."""

from __future__ import annotations

import pytest

from pipeline.domain.payment import Channel, Transaction
from pipeline.publish.file_map import TimeRule
from pipeline.publish.iso20022.messages import FORMS
from tests.publish.iso20022.given import NINE_MS, OTHER_PAYER, PAYEE, PAYER, UETR, line_of, pacs, pain, read

PAIN_VERSIONS = ("03", "09", "10", "11", "12", "13")
PACS_VERSIONS = ("08", "09", "10", "11", "12", "13", "14")


def one(tmp_path, message, **told) -> Transaction:
    payments, faults, _ = read(tmp_path, message, **told)
    assert faults == []
    return payments[0].transaction


def test_these_forms_are_read():
    names = {form.name for form in FORMS.values()}
    assert names == {f"pain.001.001.{v}" for v in PAIN_VERSIONS} | {f"pacs.008.001.{v}" for v in PACS_VERSIONS}


@pytest.mark.parametrize("version", PAIN_VERSIONS)
def test_an_initiation_of_each_version(version, tmp_path):
    message = pain(version)
    payments, faults, source = read(tmp_path, message)
    assert (faults, source.form) == ([], f"pain.001.001.{version}")
    assert [each.transaction for each in payments] == [
        Transaction(
            f"INVOICE-{number}", PAYER, 10_050 + number, "EUR", NINE_MS, PAYEE, "Mira Holt", "DE", None,
            f"Invoice {number}", Channel.SEPA, None, None, 16_436, "Europe/London", {}, f"e2e:{PAYER}",
        )
        for number in (1, 2)
    ]  # fmt: skip
    first = line_of(message, "<CdtTrfTxInf>")
    assert [each.line for each in payments] == [first, first + 8]


@pytest.mark.parametrize("version", PACS_VERSIONS)
def test_a_transfer_of_each_version(version, tmp_path):
    payments, faults, source = read(tmp_path, pacs(version))
    assert (faults, source.form) == ([], f"pacs.008.001.{version}")
    assert [each.transaction for each in payments] == [
        Transaction(
            f"{UETR[:-4]}{number:04x}", PAYER, 10_050 + number, "EUR", NINE_MS + 250, PAYEE, "Mira Holt", "DE", None,
            f"Invoice {number}", Channel.SWIFT, None, None, 16_436, "Europe/London", {}, "uetr",
        )
        for number in (1, 2)
    ]  # fmt: skip


def test_what_has_no_place_is_counted_by_its_path(tmp_path):
    message = pain().replace("<MsgId>", '<MsgId odd="1">').replace("<Cdtr><Nm>", "<Cdtr><Nm xml:lang='de'>", 1)
    message = message.replace(
        "</RmtInf>", '</RmtInf><SplmtryData><Envlp><x:A xmlns:x="urn:x"><x:B/>t</x:A></Envlp></SplmtryData>'
    )
    root = "CstmrCdtTrfInitn"
    assert read(tmp_path, message)[2].left_out == {
        f"{root}/GrpHdr/MsgId": 1,
        f"{root}/GrpHdr/MsgId/@odd": 1,
        f"{root}/GrpHdr/InitgPty/Nm": 1,
        f"{root}/PmtInf/PmtInfId": 1,
        f"{root}/PmtInf/BtchBookg": 1,
        f"{root}/PmtInf/ReqdExctnDt/Dt": 1,
        f"{root}/PmtInf/Dbtr/Nm": 1,
        f"{root}/PmtInf/ChrgBr": 1,
        f"{root}/PmtInf/CdtTrfTxInf/Cdtr/Nm/@lang": 1,
        f"{root}/PmtInf/CdtTrfTxInf/SplmtryData/Envlp/(of another namespace)": 2,
    }


SOUND = {
    "an account of a bank that has no IBAN": (
        pain,
        ("<IBAN>GB29NWBK60161331926819</IBAN>", "<Othr><Id>60161331926819</Id></Othr>"),
        {"account_id": OTHER_PAYER, "source_system": f"e2e:{OTHER_PAYER}"},
    ),
    "a beneficiary whose bank is known by its clearing number": (
        pain,
        (
            "<BICFI>COBADEFFXXX</BICFI></FinInstnId></CdtrAgt>",
            "<ClrSysMmbId><ClrSysId><Cd>USABA</Cd></ClrSysId><MmbId>021000021</MmbId></ClrSysMmbId>"
            "</FinInstnId></CdtrAgt>",
            "<IBAN>DE89370400440532013000</IBAN>",
            "<Othr><Id>12 34/5</Id></Othr>",
        ),
        {"beneficiary_account_id": "USABA:021000021:12:2034:2F5", "beneficiary_country": "US"},
    ),
    "a beneficiary whose IBAN alone says the country": (
        pain,
        ("<CdtrAgt><FinInstnId><BICFI>COBADEFFXXX</BICFI></FinInstnId></CdtrAgt>", ""),
        {"beneficiary_country": "DE"},
    ),
    "an address that agrees": (
        pain,
        ("<Cdtr><Nm>", "<Cdtr><PstlAdr><Ctry>DE</Ctry></PstlAdr><Nm>"),
        {"beneficiary_country": "DE"},
    ),
    "no name": (pain, ("<Nm>Mira Holt</Nm>", "<CtryOfRes>DE</CtryOfRes>"), {"beneficiary_name": None}),
    "no reference": (pain, ("<RmtInf><Ustrd>Invoice 1</Ustrd></RmtInf>", ""), {"reference": None}),
    "a reference of the creditor's": (
        pain,
        ("<Ustrd>Invoice 1</Ustrd>", "<Strd><CdtrRefInf><Ref>RF18539007547034</Ref></CdtrRefInf></Strd>"),
        {"reference": "RF18539007547034"},
    ),
    "a reference of several lines": (
        pain,
        ("<Ustrd>Invoice 1</Ustrd>", "<Ustrd>Invoice 1</Ustrd><Ustrd>of May</Ustrd>"),
        {"reference": "Invoice 1 of May"},
    ),
    "a name with entities, CDATA and letters of all scripts": (
        pain,
        ("Mira Holt", "M&#252;ller &amp; <![CDATA[Söhne <Łódź>]]> 株式会社"),
        {"beneficiary_name": "Müller & Söhne <Łódź> 株式会社"},
    ),
    "a text around a comment": (pain, ("100.51</InstdAmt>", "100<!-- . -->.51</InstdAmt>"), {"amount_minor": 10_051}),
    "more decimals than are needed": (pain, ("100.51</InstdAmt>", "100.51000</InstdAmt>"), {"amount_minor": 10_051}),
    "an amount in a currency without decimals": (
        pain,
        ('Ccy="EUR">100.51', 'Ccy="JPY">5000', "201.03", "5100.52"),
        {"amount_minor": 5_000, "currency": "JPY"},
    ),
    "an amount in a currency with three decimals": (
        pain,
        ('Ccy="EUR">100.51', 'Ccy="KWD">1.234', "201.03", "101.754"),
        {"amount_minor": 1_234, "currency": "KWD"},
    ),
    "an equivalent amount in the currency that is paid": (
        pain,
        (
            '<InstdAmt Ccy="EUR">100.51</InstdAmt>',
            '<EqvtAmt><Amt Ccy="EUR">100.51</Amt><CcyOfTrf>EUR</CcyOfTrf></EqvtAmt>',
        ),
        {"amount_minor": 10_051, "currency": "EUR"},
    ),
    "a control sum with other zeros": (pain, ("<CtrlSum>201.03", "<CtrlSum>0201.0300000"), {}),
    "no sums": (pain, ("<CtrlSum>201.03</CtrlSum>", ""), {}),
    "an end-to-end id with other characters": (
        pain,
        ("INVOICE-1<", "INV/2026 1:é<"),
        {"transaction_id": "INV:2F2026:201:3A:C3:A9"},
    ),
    "a UETR in an initiation": (
        pain,
        ("</EndToEndId>", f"</EndToEndId><UETR>{UETR}</UETR>"),
        {"transaction_id": UETR, "source_system": "uetr"},
    ),
    "an id of the first bank's": (
        pacs,
        (f"<UETR>{UETR[:-4]}0001</UETR>", "<TxId>T-1</TxId>"),
        {"transaction_id": "T-1", "source_system": "txid:NWBKGB2LXXX"},
    ),
    "an end-to-end id alone": (
        pacs,
        (f"<UETR>{UETR[:-4]}0001</UETR>", ""),
        {"transaction_id": "E-1", "source_system": f"e2e:{PAYER}"},
    ),
    "a time of acceptance": (
        pacs,
        ("<ChrgBr>", "<AccptncDtTm>2025-11-24T08:59:59.999000Z</AccptncDtTm><ChrgBr>"),
        {"event_time_ms": NINE_MS - 1},
    ),
    "an ordered amount that differs by the charges": (
        pacs,
        (
            "<ChrgBr>SHAR</ChrgBr>",
            '<InstdAmt Ccy="EUR">103.01</InstdAmt><ChrgBr>SHAR</ChrgBr><ChrgsInf><Amt Ccy="EUR">2.50</Amt></ChrgsInf>',
        ),
        {"amount_minor": 10_051},
    ),
    "charges that the payer bears, added for the banks that follow": (
        pacs,
        (
            "<ChrgBr>SHAR</ChrgBr>",
            '<InstdAmt Ccy="EUR">98.01</InstdAmt><ChrgBr>DEBT</ChrgBr><ChrgsInf><Amt Ccy="EUR">2.50</Amt></ChrgsInf>',
        ),
        {"amount_minor": 10_051},
    ),
    "charges that the payer bears, accounted for apart": (
        pacs,
        (
            "<ChrgBr>SHAR</ChrgBr>",
            '<InstdAmt Ccy="EUR">100.51</InstdAmt><ChrgBr>DEBT</ChrgBr><ChrgsInf><Amt Ccy="EUR">2.50</Amt></ChrgsInf>',
        ),
        {"amount_minor": 10_051},
    ),
    "charges of nothing": (
        pacs,
        (
            "<ChrgBr>SHAR</ChrgBr>",
            '<InstdAmt Ccy="EUR">100.51</InstdAmt><ChrgBr>CRED</ChrgBr><ChrgsInf><Amt Ccy="EUR">0.00</Amt></ChrgsInf>',
        ),
        {"amount_minor": 10_051},
    ),
    "a rate that divides, and a charge in what was ordered": (
        pacs,
        (
            "<ChrgBr>SHAR</ChrgBr>",
            '<InstdAmt Ccy="USD">111.00</InstdAmt><XchgRate>1.0944</XchgRate><ChrgBr>SHAR</ChrgBr>'
            '<ChrgsInf><Amt Ccy="USD">1.00</Amt></ChrgsInf>',
        ),
        {"amount_minor": 10_051, "currency": "EUR"},
    ),
    "an ordered amount in another currency, with its rate": (
        pacs,
        ("<ChrgBr>SHAR</ChrgBr>", '<InstdAmt Ccy="USD">110.00</InstdAmt><XchgRate>0.9137</XchgRate>'),
        {"amount_minor": 10_051, "currency": "EUR"},
    ),
    "blanks and line ends around texts": (pain, (f"<IBAN>{PAYEE}</IBAN>", f"<IBAN>\n   {PAYEE}\t</IBAN>"), {}),
    "a prefix on every element": (
        lambda: pain().replace("<", "<d:").replace("<d:/", "</d:").replace("<d:?", "<?").replace("xmlns=", "xmlns:d="),
        (),
        {},
    ),
    "a schema's place": (
        pain,
        (
            "<Document ",
            '<Document xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="urn:a b.xsd" ',
        ),
        {},
    ),
}


@pytest.mark.parametrize("what", SOUND)
def test_a_sound_message_is_read_as(what, tmp_path):
    make, replaced, expected = SOUND[what]
    message = make()
    for before, after in zip(replaced[::2], replaced[1::2], strict=True):
        assert before in message, before
        # Sums stand twice, and what is of one payment is replaced in the first.
        message = (
            message.replace(before, after)
            if before[0].isdigit() or "Sum" in before
            else message.replace(before, after, 1)
        )
    found = one(tmp_path, message)
    assert {name: getattr(found, name) for name in expected} == expected


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_of_utf_8_changes_nothing(mark, tmp_path):
    assert one(tmp_path, mark + pain().encode()).beneficiary_name == "Mira Holt"


def test_latin_1_is_read_as_what_it_declares(tmp_path):
    message = pain().replace("UTF-8", "ISO-8859-1").replace("Mira Holt", "José Peña")
    assert one(tmp_path, message.encode("latin-1")).beneficiary_name == "José Peña"


def test_a_time_without_its_distance_from_utc_is_of_the_zone_that_was_told(tmp_path):
    message = pain().replace("09:00:00Z", "10:00:00")
    assert one(tmp_path, message, rule=TimeRule(zone="Europe/Berlin")).event_time_ms == NINE_MS


def test_a_time_that_says_its_zone_keeps_it(tmp_path):
    assert one(tmp_path, pain(), rule=TimeRule(zone="Asia/Tokyo")).event_time_ms == NINE_MS


def test_a_way_of_paying_that_was_told_is_used_where_the_message_says_none(tmp_path):
    message = pain().replace("<PmtTpInf><SvcLvl><Cd>SEPA</Cd></SvcLvl></PmtTpInf>", "")
    assert one(tmp_path, message, channel=Channel.CHAPS).channel is Channel.CHAPS
    assert one(tmp_path, message).channel is Channel.OTHER


def test_reading_again_gives_the_same(tmp_path):
    source = read(tmp_path, pain())[2]
    assert list(source.read()) == list(source.read())


def test_a_service_level_that_says_no_way_of_paying_has_no_place(tmp_path):
    payments, faults, source = read(tmp_path, pain().replace("<Cd>SEPA", "<Cd>URGP"))
    assert (faults, payments[0].transaction.channel) == ([], Channel.OTHER)
    assert source.left_out["CstmrCdtTrfInitn/PmtInf/PmtTpInf/SvcLvl/Cd"] == 1
