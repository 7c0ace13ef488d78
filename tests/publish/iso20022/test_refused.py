"""Files that are refused whole: no XML, XML that attacks its reader, and messages that aren't what is read."""

from __future__ import annotations

import pytest

from pipeline.io.xml_stream import TOKEN_BYTES_MAX
from tests.publish.iso20022.given import pacs, pain, read

BOMB = (
    '<!DOCTYPE Document [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;">]>'
)
GROUP = pain()[pain().index("  <GrpHdr>") : pain().index("  <PmtInf>")]


def declared(what: str, text: str | None = None) -> bytes:
    return (text or pain()).replace("UTF-8", what).encode()


REFUSED = {
    "an entity bomb": (pain().replace("<Document", f"{BOMB}<Document").replace("Mira Holt", "&c;"), "document type"),
    "an external entity": (
        pain().replace("<Document", '<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><Document'),
        "document type",
    ),
    "an external document type": (
        pain().replace("<Document", '<!DOCTYPE d SYSTEM "http://192.0.2.1/d"><Document'),
        "document type",
    ),
    "an empty document type": (pain().replace("<Document", "<!DOCTYPE Document><Document"), "document type"),
    "a parameter entity": (
        pain().replace("<Document", '<!DOCTYPE d [<!ENTITY % p "x">%p;]><Document'),
        "document type",
    ),
    "an entity that nobody defined": (pain().replace("Mira Holt", "&nbsp;"), "undefined entity"),
    "deep nesting": (pain().replace("<MsgId>", "<MsgId>" + "<a>" * 40 + "</a>" * 40, 1), "deeper than 32"),
    "a huge attribute": (pain().replace("<MsgId>", f'<MsgId x="{"y" * 3 * TOKEN_BYTES_MAX}">', 1), "longer than"),
    "a huge name of an element": (pain().replace("<MsgId>", f"<{'y' * 100}/><MsgId>", 1), "longer than 64"),
    "a huge comment": (pain().replace("<MsgId>", f"<!--{'y' * 3 * TOKEN_BYTES_MAX}--><MsgId>", 1), "longer than"),
    "a huge name of a payee": (pain().replace("Mira Holt", "y" * 3_000_000, 1), "a text of over 2,000 characters"),
    "thousands of lines of a reference": (
        pain().replace("<RmtInf>", "<RmtInf>" + "<Ustrd>x</Ustrd>" * 1_001, 1),
        "more than 1,000 times",
    ),
    "thousands of different elements": (
        pain().replace("<MsgId>", "".join(f"<a{n}/>" for n in range(1_100)) + "<MsgId>", 1),
        "more than 1,000 different elements",
    ),
    "a file that breaks off": (pain()[:-40], "the XML is broken"),
    "a file that breaks off behind a payment": (
        pain().split("</CdtTrfTxInf>")[0] + "</CdtTrfTxInf>",
        "the XML is broken",
    ),
    "two documents in a file": (pain() + pain()[pain().index("<Document") :], "the XML is broken"),
    "something behind the document": (pain() + "x", "the XML is broken"),
    "a CSV file": ("transaction_id,account_id\n1,2\n", "the XML is broken"),
    "bytes that are no UTF-8": (pain().replace("Mira Holt", "Mira Höl").encode("latin-1"), "the XML is broken"),
    "a zero character": (pain().replace("Mira", "Mi\x00ra"), "the XML is broken"),
    "a character that XML has none of": (pain().replace("Mira", "Mi&#1;ra"), "the XML is broken"),
    "UTF-16": (pain().replace("UTF-8", "UTF-16").encode("utf-16"), "UTF-16"),
    "UTF-32": (pain().encode("utf-32"), "UTF-32"),
    "Windows-1252": (declared("windows-1252"), "'windows-1252'"),
    "UTF-8 that is declared as another encoding": (
        pain().replace("UTF-8", "ISO-8859-1").replace("Mira", "Jörg").encode(),
        "is sound UTF-8",
    ),
    "UTF-7": (declared("utf-7"), "'utf-7'"),
    "an encoding that there is none of": (declared("x-klingon"), "x-klingon"),
    "XML 1.1": (pain().replace('version="1.0"', 'version="1.1"'), "XML"),
    "a version that isn't read": (pain().replace("pain.001.001.09", "pain.001.001.02"), "'pain.001.001.02'"),
    "a direct debit": (pain().replace("pain.001.001.09", "pain.008.001.08"), "'pain.008.001.08'"),
    "a namespace of nobody's": (
        pain().replace("urn:iso:std:iso:20022:tech:xsd:", "urn:x:"),
        "no Document of ISO 20022",
    ),
    "no namespace": (
        pain().replace(' xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"', ""),
        "no Document of ISO 20022",
    ),
    "another first element": (pain().replace("Document", "Doc"), "no Document of ISO 20022"),
    "an envelope around the document": (
        "<Envelope>" + pain()[pain().index("<Document") :] + "</Envelope>",
        "no Document of ISO 20022",
    ),
    "the message of another namespace": (pacs().replace("pacs.008.001.08", "pain.001.001.09"), "no CstmrCdtTrfInitn"),
    "two messages in a document": (
        pain().replace(" </CstmrCdtTrfInitn>", " </CstmrCdtTrfInitn><CstmrCdtTrfInitn/>"),
        "more than one message",
    ),
    "a document without a message": (
        '<Document xmlns="urn:iso:std:iso:20022:tech:xsd:pain.001.001.09"/>',
        "no header",
    ),
    "no header": (pain().replace(GROUP, ""), "before the message's header"),
    "a header behind the payments": (
        pain().replace(GROUP, "").replace(" </CstmrCdtTrfInitn>", f"{GROUP} </CstmrCdtTrfInitn>"),
        "before the message's header",
    ),
    "two headers": (pain().replace(GROUP, GROUP + GROUP), "stands twice"),
    "a payer behind the payments": (
        pain().replace("  </PmtInf>", "<DbtrAcct><Id><IBAN>GB82WEST12345698765432</IBAN></Id></DbtrAcct></PmtInf>"),
        "behind the payments that it is about",
    ),
    "a text between elements": (pain().replace("<CdtTrfTxInf>", "<CdtTrfTxInf>pay"), "a text between its elements"),
    "an element in an amount": (
        pain().replace("100.51</InstdAmt>", "100<b>.51</b></InstdAmt>"),
        "elements where a text is read",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_is_refused_with_one_fault_that_says_why(what, tmp_path):
    message, words = REFUSED[what]
    _, faults, _ = read(tmp_path, message)
    assert len(faults) == 1
    assert words in faults[0].what
    assert faults[0].line > 0


def test_nothing_outside_the_file_is_opened(tmp_path):
    """An external entity, and a schema's place, name files that would be read by whoever followed them."""
    secret = tmp_path / "secret"
    secret.write_text("Mira Secret")
    message = pain().replace("<Document", f'<!DOCTYPE d [<!ENTITY x SYSTEM "{secret.as_uri()}">]><Document')
    payments, faults, _ = read(tmp_path, message.replace("Mira Holt", "&x;"))
    assert (payments, len(faults)) == ([], 1)
    assert "Secret" not in faults[0].what


def test_an_element_of_another_namespace_is_no_element_of_the_message(tmp_path):
    """A second account in a namespace of nobody's changes nothing, and is named."""
    other = '<x:CdtrAcct xmlns:x="urn:x"><x:Id><x:IBAN>GB82WEST12345698765432</x:IBAN></x:Id></x:CdtrAcct>'
    payments, faults, source = read(tmp_path, pain().replace("<CdtrAcct>", f"{other}<CdtrAcct>"))
    assert faults == []
    assert payments[0].transaction.beneficiary_account_id == "DE89370400440532013000"
    assert source.left_out["CstmrCdtTrfInitn/PmtInf/CdtTrfTxInf/(of another namespace)"] == 2
