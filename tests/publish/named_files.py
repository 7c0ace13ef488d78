"""Files as people have them, by name: each with its bytes, the map that goes with it, and what must become of it."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from decimal import Decimal
from typing import Any, NamedTuple

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.feather as pa_feather  # type: ignore[import-untyped]
import pyarrow.parquet as pa_parquet  # type: ignore[import-untyped]

from tests.publish.payment_rows import csv_text, short, typed, typed_whole, whole

SHORTEST = '[file]\ndoubles = "shortest"\n'
GERMAN = '[file]\ndecimal = ","\ngrouping = "."\n'
PEOPLES = """
[columns]
transaction_id = "Ref No"
account_id = "Konto"
amount = "Betrag"
event_time = "Buchungszeit"
beneficiary_account_id = "Empfänger"
fraud = "Betrug?"
[constants]
currency = "EUR"
beneficiary_country = "DE"
channel = "SEPA"
account_opened = "2015-01-01"
account_time_zone = "Europe/Berlin"
[values.fraud]
ja = true
nein = false
[times]
event_time = {format = "%d.%m.%Y %H:%M:%S", zone = "Europe/Berlin"}
[file]
decimal = ","
grouping = "."
"""
PEOPLES_ROWS = "Ref No;Konto;Betrag;Buchungszeit;Empfänger;Betrug?\nA-1;DE1;1.234,50;01.07.2026 09:00:00;DE2;nein\n"


class NamedFile(NamedTuple):
    name: str
    content: bytes
    mapping: str | None
    payments: int | None  # None where the file is refused
    last: dict[str, Any]  # fields of the last payment
    phrase: str  # within the sentence of what is refused
    place: tuple[int, str | None] | None  # line and column of the fault; None where the file can't be read at all


FILES: list[NamedFile] = []


def sound(name: str, content: str | bytes, mapping: str | None = None, payments: int = 2, **last: Any) -> None:
    FILES.append(NamedFile(name, _bytes(content), mapping, payments, last, "", None))


def unreadable(name: str, content: str | bytes, phrase: str, mapping: str | None = None) -> None:
    FILES.append(NamedFile(name, _bytes(content), mapping, None, {}, phrase, None))


def faulty(
    name: str, content: str | bytes, line: int, column: str | None, phrase: str, mapping: str | None = None
) -> None:
    FILES.append(NamedFile(name, _bytes(content), mapping, None, {}, phrase, (line, column)))


def _bytes(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content


def parquet_of(table: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    pa_parquet.write_table(table, sink, **options)
    return sink.getvalue()


def feather_of(table: Any, **options: Any) -> bytes:
    sink = io.BytesIO()
    pa_feather.write_feather(table, sink, **options)
    return sink.getvalue()


def spoilt(name: str, field: str, value: str, phrase: str, mapping: str | None = None) -> None:
    """A CSV file of the whole form with one value spoilt, in its third line."""
    faulty(f"{name}.csv", csv_text(whole(**{field: value})), 3, field, phrase, mapping)


def said(name: str, field: str, value: str, mapping: str | None = None, **last: Any) -> None:
    """A CSV file of the whole form with one value said in another way."""
    sound(f"{name}.csv", csv_text(whole(**{field: value})), mapping, **last)


def _forms_of_text() -> None:
    text, last = csv_text(whole()), {"amount_minor": 1250, "reference": "Rent, July"}
    sound("plain.csv", text, **last)
    sound("EXPORT.CSV", text, **last)
    sound("payments.txt", text, **last)
    sound("payments", text, **last)
    sound("bom.csv", b"\xef\xbb\xbf" + text.encode(), **last)
    sound("utf16-with-bom.csv", text.encode("utf-16"), **last)
    sound("utf16-big-endian-with-bom.csv", b"\xfe\xff" + text.encode("utf-16-be"), **last)
    sound("utf32-with-bom.csv", text.encode("utf-32"), **last)
    sound("utf16-declared.csv", text.encode("utf-16-le"), '[file]\nencoding = "UTF-16-LE"\n', **last)
    unreadable("utf16-without-bom.csv", text.encode("utf-16-le"), "UTF-16 without a byte order mark")
    unreadable("utf8-declared-cp1252.csv", b"\xef\xbb\xbf" + text.encode(), "begins with the mark", _encoding("cp1252"))
    sound("semicolons.csv", csv_text(whole(), ";"), **last)
    sound("tabs.tsv", csv_text(whole(), "\t"), **last)
    sound("pipes.csv", csv_text(whole(), "|"), **last)
    sound("carets.csv", csv_text(whole(), "^"), '[file]\nseparator = "^"\n', **last)
    unreadable("carets-undeclared.csv", csv_text(whole(), "^"), "no column of a payment")
    sound("excel-sep-line.csv", "sep=;\r\n" + csv_text(whole(), ";", "\r\n"), **last)
    sound("windows-ends.csv", csv_text(whole(), end="\r\n"), **last)
    sound("old-mac-ends.csv", csv_text(whole(), end="\r"), **last)
    sound("no-last-newline.csv", text.rstrip("\n"), **last)
    sound("blank-lines.csv", "\n\n" + text.replace("tx-1", "\ntx-1") + "\n\n\n", **last)
    sound("every-value-quoted.csv", _quoted(text), **last)
    sound("upper-case-header.csv", text.replace(*_header(text, str.upper)), **last)
    sound("blanks-in-header.csv", text.replace(*_header(text, lambda h: h.replace(",", " , "))), **last)
    sound("words-in-header.csv", text.replace(*_header(text, lambda h: h.replace("_", " ").title())), **last)
    sound("hyphens-in-header.csv", text.replace(*_header(text, lambda h: h.replace("_", "-"))), **last)
    sound("newline-in-quotes.csv", csv_text(short()).replace("\n0,", '\n"0",'), payments=2)
    faulty("newline-in-reference.csv", csv_text(whole(reference="Rent\nJuly")), 3, None, "controls")
    faulty("fault-behind-a-newline.csv", _later_fault(), 5, "currency", "is no currency")
    sound("quotes-in-reference.csv", csv_text(whole(reference='the "flat"')), reference='the "flat"')
    sound("umlauts.csv", csv_text(whole(beneficiary_name="Jörg Müller")), beneficiary_name="Jörg Müller")
    sound("gzip.csv.gz", gzip.compress(text.encode()), **last)
    sound("GZIP.CSV.GZ", gzip.compress(text.encode()), **last)
    sound("gzip-without-its-name.csv", gzip.compress(text.encode()), **last)
    sound("only-a-header.csv", text.partition("\n")[0] + "\n", payments=0)
    sound("only-a-header-without-newline.csv", text.partition("\n")[0], payments=0)
    sound("short-form.csv", csv_text(short()), amount_minor=5716, account_id="cust-000596")
    sound("short-form-in-pounds.csv", csv_text(short()).replace("amount_minor", "amount"), amount_minor=571600)
    sound("short-form-with-scenario.csv", csv_text([row | {"scenario": "2"} for row in short()]), amount_minor=5716)


def _encoding(name: str) -> str:
    return f'[file]\nencoding = "{name}"\n'


def _quoted(text: str) -> str:
    import csv

    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(csv.reader(io.StringIO(text)))
    return out.getvalue()


def _header(text: str, change: Callable[[str], str]) -> tuple[str, str]:
    header = text.partition("\n")[0]
    return header, change(header)


def _later_fault() -> str:
    rows = whole(3, currency="pounds")
    rows[0]["segments"] = '{"postcode_area":\n"SW"}'
    rows[1]["segments"] = '{"postcode_area":\n"SW"}'
    return csv_text([rows[0], rows[2]]).replace("tx-2", "tx-1")


def _broken_text() -> None:
    text = csv_text(whole())
    unreadable("empty.csv", "", "is empty")
    unreadable("blanks.csv", "  \n\n", "is empty")
    unreadable("bom-alone.csv", b"\xef\xbb\xbf", "")
    unreadable("no-header.csv", text.partition("\n")[2], "no column of a payment")
    unreadable("prose.csv", "These are the payments of July.\n", "no column of a payment")
    unreadable("two-equal-headers.csv", text.replace("device_id", "reference", 1), "two columns 'reference'")
    unreadable("two-headers-by-case.csv", text.replace("device_id", "Reference ", 1), "two columns")
    unreadable("both-amounts.csv", csv_text([row | {"amount_minor": "1250"} for row in whole()]), "has both")
    unreadable("misspelt-header.csv", text.replace("beneficiary_name", "beneficary_name", 1), "beneficary_name")
    unreadable("another-column.csv", csv_text([row | {"colour": "red"} for row in whole()]), "'colour'")
    unreadable("a-column-without-name.csv", csv_text([{"": "0"} | row for row in whole()]), "column ''")
    unreadable("index-of-pandas.csv", csv_text([{"Unnamed: 0": "0"} | row for row in whole()]), "Unnamed: 0")
    unreadable("missing-account.csv", csv_text(whole(account_id=None)), "lacks the column 'account_id'")
    unreadable("missing-currency.csv", csv_text(whole(currency=None)), "lacks the column 'currency'")
    unreadable("missing-amount.csv", csv_text(whole(amount=None)), "lacks the column 'amount_minor'")
    unreadable("missing-zone.csv", csv_text(whole(account_time_zone=None)), "lacks the column 'account_time_zone'")
    unreadable("header-in-cp1252.csv", "Empfänger,amount\n1,2\n".encode("cp1252"), "not in utf-8")
    unreadable("no-label.csv", csv_text(whole(fraud=None)), "no column 'fraud'")
    sound("without-what-is-optional.csv", csv_text(whole(reference=None, ip_address=None)), reference=None)
    faulty("unquoted-comma.csv", text.replace('"Rent, July"', "Rent, July"), 2, None, "19 values for 18 columns")
    faulty("values-missing.csv", text + "tx-9,GB29\n", 4, None, "2 values for 18 columns")
    faulty("total-line.csv", text + "Total;25.00\n", 4, None, "1 values for 18 columns")
    faulty("quote-never-closed.csv", text + '"tx-9,GB29', 4, None, "never closed")
    faulty("quote-not-doubled.csv", text.replace('"Rent, July"', '"Rent" July"', 1), 2, None, "not doubled")
    faulty("late-cp1252-byte.csv", _bytes(csv_text(whole(5000))) + _cp1252_row(), 5002, "beneficiary_name", "encoding")
    sound("cp1252-declared.csv", csv_text(whole(beneficiary_name="Jörg")).encode("cp1252"), _encoding("windows-1252"),
          beneficiary_name="Jörg")  # fmt: skip
    faulty("torn-utf16.csv", text.encode("utf-16") + b"\x00", 3, None, "not utf-16")
    faulty("nul-byte.csv", csv_text(whole(reference="Re\0nt")), 3, "reference", "NUL")
    faulty("line-of-a-megabyte.csv", text + "x" * 1_000_000, 4, None, "longer than")
    unreadable("torn-gzip.csv.gz", gzip.compress(text.encode() * 50)[:-20], "gzip")
    unreadable("gzip-of-other-checksum.csv.gz", _other_checksum(gzip.compress(text.encode())), "gzip")
    unreadable("workbook.xlsx", b"PK\x03\x04" + b"\0" * 100, "Excel")
    unreadable("old-workbook.xls", b"\xd0\xcf\x11\xe0" + b"\0" * 100, "Excel")
    unreadable("workbook-named.csv", b"PK\x03\x04" + b"\0" * 100, "Excel")
    unreadable("page.html", "<html><table>", "HTML")
    unreadable("packed.csv.bz2", b"BZh91AY&SY", "bzip2")
    unreadable("packed.csv.zst", b"\x28\xb5\x2f\xfd\0\0", "Zstandard")
    unreadable("packed.csv.xz", b"\xfd7zXZ\0\0", "xz")
    unreadable("payments.orc", b"ORC" + b"\0" * 20, "ORC")
    unreadable("payments.avro", b"Obj\x01" + b"\0" * 20, "Avro")
    unreadable("payments.pdf", b"%PDF-1.7\n", "PDF")
    unreadable("noise.csv", bytes(range(128, 256)) * 40, "")


def _cp1252_row() -> bytes:
    return csv_text(whole(2, beneficiary_name="Jörg")).splitlines()[2].replace("tx-1", "tx-x").encode("cp1252") + b"\n"


def _other_checksum(packed: bytes) -> bytes:
    return packed[:-8] + bytes(byte ^ 0xFF for byte in packed[-8:-4]) + packed[-4:]


def _amounts() -> None:
    said("amount-of-pence", "amount", "0.01", amount_minor=1)
    said("amount-without-decimals", "amount", "12", amount_minor=1200)
    said("amount-of-one-decimal", "amount", "12.5", amount_minor=1250)
    said("amount-with-zeros", "amount", "12.5000", amount_minor=1250)
    said("amount-of-19.99", "amount", "19.99", amount_minor=1999)
    said("amount-of-nothing", "amount", "0.00", amount_minor=0)
    said("amount-german", "amount", "1.234,50", GERMAN_ROWS, amount_minor=123450)
    said("amount-grouped", "amount", "1,234,567.89", '[file]\ngrouping = ","\n', amount_minor=123456789)
    spoilt("amount-of-three-decimals", "amount", "12.505", "more decimals than the 2")
    spoilt("amount-decimal-comma", "amount", "12,50", "signs")
    spoilt("amount-grouped-undeclared", "amount", "1,234.50", "signs")
    spoilt("amount-grouped-wrongly", "amount", "1,23.50", "signs", '[file]\ngrouping = ","\n')
    spoilt("amount-scientific", "amount", "1.25e3", "scientific")
    spoilt("amount-with-a-sign", "amount", "£12.50", "is no number")
    spoilt("amount-with-its-currency", "amount", "12.50 GBP", "is no number")
    spoilt("amount-in-brackets", "amount", "(12.50)", "is no number")
    spoilt("amount-infinite", "amount", "Infinity", "finite")
    spoilt("amount-nan", "amount", "NaN", "missing value")
    spoilt("amount-empty", "amount", "", "is empty")
    spoilt("amount-negative", "amount", "-5.00", "is not 0 to")
    spoilt("amount-huge", "amount", "100000000000000000000", "is not 0 to")
    spoilt("amount-with-a-blank", "amount", " 12.50", "blank")
    said("amount-with-a-blank-stripped", "amount", " 12.50 ", '[file]\nblanks = "strip"\n', amount_minor=1250)
    spoilt("amount-true", "amount", "True", "is no number")
    spoilt("amount-other-digits", "amount", "١٢.٥٠", "is no number")
    spoilt("amount-underscores", "amount", "1_000", "is no number")
    sound("yen.csv", csv_text(whole(amount="1200", currency="JPY")), amount_minor=1200)
    faulty("yen-with-sen.csv", csv_text(whole(amount="1200.50", currency="JPY")), 3, "amount", "more decimals than the 0")
    sound("dinars.csv", csv_text(whole(amount="1.234", currency="KWD")), amount_minor=1234)
    faulty("dinars-too-fine.csv", csv_text(whole(amount="1.2345", currency="KWD")), 3, "amount", "than the 3")
    faulty("gold.csv", csv_text(whole(currency="XAU")), 3, "amount", "no number of decimals")
    faulty("made-up-currency.csv", csv_text(whole(currency="QQQ")), 3, "amount", "no number of decimals")
    minor = [{("amount_minor" if k == "amount" else k): v for k, v in row.items()} for row in whole()]
    for name, value, phrase in (
        ("minor-with-decimals", "12.50", "with decimals"),
        ("minor-of-10-to-the-20", "100000000000000000000", "is not 0 to"),
        ("minor-of-thousands-of-digits", "9" * 5000, "out of range"),
        ("minor-infinite", "inf", "finite"),
        ("minor-with-leading-zeros", "0012", "leading zeros"),
        ("minor-grouped", "1,250", "signs"),
        ("minor-hexadecimal", "0x10", "is no number"),
        ("minor-true", "True", "is no number"),
        ("minor-null", "null", "missing value"),
    ):
        faulty(f"{name}.csv", csv_text([minor[0], minor[1] | {"amount_minor": value}]), 3, "amount_minor", phrase)
    sound("minor.csv", csv_text([minor[0], minor[1] | {"amount_minor": "1999"}]), amount_minor=1999)


GERMAN_ROWS = '[file]\ngrouping = "."\ndecimal = ","\n[values.amount]\n"12.50" = "12,50"\n'


def _words() -> None:
    for word in ("None", "nan", "NULL", "null", "N/A", "<NA>", "NaT", "\\N", "#N/A"):
        name = "".join(c for c in word if c.isalnum()) + f"-{len(word)}-{sum(map(ord, word))}"
        spoilt(f"name-{name}", "beneficiary_name", word, "missing value")
    said("name-Null-kept", "beneficiary_name", "Null", '[file]\nkept = ["Null"]\n', beneficiary_name="Null")
    said("name-None-absent", "beneficiary_name", "None", '[file]\nabsent = ["None"]\n', beneficiary_name=None)
    said("name-empty", "beneficiary_name", "", beneficiary_name=None)
    said("country-of-Namibia", "beneficiary_country", "NA", beneficiary_country="NA")
    spoilt("country-in-words", "beneficiary_country", "Germany", "country")
    spoilt("country-small", "beneficiary_country", "gb", "country")
    spoilt("currency-small", "currency", "gbp", "currency")
    spoilt("currency-sign", "currency", "£", "currency")
    spoilt("currency-nan", "currency", "nan", "missing value")
    spoilt("channel-unknown", "channel", "CARRIER_PIGEON", "is none of")
    spoilt("channel-small", "channel", "card", "is none of")
    said("channel-mapped", "channel", "Kreditkarte", '[values.channel]\nKreditkarte = "CARD"\n', channel="CARD")
    spoilt("channel-empty", "channel", "", "is empty")
    spoilt("zone-unknown", "account_time_zone", "Mars/Olympus", "IANA")
    spoilt("zone-of-windows", "account_time_zone", "GMT Standard Time", "IANA")
    spoilt("account-with-decimals-and-blank", "account_id", "1001 .0", "is not 1 to 64")
    spoilt("account-printed-iban", "account_id", "GB29 NWBK 6016", "is not 1 to 64")
    spoilt("account-with-blank", "account_id", "GB29 ", "blank")
    spoilt("account-empty", "account_id", "", "is empty")
    spoilt("account-too-long", "account_id", "9" * 65, "is not 1 to 64")
    spoilt("account-in-letters-alike", "account_id", "GВ29", "is not 1 to 64")
    said("account-of-digits", "account_id", "0012", account_id="0012")
    spoilt("address-none", "ip_address", "localhost", "IPv4")
    said("address-empty", "ip_address", "", ip_address=None)
    faulty("reference-too-long.csv", csv_text(whole(reference="x" * 141)), 3, None, "140 characters")
    spoilt("segments-none", "segments", "None", "missing value")
    said("segments-empty", "segments", "", segments={})
    spoilt("segments-of-numbers", "segments", '{"age_band": 3}', "JSON object")
    spoilt("segments-twice", "segments", '{"a": "1", "a": "2"}', "twice")
    spoilt("segments-list", "segments", "[]", "JSON object")
    spoilt("segments-python", "segments", "{'a': 'b'}", "JSON object")
    spoilt("segments-deep", "segments", '{"a":' * 200_0 + "1" + "}" * 200_0, "JSON object")
    faulty("segments-malformed.csv", csv_text(whole(segments='{"A": "x"}')), 3, None, "segment")
    again = csv_text([*whole(2), whole(1)[0] | {"event_time": "2026-07-01T10:00:00Z"}])
    faulty("id-twice.csv", again, 4, None, "transaction_id of line 2")
    faulty("row-twice.csv", csv_text([*whole(1), *whole(1)]), 3, None, "transaction_id of line 2")
    other = [*whole(1), whole(1)[0] | {"source_system": "other"}]
    sound("id-of-two-systems.csv", csv_text(other), source_system="other")


def _times() -> None:
    ms = 1_782_896_400_000  # 2026-07-01T09:00:00Z
    for name, text, at_ms in (
        ("zulu", "2026-07-01T09:00:00Z", ms),
        ("blank-between", "2026-07-01 09:00:00Z", ms),
        ("offset", "2026-07-01T11:00:00+02:00", ms),
        ("offset-without-colon", "2026-07-01T11:00:00+0200", ms),
        ("milliseconds", "2026-07-01T09:00:00.123Z", ms + 123),
        ("zeros-below", "2026-07-01T09:00:00.123000Z", ms + 123),
        ("without-seconds", "2026-07-01T09:00Z", ms),
    ):
        rows = whole(event_time=text)
        sound(f"time-{name}.csv", csv_text([rows[0] | {"event_time": "2026-07-01T08:00:00Z"}, rows[1]]), event_time_ms=at_ms)
    for name, text, phrase in (
        ("without-zone", "2026-07-01T09:00:00", "names no zone"),
        ("microseconds", "2026-07-01T09:00:00.123456Z", "finer than milliseconds"),
        ("date", "2026-07-01", "without a time of day"),
        ("day-first", "01/07/2026 09:00", "is no time like"),
        ("german", "01.07.2026 09:00:00", "is no time like"),
        ("in-words", "1 July 2026 9am", "is no time like"),
        ("number", "1782896400000", "is no time like"),
        ("of-excel", "46204.375", "is no time like"),
        ("day-31-of-june", "2026-06-31T09:00:00Z", "doesn't exist"),
        ("hour-24", "2026-07-01T24:00:00Z", "doesn't exist"),
        ("leap-second", "2026-06-30T23:59:60Z", "doesn't exist"),
        ("offset-of-a-day", "2026-07-01T09:00:00+25:00", "offset"),
        ("empty", "", "is empty"),
        ("of-1970", "1970-01-01T00:00:00Z", "outside 2015 to 2048"),
        ("of-9999", "9999-12-31T00:00:00Z", "outside 2015 to 2048"),
        ("year-0", "0000-01-01T00:00:00Z", "doesn't exist"),
        ("NaT", "NaT", "missing value"),
    ):
        spoilt(f"time-{name}", "event_time", text, phrase)
    one = whole(1)[0]

    def only(name: str, text: str, mapping: str, at_ms: int) -> None:
        sound(f"time-{name}.csv", csv_text([one | {"event_time": text}]), mapping, 1, event_time_ms=at_ms)

    berlin = '[times]\nevent_time = {zone = "Europe/Berlin"}\n'
    only("of-berlin", "2026-07-01T11:00:00", berlin, ms)
    only("formed", "01.07.2026 11:00", _format("%d.%m.%Y %H:%M", "Europe/Berlin"), ms)
    only("american", "07/01/2026 09:00", _format("%m/%d/%Y %H:%M", "UTC"), ms)
    only("in-seconds", "1782896400", '[times]\nevent_time = {unit = "s"}\n', ms)
    only("in-microseconds", "1782896400000000", '[times]\nevent_time = {unit = "us"}\n', ms)
    only("cut", "2026-07-01T09:00:00.123456Z", '[times]\nevent_time = {below_ms = "cut"}\n', ms + 123)
    autumn, spring = "2025-10-26T02:30:00", "2026-03-29T02:30:00"
    for name, text in (("autumn", autumn), ("spring", spring)):
        faulty(f"time-of-{name}.csv", csv_text([one | {"event_time": text}]), 2, "event_time", "change of clocks", berlin)
    faulty("time-not-as-formed.csv", csv_text([one]), 2, "event_time", "format", _format("%d.%m.%Y %H:%M", "UTC"))
    faulty("time-in-lossy-microseconds.csv", csv_text([one | {"event_time": "1782896400000001"}]), 2, "event_time",
           "finer", '[times]\nevent_time = {unit = "us"}\n')  # fmt: skip
    counted = [{("event_time_ms" if k == "event_time" else k): v for k, v in one.items()}]
    sound("time-ms.csv", csv_text([counted[0] | {"event_time_ms": str(ms)}]), payments=1, event_time_ms=ms)
    for name, text, phrase in (
        ("seconds-as-ms", "1782896400", "outside 2015 to 2048"),
        ("microseconds-as-ms", "1782896400000000", "outside 2015 to 2048"),
        ("ms-with-decimals", "1782896400000.0", "with decimals"),
        ("iso-as-ms", "2026-07-01T09:00:00Z", "is no number"),
    ):
        faulty(f"time-{name}.csv", csv_text([counted[0] | {"event_time_ms": text}]), 2, "event_time_ms", phrase)
    faulty("future.csv", csv_text(whole(event_time="2048-01-01T00:00:00Z")), 3, None, "ahead of")
    spoilt("opened-day-first", "account_opened", "01/01/2015", "is no date like")
    spoilt("opened-on-no-day", "account_opened", "2015-02-29", "doesn't exist")
    spoilt("opened-with-a-time", "account_opened", "2015-01-01T00:00:00Z", "is no date like")
    said("opened-formed", "account_opened", "2015-01-01", '[times]\naccount_opened = {format = "%Y-%m-%d"}\n',
         account_opened_epoch_day=16436)  # fmt: skip
    faulty("opened-after-payment.csv", csv_text(whole(account_opened="2030-01-01")), 3, None, "after the payment")
    late = whole(2, event_time="2026-07-01T08:00:00Z")
    faulty("not-in-order.csv", csv_text(late), 3, None, "earlier than the payment before it")


def _format(form: str, zone: str) -> str:
    return f'[times]\nevent_time = {{format = "{form}", zone = "{zone}"}}\n'


def _labels() -> None:
    for name, text in (("0", "0"), ("false", "false"), ("False", "False"), ("FALSE", "FALSE")):
        said(f"label-{name}-{ord(name[-1])}", "fraud", text, fraud=False)
    for name, text in (("1", "1"), ("true", "true"), ("TRUE", "TRUE")):
        said(f"label-{name}-{ord(name[-1])}", "fraud", text, fraud=True)
    for name, text in (("no", "no"), ("yes", "yes"), ("2", "2"), ("minus", "-1"), ("0.0", "0.0"), ("f", "f")):
        spoilt(f"label-{name}", "fraud", text, "neither 0 nor 1")
    spoilt("label-empty", "fraud", "", "unknown")
    spoilt("label-null", "fraud", "null", "missing value")
    said("label-no-mapped", "fraud", "no", '[values.fraud]\nno = false\n"yes" = true\n', fraud=False)


def _maps() -> None:
    sound("peoples.csv", PEOPLES_ROWS, PEOPLES, 1, amount_minor=123450, currency="EUR", event_time_ms=1_782_889_200_000)
    sound("peoples-cp1252.csv", PEOPLES_ROWS.encode("cp1252"), PEOPLES + 'encoding = "cp1252"\n', 1, amount_minor=123450)
    sound("ignored.csv", csv_text([row | {"colour": "red"} for row in whole()]), '[file]\nignore = ["colour"]\n')
    area = '[segments]\npostcode_area = "area"\n[file]\nignore = ["segments"]\n'
    sound("segments-of-columns.csv", csv_text([row | {"area": "SW"} for row in whole(segments=None)]),
          '[segments]\npostcode_area = "area"\n', segments={"postcode_area": "SW"})  # fmt: skip
    sound("segments-of-one-column.csv", csv_text([row | {"area": "SW"} for row in whole()]), area,
          segments={"postcode_area": "SW"})  # fmt: skip
    text = csv_text(whole())
    for name, mapping, phrase in (
        ("no-toml", "columns = [", "no TOML"),
        ("unknown-key", "[file]\nseperator = ';'\n", "unknown key"),
        ("unknown-field", "[columns]\namuont = 'x'\n", "amuont"),
        ("column-that-is-not-there", "[columns]\nreference = 'Zweck'\n", "no column 'Zweck'"),
        ("column-for-two-fields", "[columns]\nreference = 'device_id'\ndevice_id = 'device_id'\n", "to two fields"),
        ("column-and-constant", "[columns]\ncurrency = 'c'\n[constants]\ncurrency = 'GBP'\n", "both a column and"),
        ("constant-that-is-wrong", "[columns]\nreference = 'currency'\n[constants]\ncurrency = 'pounds'\n", "currency"),
        ("format-without-zone", "[times]\nevent_time = {format = '%Y-%m-%d %H:%M'}\n", "needs a zone"),
        ("format-without-hour", "[times]\nevent_time = {format = '%Y-%m-%d', zone = 'UTC'}\n", "lacks %H"),
        ("format-of-another-kind", "[times]\nevent_time = {format = '%c', zone = 'UTC'}\n", "%c"),
        ("zone-that-is-none", "[times]\nevent_time = {zone = 'CEST'}\n", "IANA"),
        ("encoding-that-is-none", "[file]\nencoding = 'rot13'\n", "encodings"),
        ("one-sign-for-both", "[file]\ndecimal = ','\ngrouping = ','\n", "same sign"),
    ):
        unreadable(f"map-{name}.csv", text, phrase, mapping)


def _arrow() -> None:
    sound("typed.parquet", parquet_of(typed({})), amount_minor=5716)
    sound("TYPED.PARQUET", parquet_of(typed({})), amount_minor=5716)
    sound("typed.pq", parquet_of(typed({})), amount_minor=5716)
    sound("typed.feather", feather_of(typed({})), amount_minor=5716)
    sound("parquet-named.csv", parquet_of(typed({})), amount_minor=5716)
    sound("texts.parquet", parquet_of(typed_whole({})), amount_minor=1250)
    sound("no-row-groups.parquet", parquet_of(typed({}).slice(0, 0)), payments=0)
    sound("dictionary.parquet", parquet_of(_dictionary()), channel="FASTER_PAYMENT")
    sound("large-strings.parquet", parquet_of(_cast(pa.large_string())), amount_minor=1250)
    amount = {"amount_minor": None}
    for name, column, minor in (
        ("decimal128", pa.array([Decimal("12.50"), Decimal("19.99")], pa.decimal128(12, 2)), 1999),
        ("decimal256", pa.array([Decimal("12.50"), Decimal("19.99")], pa.decimal256(60, 2)), 1999),
        ("decimal-of-more-zeros", pa.array([Decimal("12.5000"), Decimal("19.9900")], pa.decimal128(12, 4)), 1999),
        ("whole-pounds", pa.array([12, 19], pa.int32()), 1900),
        ("unsigned", pa.array([12, 19], pa.uint64()), 1900),
    ):
        sound(f"amount-{name}.parquet", parquet_of(typed(amount | {"amount": column})), amount_minor=minor)
    doubles = pa.array([12.5, 19.99])
    faulty("amount-double.parquet", parquet_of(typed(amount | {"amount": doubles})), 1, "amount", "binary floating")
    sound("amount-double-declared.parquet", parquet_of(typed(amount | {"amount": doubles})), SHORTEST, amount_minor=1999)
    single = pa.array([12.5, 19.99], pa.float32())
    sound("amount-single-declared.parquet", parquet_of(typed(amount | {"amount": single})), SHORTEST, amount_minor=1999)
    for name, value, phrase in (
        ("sum", 0.1 + 0.2, "more digits"),
        ("infinite", float("inf"), "infinite"),
        ("nan", float("nan"), "NaN"),
        ("huge", 1e20, "is not 0 to"),
        ("long", 12345678901234.56, "more digits"),
        ("third", 0.333, "more decimals"),
    ):
        table = typed(amount | {"amount": pa.array([12.5, value])})
        faulty(f"amount-double-{name}.parquet", parquet_of(table), 2, "amount", phrase, SHORTEST)
    fine = typed(amount | {"amount": pa.array([Decimal("12.500"), Decimal("19.995")], pa.decimal128(12, 3))})
    faulty("amount-decimal-too-fine.parquet", parquet_of(fine), 2, "amount", "more decimals")
    for name, column, line, phrase in (
        ("true", pa.array([True, False]), 1, "true or false"),
        ("double", pa.array([5716.0, 1.0]), 1, "binary floating"),
        ("decimal", pa.array([Decimal("12.50"), Decimal("1.00")], pa.decimal128(12, 2)), 1, "with decimals"),
        ("null", pa.array([5716, None], pa.int64()), 2, "is empty"),
        ("all-null", pa.nulls(2), 1, "is empty"),
        ("bytes", pa.array([b"5716", b"1"]), 1, "bytes"),
        ("timestamp", pa.array([1, 2], pa.timestamp("ms", "UTC")), 1, "a time"),
        ("negative", pa.array([5716, -1]), 2, "is not 0 to"),
        ("2-to-the-63", pa.array([5716, 2**63], pa.uint64()), 2, "is not 0 to"),
    ):
        faulty(f"minor-{name}.parquet", parquet_of(typed({"amount_minor": column})), line, "amount_minor", phrase)
    halves = typed({"amount_minor": pa.array([5716.0, 12.5])})
    faulty("minor-double-declared.parquet", parquet_of(halves), 2, "amount_minor", "with decimals", SHORTEST)
    for name, column in (
        ("list", pa.array([[1], [2]])),
        ("struct", pa.array([{"a": 1}, {"a": 2}])),
        ("duration", pa.array([1, 2], pa.duration("s"))),
    ):
        unreadable(f"minor-{name}.parquet", parquet_of(typed({"amount_minor": column})), "which is not read")
    _arrow_texts()
    _arrow_times()
    _arrow_labels()
    _arrow_broken()


def _dictionary() -> Any:
    return typed_whole({"channel": pa.array(["CARD", "FASTER_PAYMENT"]).dictionary_encode()})


def _cast(text_type: Any) -> Any:
    table = typed_whole({})
    return table.cast(pa.schema([(name, text_type) for name in table.column_names]))


def _arrow_texts() -> None:
    ids = {"account_id": pa.array([1001, 1002], pa.int64())}
    sound("account-integer.parquet", parquet_of(typed_whole(ids)), account_id="1002")
    doubles = {"account_id": pa.array([1001.0, 1002.0])}
    faulty("account-double.parquet", parquet_of(typed_whole(doubles)), 1, "account_id", "binary floating")
    faulty("account-double-declared.parquet", parquet_of(typed_whole(doubles)), 1, "account_id", "not a text", SHORTEST)
    faulty("account-true.parquet", parquet_of(typed_whole({"account_id": pa.array([True, False])})), 1, "account_id",
           "true or false")  # fmt: skip
    names = {"beneficiary_name": pa.array([b"Mira Holt", b"J\xc3\xb6rg"])}
    faulty("name-bytes.parquet", parquet_of(typed_whole(names)), 1, "beneficiary_name", "is bytes")
    utf8 = '[file]\nbinary = "utf-8"\n'
    sound("name-bytes-declared.parquet", parquet_of(typed_whole(names)), utf8, beneficiary_name="Jörg")
    latin = {"beneficiary_name": pa.array([b"Mira Holt", b"J\xf6rg"])}
    faulty("name-bytes-latin.parquet", parquet_of(typed_whole(latin)), 2, "beneficiary_name", "not UTF-8", utf8)
    broken = pa.array([b"Mira Holt", b"J\xf6rg"]).view(pa.string())
    faulty("name-not-utf8.parquet", parquet_of(typed_whole({"beneficiary_name": broken})), 2, "beneficiary_name",
           "encoding")  # fmt: skip
    none = {"beneficiary_name": pa.array(["None", None])}
    faulty("name-None.parquet", parquet_of(typed_whole(none)), 1, "beneficiary_name", "missing value")
    sound("name-null.parquet", parquet_of(typed_whole({"beneficiary_name": pa.nulls(2)})), beneficiary_name=None)
    pairs = pa.array([[("age_band", "30")], [("age_band", "40")]], pa.map_(pa.string(), pa.string()))
    sound("segments-map.parquet", parquet_of(typed_whole({"segments": pairs})), segments={"age_band": "40"})
    struct = pa.array([{"age_band": "30"}, {"age_band": None}])
    sound("segments-struct.parquet", parquet_of(typed_whole({"segments": struct})), segments={})
    twice = pa.array([[("a", "1"), ("a", "2")], []], pa.map_(pa.string(), pa.string()))
    faulty("segments-map-twice.parquet", parquet_of(typed_whole({"segments": twice})), 1, "segments", "twice")
    numbers = pa.array([{"age_band": 30}, {"age_band": 40}])
    faulty("segments-struct-of-numbers.parquet", parquet_of(typed_whole({"segments": numbers})), 1, "segments", "JSON")


def _arrow_times() -> None:
    at_s = 1_782_896_400
    for unit, scale in (("s", 1), ("ms", 1000), ("us", 1_000_000), ("ns", 1_000_000_000)):
        column = pa.array([at_s * scale, (at_s + 1) * scale], pa.timestamp(unit, "Europe/Paris"))
        for field in ("event_time", "event_time_ms"):
            table = typed_whole({"event_time": None, field: column})
            sound(f"{field}-{unit}.parquet", parquet_of(table), event_time_ms=(at_s + 1) * 1000)
    for unit, scale in (("us", 1_000_000), ("ns", 1_000_000_000)):
        column = pa.array([at_s * scale, at_s * scale + 1], pa.timestamp(unit, "UTC"))
        table = typed_whole({"event_time": column})
        faulty(f"event_time-{unit}-lossy.parquet", parquet_of(table), 2, "event_time", "finer than milliseconds")
        cut = '[times]\nevent_time = {below_ms = "cut"}\n'
        sound(f"event_time-{unit}-cut.parquet", parquet_of(table), cut, event_time_ms=at_s * 1000)
    naive = typed_whole({"event_time": pa.array([at_s * 1000, at_s * 1000 + 1], pa.timestamp("ms"))})
    faulty("event_time-naive.parquet", parquet_of(naive), 1, "event_time", "names no zone")
    zone = '[times]\nevent_time = {zone = "UTC"}\n'
    sound("event_time-naive-declared.parquet", parquet_of(naive), zone, event_time_ms=at_s * 1000 + 1)
    dates = typed_whole({"event_time": pa.array([20635, 20636], pa.date32())})
    faulty("event_time-date.parquet", parquet_of(dates), 1, "event_time", "without a time of day")
    unreadable("event_time-int96.parquet", parquet_of(naive, use_deprecated_int96_timestamps=True), "INT96")
    for name, column, day in (
        ("date32", pa.array([16436, 16437], pa.date32()), 16437),
        ("date64", pa.array([16436 * 86_400_000, 16437 * 86_400_000], pa.date64()), 16437),
        ("midnight", pa.array([16436 * 86_400, 16437 * 86_400], pa.timestamp("s")), 16437),
    ):
        sound(f"opened-{name}.parquet", parquet_of(typed_whole({"account_opened": column})), account_opened_epoch_day=day)
    for name, column, phrase in (
        ("noon", pa.array([0, 16436 * 86_400 + 43_200], pa.timestamp("s")), "time of day"),
        ("zoned", pa.array([0, 16436 * 86_400], pa.timestamp("s", "UTC")), "depends on a zone"),
    ):
        line = 2 if name == "noon" else 1
        faulty(f"opened-{name}.parquet", parquet_of(typed_whole({"account_opened": column})), line, "account_opened", phrase)
    days = {"account_opened": None, "account_opened_epoch_day": pa.array([16436, 16437], pa.int32())}
    sound("opened-days.parquet", parquet_of(typed_whole(days)), account_opened_epoch_day=16437)


def _arrow_labels() -> None:
    sound("label-bool.parquet", parquet_of(typed({"fraud": pa.array([True, False])})), fraud=False)
    sound("label-texts.parquet", parquet_of(typed({"fraud": pa.array(["true", "false"])})), fraud=False)
    for name, column, line, phrase in (
        ("null", pa.array([0, None], pa.int8()), 2, "unknown"),
        ("two", pa.array([0, 2], pa.int8()), 2, "neither"),
        ("no", pa.array(["0", "no"]), 2, "neither"),
        ("double", pa.array([0.0, 1.0]), 1, "binary floating"),
    ):
        faulty(f"label-{name}.parquet", parquet_of(typed({"fraud": column})), line, "fraud", phrase)
    sound("label-double-declared.parquet", parquet_of(typed({"fraud": pa.array([0.0, 1.0])})), SHORTEST, fraud=True)


def _arrow_broken() -> None:
    sound_bytes = parquet_of(typed({}))
    unreadable("torn.parquet", sound_bytes[: len(sound_bytes) // 2], "can't be read as parquet")
    unreadable("without-its-end.parquet", sound_bytes[:-4], "can't be read as parquet")
    unreadable("only-magic.parquet", b"PAR1", "can't be read as parquet")
    unreadable("encrypted.parquet", b"PARE" + sound_bytes[4:-4] + b"PARE", "encrypted")
    unreadable("not-parquet.parquet", "transaction_id\n1\n", "not what its name says")
    unreadable("gzip.parquet.gz", gzip.compress(sound_bytes), "packed by gzip")
    unreadable("flipped-page.parquet", _flipped(), "can't be read as parquet")
    unreadable("torn.feather", feather_of(typed({}))[:-30], "can't be read as an Arrow file")
    unreadable("version-1.feather", b"FEA1" + b"\0" * 30, "Feather file of version 1")
    unreadable("not-arrow.arrow", "transaction_id\n1\n", "not what its name says")
    same = pa.table([pa.array([1]), pa.array([2])], names=["customer_id", "customer_id"])
    unreadable("two-equal-columns.parquet", parquet_of(same), "two columns")


def _flipped() -> bytes:
    table = typed({"amount_minor": pa.array(range(2), pa.int64())}, 2)
    content = bytearray(parquet_of(table, write_page_checksum=True, compression="none", use_dictionary=False))
    content[60] ^= 0xFF
    return bytes(content)


def _json_lines() -> None:
    import json

    rows = whole()
    lines = [json.dumps(row) for row in rows]
    sound("payments.jsonl", "\n".join(lines) + "\n", amount_minor=1250)
    sound("PAYMENTS.NDJSON", "\n".join(lines), amount_minor=1250)
    sound("payments.jsonl.gz", gzip.compress("\n".join(lines).encode()), amount_minor=1250)
    sound("json-with-bom.jsonl", b"\xef\xbb\xbf" + "\n".join(lines).encode(), amount_minor=1250)
    number = lines[1].replace('"12.50"', "19.99")
    sound("json-number.jsonl", f"{lines[0]}\n{number}\n", amount_minor=1999)
    truth = lines[1].replace('"fraud": "0"', '"fraud": true')
    sound("json-truth.jsonl", f"{lines[0]}\n{truth}\n", fraud=True)
    left_out = json.dumps({name: value for name, value in rows[1].items() if name != "reference"})
    sound("json-name-left-out.jsonl", f"{lines[0]}\n{left_out}\n", reference=None)
    segments = json.dumps(rows[1] | {"segments": {"age_band": "30"}})
    sound("json-segments.jsonl", f"{lines[0]}\n{segments}\n", segments={"age_band": "30"})
    for name, old, new, column, phrase in (
        ("too-fine", '"12.50"', "12.505", "amount", "more decimals"),
        ("nan", '"12.50"', "NaN", None, "NaN or infinity"),
        ("truth", '"12.50"', "true", "amount", "true or false"),
        ("null", '"12.50"', "null", "amount", "is empty"),
        ("list", '"12.50"', "[1]", "amount", "is a list"),
        ("digits", '"12.50"', "1" * 5000, None, "too many digits"),
        ("twice", '"currency": "GBP"', '"currency": "GBP", "currency": "EUR"', None, "one name twice"),
        ("half-a-pair", "Mira Holt", "Mira \\ud800", "beneficiary_name", "encoding"),
        ("account-number", '"GB29-0001"', "1001.0", "account_id", "not a text"),
        ("broken", '"12.50"', "", None, "is no JSON"),
    ):
        faulty(f"json-{name}.jsonl", f"{lines[0]}\n{lines[1].replace(old, new)}\n", 2, column, phrase)
    faulty("json-latin.jsonl", f"{lines[0]}\n".encode() + lines[1].replace("Mira", "J\xf6rg").encode("latin-1"), 2, None,
           "not UTF-8")  # fmt: skip
    unreadable("json-array.json", f"[{','.join(lines)}]", "JSON array")
    unreadable("json-another-name.jsonl", lines[0].replace("reference", "purpose") + "\n", "purpose")


_forms_of_text()
_broken_text()
_amounts()
_words()
_times()
_labels()
_maps()
_arrow()
_json_lines()
assert len({each.name for each in FILES}) == len(FILES), "each file has a name of its own"
