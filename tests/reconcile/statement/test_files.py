"""Statements as files: what they say is read exactly, and what could say anything else is refused."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.rail.statement import FORMATS, decimal_text
from pipeline.reconcile.statement.camt_files import camt_of
from pipeline.reconcile.statement.csv_files import read_csv
from pipeline.reconcile.statement.entries import (
    Entry,
    Head,
    Kind,
    StatementUnusable,
    Sum,
    amount_minor,
    follows,
    is_gap,
    key_of,
    time_of,
)
from pipeline.reconcile.statement.statement_service import reader_of, statements_of
from tests.reconcile.statement.given import KEY, RECALL_KEY, SINCE_MS, written


def parts_of(content: bytes) -> list[Head | Entry]:
    file = io.BytesIO(content)
    return list(reader_of(file)(file))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("currency", ["GBP", "JPY", "BHD"])
def test_what_the_rail_wrote_is_read_exactly(form, currency, tmp_path):
    content = written(tmp_path, form, currency)
    head, paid, returned = parts_of(content)
    assert isinstance(head, Head)
    assert (head.account_id, head.currency, head.sequence, head.form) == ("FRAUD-SETTLEMENT", currency, 1, form)
    assert (head.opening_minor, head.closing_minor, head.entries) == (100_000, 88_000, 2)
    assert head.from_at.timestamp() * 1000 == SINCE_MS
    parties = "GB29-0001", "GB29-0002"
    assert paid == Entry(1, Kind.TRANSFER, KEY, -12_345, *parties)
    assert returned == Entry(2, Kind.RETURN, RECALL_KEY, 345, *parties)


def test_several_statements_of_a_file_are_read_one_after_the_other(tmp_path):
    one = written(tmp_path, "csv")
    two = b"".join(one.splitlines(keepends=True)[1:]).replace(b",1,STATEMENT", b",2,STATEMENT")
    found = [(head.sequence, len(list(entries))) for head, entries in statements_of(iter(parts_of(one + two)))]
    assert found == [(1, 2), (2, 2)]


def test_a_csv_that_a_spreadsheet_saved_with_its_mark_of_bytes_is_read(tmp_path):
    plain = written(tmp_path, "csv")
    assert parts_of(b"\xef\xbb\xbf" + plain) == parts_of(plain)


def test_a_character_that_no_database_keeps_is_refused(tmp_path):
    with pytest.raises(StatementUnusable, match="line 3"):
        parts_of(written(tmp_path, "csv").replace(KEY.encode(), b"\0" + KEY.encode()))


def test_a_day_without_entries_is_a_statement(tmp_path):
    for form in FORMATS:
        [head] = parts_of(written(tmp_path / form, form, since_ms=1, until_ms=2))
        assert isinstance(head, Head)
        assert head.opening_minor == head.closing_minor


BROKEN = {
    "a document type": lambda xml: xml.replace(b"<Document", b'<!DOCTYPE x [<!ENTITY a "b">]><Document', 1),
    "an external document type": lambda xml: xml.replace(b"<Document", b'<!DOCTYPE x SYSTEM "file:///x"><Document', 1),
    "another message": lambda xml: xml.replace(b"camt.053.001.08", b"camt.054.001.08"),
    "an entry that is not booked": lambda xml: xml.replace(b"<Cd>BOOK</Cd>", b"<Cd>PDNG</Cd>", 1),
    "no status": lambda xml: xml.replace(b"<Sts><Cd>BOOK</Cd></Sts>", b"", 1),
    "no direction": lambda xml: xml.replace(b"<CdtDbtInd>DBIT</CdtDbtInd>", b"", 1),
    "another currency": lambda xml: xml.replace(b'<Ntry><NtryRef>1</NtryRef><Amt Ccy="GBP"', b'<Ntry><Amt Ccy="EUR"'),
    "half a penny": lambda xml: xml.replace(b">123.45<", b">123.455<"),
    "an exponent": lambda xml: xml.replace(b">123.45<", b">1e3<"),
    "a sign": lambda xml: xml.replace(b">123.45<", b">-123.45<"),
    "details of another sum": lambda xml: xml.replace(
        b'</Refs><Amt Ccy="GBP">123.45', b'</Refs><Amt Ccy="GBP">123.46', 1
    ),
    "no opening balance": lambda xml: xml.replace(b"<Cd>OPBD</Cd>", b"<Cd>ITBD</Cd>"),
    "two closing balances": lambda xml: xml.replace(b"<Cd>OPBD</Cd>", b"<Cd>CLBD</Cd>"),
    "no sequence": lambda xml: xml.replace(b"<ElctrncSeqNb>1</ElctrncSeqNb>", b""),
    "a time of nowhere": lambda xml: xml.replace(b"+00:00</FrDtTm>", b"</FrDtTm>"),
    "a text without end": lambda xml: xml.replace(b"<Id>STATEMENT", b"<Id>" + b"x" * 3_000 + b"STATEMENT"),
    "depth without end": lambda xml: xml.replace(b"<GrpHdr>", b"<a>" * 50 + b"</a>" * 50 + b"<GrpHdr>"),
    "broken XML": lambda xml: xml[: len(xml) // 2],
    "nothing": lambda _: b"<",
    "a name twice": lambda xml: xml.replace(b"<ElctrncSeqNb>", b"<ElctrncSeqNb>2</ElctrncSeqNb><ElctrncSeqNb>"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_could_say_something_else_is_refused(what, tmp_path):
    content = written(tmp_path)
    broken = BROKEN[what](content)
    assert broken != content
    with pytest.raises(StatementUnusable):
        parts_of(broken)


def test_entities_are_never_expanded():
    bomb = b'<?xml version="1.0"?><!DOCTYPE z [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><z>&b;</z>'
    with pytest.raises(StatementUnusable, match="document type"):
        camt_of(bomb)


def test_an_element_of_another_namespace_is_another_one(tmp_path):
    content = written(tmp_path).replace(
        b"<ElctrncSeqNb>", b'<ElctrncSeqNb xmlns="urn:x">7</ElctrncSeqNb><ElctrncSeqNb>'
    )
    head = parts_of(content)[0]
    assert isinstance(head, Head)
    assert head.sequence == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"<RtrInf><Rsn><Cd>FOCR</Cd></Rsn></RtrInf>", b""),  # a credit that is no return: not ours
        (b"<TxId>7c9e66797425", b"<TxId>8c9e66797425"),
    ],
)
def test_a_return_is_known_by_its_own_key(before, after, tmp_path):
    content = written(tmp_path)
    assert before in content
    returned = parts_of(content.replace(before, after))[2]
    assert isinstance(returned, Entry)
    assert (returned.kind, returned.key) != (Kind.RETURN, RECALL_KEY)


def test_a_reversal_of_the_bank_explains_nothing_and_names_the_payment(tmp_path):
    """Two people account for a line that names no key, and what was booked back is somebody's money."""
    content = written(tmp_path).replace(b"<Sts>", b"<RvslInd>true</RvslInd><Sts>", 1)
    reversed_entry = parts_of(content)[1]
    assert isinstance(reversed_entry, Entry)
    assert (reversed_entry.kind, reversed_entry.key) == (Kind.OTHER, KEY)


def test_payments_booked_as_one_entry_are_entries_each(tmp_path):
    one = b'<TxDtls><Refs><EndToEndId>a</EndToEndId></Refs><Amt Ccy="GBP">100.00</Amt></TxDtls>'
    two = b'<TxDtls><Refs><EndToEndId>b</EndToEndId></Refs><Amt Ccy="GBP">23.45</Amt></TxDtls>'
    content = written(tmp_path)
    begin = content.index(b"<TxDtls>")
    end = content.index(b"</TxDtls>") + len(b"</TxDtls>")
    parts = parts_of(content[:begin] + one + two + content[end:])
    assert [(part.key, part.amount_minor) for part in parts[1:3] if isinstance(part, Entry)] == [
        ("a", -10_000), ("b", -2_345)
    ]  # fmt: skip
    with pytest.raises(StatementUnusable, match="sum"):
        parts_of(content[:begin] + one + one + content[end:])


@pytest.mark.parametrize(
    "broken",
    [
        lambda text: text.replace("record,", "kind,", 1),
        lambda text: text.replace("ENTRY,", "OTHER,", 1),
        lambda text: "\n".join(line for line in text.splitlines() if "STATEMENT," not in line[:10]) + "\n",
        lambda text: text.replace("-123.45", "-123.455"),
        lambda text: text.replace("-123.45", "1e3"),
        lambda text: text.replace("TRANSFER", "GIFT"),
        lambda text: text.replace(",GB29-0002", "", 1),
        lambda text: text + "ENTRY,another\n",
        lambda text: text.replace("ENTRY,FRAUD-SETTLEMENT", "ENTRY,ANOTHER", 1),
        lambda _: "",
    ],
)
def test_a_csv_that_is_not_as_its_first_line_says_is_refused(broken, tmp_path):
    text = written(tmp_path, "csv").decode()
    with pytest.raises(StatementUnusable):
        list(read_csv(io.BytesIO(broken(text).encode())))


@settings(deadline=None)
@given(st.integers(0, 10**17), st.sampled_from(["GBP", "JPY", "BHD", "CLF"]))
def test_amounts_are_whole_minor_units_whatever_the_currency(minor, currency):
    assert amount_minor(decimal_text(minor, currency), currency) == minor


@pytest.mark.parametrize(
    ("text", "currency"),
    [("1.005", "GBP"), ("1.5", "JPY"), ("1.0005", "BHD"), ("", "GBP"), ("1,00", "GBP"), ("NaN", "GBP"), ("٣", "GBP"),
     ("99999999999999999.99", "GBP"), (" 1", "GBP")],
)  # fmt: skip
def test_what_is_no_whole_number_of_minor_units_is_refused(text, currency):
    with pytest.raises(StatementUnusable):
        amount_minor(text, currency)


def test_a_key_is_the_same_with_dashes_or_without():
    assert key_of(KEY.replace("-", "").upper()) == KEY == key_of(KEY)
    assert key_of("INVOICE-1") == "INVOICE-1"


HEAD = Head("A", "GBP", 7, "n", "csv", time_of("2026-11-01T00:00:00Z"), time_of("2026-11-02T00:00:00Z"), 10, 30, 1)


def test_entries_lead_from_balance_to_balance():
    total = Sum(HEAD)
    total.add(Entry(1, Kind.OTHER, None, 20, None, None))
    total.check()
    total.add(Entry(2, Kind.OTHER, None, 0, None, None))
    with pytest.raises(StatementUnusable, match="says 1 entries"):
        total.check()
    with pytest.raises(StatementUnusable, match="closes with"):
        Sum(HEAD).check()


@pytest.mark.parametrize(
    "after",
    [
        HEAD,
        HEAD._replace(sequence=6),
        HEAD._replace(sequence=9, opening_minor=30),
        HEAD._replace(sequence=8, opening_minor=29),
        HEAD._replace(sequence=8, opening_minor=30),  # begins before the one before has ended
        HEAD._replace(sequence=8, opening_minor=30, from_at=HEAD.to_at, to_at=HEAD.from_at),
    ],
)
def test_a_statement_that_does_not_go_on_where_the_last_ended_is_refused(after):
    with pytest.raises(StatementUnusable):
        follows(after, HEAD, NOW)


def test_a_statement_that_goes_on_is_taken():
    follows(HEAD, None, NOW)
    ends_at = time_of("2026-11-03T00:00:00Z")
    follows(HEAD._replace(sequence=8, opening_minor=30, from_at=HEAD.to_at, to_at=ends_at), HEAD, NOW)


NOW = time_of("2026-12-01T00:00:00Z")


@pytest.mark.parametrize("to", ["2026-12-02T00:00:01Z", "2099-01-01T00:00:00Z"])
def test_a_statement_that_ends_in_the_future_is_refused(to):
    with pytest.raises(StatementUnusable, match="in the future"):
        follows(HEAD._replace(to_at=time_of(to)), None, NOW)


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59Z"])
def test_a_time_of_no_year_that_a_statement_can_be_of_is_refused(text):
    with pytest.raises(StatementUnusable, match="of no year"):
        time_of(text)


LAST_OF_YEAR = HEAD._replace(
    sequence=365, from_at=time_of("2025-12-31T00:00:00+01:00"), to_at=time_of("2026-01-01T00:00:00+01:00")
)
FIRST_OF_YEAR = LAST_OF_YEAR._replace(
    sequence=1,
    opening_minor=LAST_OF_YEAR.closing_minor,
    from_at=LAST_OF_YEAR.to_at,
    to_at=time_of("2026-01-02T00:00:00+01:00"),
)


def test_a_bank_may_number_each_year_anew():
    follows(FIRST_OF_YEAR, LAST_OF_YEAR, NOW)
    follows(FIRST_OF_YEAR._replace(sequence=366), LAST_OF_YEAR, NOW)


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (FIRST_OF_YEAR._replace(sequence=2), LAST_OF_YEAR),
        (FIRST_OF_YEAR._replace(opening_minor=FIRST_OF_YEAR.opening_minor + 1), LAST_OF_YEAR),
        (FIRST_OF_YEAR._replace(from_at=LAST_OF_YEAR.from_at), LAST_OF_YEAR),
        (FIRST_OF_YEAR, FIRST_OF_YEAR),
    ],
)
def test_a_new_year_is_no_way_around_the_order(first, last):
    with pytest.raises(StatementUnusable):
        follows(first, last, NOW)


def test_time_that_no_statement_is_of_is_a_gap():
    later = FIRST_OF_YEAR._replace(from_at=time_of("2026-01-01T00:00:02+01:00"))
    assert [is_gap(later, LAST_OF_YEAR), is_gap(FIRST_OF_YEAR, LAST_OF_YEAR), is_gap(later, None)] == [
        True,
        False,
        False,
    ]
