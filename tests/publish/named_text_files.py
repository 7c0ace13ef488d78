"""Text files of every form, sound and broken."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable

from tests.publish.named_file import as_bytes, faulty, sound, unreadable
from tests.publish.payment_rows import csv_text, short, whole


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
    for name in ("utf-16", "utf-32"):
        content = text.encode(f"{name}-le")
        unreadable(f"{name}-declared-without-bom.csv", content, "without the mark", _encoding(name))
    unreadable("utf8-declared-cp1252.csv", b"\xef\xbb\xbf" + text.encode(), "begins with the mark", _encoding("cp1252"))
    sound("semicolons.csv", csv_text(whole(), ";"), **last)
    sound("tabs.tsv", csv_text(whole(), "\t"), **last)
    sound("pipes.csv", csv_text(whole(), "|"), **last)
    sound("carets.csv", csv_text(whole(), "^"), '[file]\nseparator = "^"\n', **last)
    unreadable("carets-undeclared.csv", csv_text(whole(), "^"), "no column of a payment")
    sound("excel-sep-line.csv", "sep=;\r\n" + csv_text(whole(), ";", "\r\n"), **last)
    sound("windows-ends.csv", csv_text(whole(), end="\r\n"), **last)
    sound("old-mac-ends.csv", csv_text(whole(), end="\r"), **last)
    faulty("no-last-newline.csv", text.rstrip("\n"), 3, None, "has no line end")
    faulty("no-last-newline-utf16.csv", ("\ufeff" + text.rstrip("\n")).encode("utf-16-le"), 3, None, "has no line end")
    faulty("no-last-newline.csv.gz", gzip.compress(text.rstrip("\n").encode()), 3, None, "has no line end")
    faulty("cut-off-in-the-amount.csv", csv_text(_amount_last())[:-5], 3, None, "may be cut off")
    sound("no-last-newline-declared.csv", text.rstrip("\n"), '[file]\nunended = "whole"\n', **last)
    sound("blank-lines.csv", "\n\n" + text.replace("tx-1", "\ntx-1") + "\n\n\n", **last)
    sound("every-value-quoted.csv", _quoted(text), **last)
    sound("upper-case-header.csv", text.replace(*_header(text, str.upper)), **last)
    sound("blanks-in-header.csv", text.replace(*_header(text, lambda h: h.replace(",", " , "))), **last)
    sound("words-in-header.csv", text.replace(*_header(text, lambda h: h.replace("_", " ").title())), **last)
    sound("hyphens-in-header.csv", text.replace(*_header(text, lambda h: h.replace("_", "-"))), **last)
    sound("quoted-number.csv", csv_text(short()).replace("\n0,", '\n"0",'), payments=2)
    faulty("newline-in-reference.csv", csv_text(whole(reference="Rent\nJuly")), 3, "reference", "controls")
    faulty("fault-behind-a-newline.csv", _later_fault(), 4, "currency", "is no currency")
    sound("quotes-in-reference.csv", csv_text(whole(reference='the "flat"')), reference='the "flat"')
    sound("umlauts.csv", csv_text(whole(beneficiary_name="Jörg Müller")), beneficiary_name="Jörg Müller")
    sound("gzip.csv.gz", gzip.compress(text.encode()), **last)
    sound("GZIP.CSV.GZ", gzip.compress(text.encode()), **last)
    sound("gzip-without-its-name.csv", gzip.compress(text.encode()), **last)
    faulty("only-a-header.csv", text.partition("\n")[0] + "\n", 0, None, "no payment")
    sound("only-a-header-declared.csv", text.partition("\n")[0] + "\n", "[file]\npayments = 0\n", payments=0)
    faulty("only-a-header-without-newline.csv", text.partition("\n")[0], 1, None, "has no line end")
    sound("short-form.csv", csv_text(short()), amount_minor=5716, account_id="cust-000596")
    sound("short-form-in-pounds.csv", csv_text(short()).replace("amount_minor", "amount"), amount_minor=571600)
    sound("short-form-with-scenario.csv", csv_text([row | {"scenario": "2"} for row in short()]), amount_minor=5716)


def _quotes_in_headers() -> None:
    rows = [row | {'Screen 5" ref': "x"} for row in whole(3, reference='the "flat"')]
    unquoted = csv_text(rows).replace('"Screen 5"" ref"', 'Screen 5" ref')
    ignored = """[file]\nignore = ['Screen 5" ref']\n"""
    sound("odd-quote-in-header.csv", unquoted, ignored, 3, reference='the "flat"')
    sound("odd-quote-in-header.tsv", unquoted.replace('"Rent, July"', "Rent").replace(",", "\t"), ignored, 3)
    sound("doubled-quote-in-header.csv", csv_text(rows), ignored, 3)
    lines = csv_text(rows).replace('"Screen 5"" ref"', '"Screen\n5"')
    sound("header-of-two-lines.csv", lines, '[file]\nignore = ["Screen 5"]\n', 3)
    spoilt = csv_text(rows).replace('"Screen 5"" ref"', '"Screen" 5"')
    unreadable("quote-not-doubled-in-header.csv", spoilt, "no column of a payment", ignored)
    unreadable("quote-never-closed-in-header.csv", csv_text(rows).replace("transaction_id", '"transaction_id', 1),
               "no column of a payment", ignored)  # fmt: skip


def _encoding(name: str) -> str:
    return f'[file]\nencoding = "{name}"\n'


def _quoted(text: str) -> str:
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(csv.reader(io.StringIO(text)))
    return out.getvalue()


def _header(text: str, change: Callable[[str], str]) -> tuple[str, str]:
    header = text.partition("\n")[0]
    return header, change(header)


def _later_fault() -> str:
    rows = whole(3, currency="pounds")
    rows[0]["segments"] = '{"postcode_area":\n"SW"}'
    return csv_text([rows[0], rows[2]]).replace("tx-2", "tx-1")


def _broken_text() -> None:
    text = csv_text(whole())
    unreadable("empty.csv", "", "is empty")
    unreadable("blanks.csv", "  \n\n", "is empty")
    unreadable("bom-alone.csv", b"\xef\xbb\xbf", "no column of a payment")
    unreadable("no-header.csv", text.partition("\n")[2], "no column of a payment")
    unreadable("prose.csv", "These are the payments of July.\n", "no column of a payment")
    unreadable("two-equal-headers.csv", text.replace("device_id", "reference", 1), "two columns 'reference'")
    unreadable("two-headers-by-case.csv", text.replace("device_id", "Reference ", 1), "two columns")
    unreadable("both-amounts.csv", csv_text([row | {"amount_minor": "1250"} for row in whole()]), "has both")
    ended = "".join(f"{line},,\n" for line in text.splitlines())
    unreadable("two-columns-without-name.csv", ended, "two columns ''")
    sound("two-columns-without-name-ignored.csv", ended, '[file]\nignore = [""]\n', reference="Rent, July")
    twice = '[file]\nignore = ["device id"]\n'
    sound("two-ignored-columns-of-one-name.csv", text.replace("ip_address", "Device ID", 1), twice, ip_address=None)
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
    faulty(
        "late-cp1252-byte.csv", as_bytes(csv_text(whole(5000))) + _cp1252_row(), 5002, "beneficiary_name", "encoding"
    )
    sound("cp1252-declared.csv", csv_text(whole(beneficiary_name="Jörg")).encode("cp1252"), _encoding("windows-1252"),
          beneficiary_name="Jörg")  # fmt: skip
    faulty("torn-utf16.csv", text.encode("utf-16") + b"\x00", 3, None, "not utf-16")
    faulty("nul-byte.csv", csv_text(whole(reference="Re\0nt")), 3, "reference", "NUL")
    faulty("line-of-a-megabyte.csv", text + "x" * 1_000_000, 4, None, "longer than")
    endless = ",".join(['"\n"'] * 200_000)  # packed it takes hardly anything
    faulty(
        "row-of-a-million-lines.csv.gz", gzip.compress((text + endless).encode()), 65_540, None, "makes a row longer"
    )
    unreadable("torn-gzip.csv.gz", gzip.compress(text.encode() * 50)[:-20], "gzip")
    unreadable("gzip-of-other-checksum.csv.gz", _other_checksum(gzip.compress(text.encode())), "gzip")
    unreadable("gzip-twice.csv.gz", gzip.compress(gzip.compress(text.encode())), "gzip twice")
    unreadable("payments.tar", b"payments.csv".ljust(257, b"\0") + b"ustar" + b"\0" * 300, "tar archive")
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
    unreadable("noise.csv", bytes(range(128, 256)) * 40, "not in utf-8")


def _cp1252_row() -> bytes:
    return csv_text(whole(2, beneficiary_name="Jörg")).splitlines()[2].replace("tx-1", "tx-x").encode("cp1252") + b"\n"


def _other_checksum(packed: bytes) -> bytes:
    return packed[:-8] + bytes(byte ^ 0xFF for byte in packed[-8:-4]) + packed[-4:]


def _json_lines() -> None:
    rows = whole()
    lines = [json.dumps(row) for row in rows]
    sound("payments.jsonl", "\n".join(lines) + "\n", amount_minor=1250)
    sound("PAYMENTS.NDJSON", "\n".join(lines), amount_minor=1250)
    sound("payments.jsonl.gz", gzip.compress("\n".join(lines).encode()), amount_minor=1250)
    sound("json-with-bom.jsonl", b"\xef\xbb\xbf" + "\n".join(lines).encode(), amount_minor=1250)
    number = lines[1].replace('"12.50"', "19.99")
    sound("json-number.jsonl", f"{lines[0]}\n{number}\n", amount_minor=1999)
    truth = lines[1].replace('"fraud": "0"', '"fraud": true')
    sound("json-truth-as-label.jsonl", f"{lines[0]}\n{truth}\n", fraud=True)
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
        ("exponent", '"12.50"', "1e999999999999999999999", None, "out of range"),
        ("broken", '"12.50"', "", None, "is no JSON"),
    ):
        faulty(f"json-{name}.jsonl", f"{lines[0]}\n{lines[1].replace(old, new)}\n", 2, column, phrase)
    latin = lines[1].replace("Mira", "J\xf6rg").encode("latin-1")
    faulty("json-latin.jsonl", f"{lines[0]}\n".encode() + latin, 2, None, "not UTF-8")
    for name, each, phrase in (("twice", '{"a": 1, "a": 2}', "line 1, has one name twice"),
                               ("nan", '{"a": NaN}', "line 1, has NaN or infinity"),
                               ("pretty", "{", "line 1, is no JSON")):  # fmt: skip
        unreadable(f"json-all-{name}.jsonl", f"{each}\n{each}\n", phrase)
    unreadable("json-array.json", f"[{','.join(lines)}]", "JSON array")
    unreadable("json-another-name.jsonl", lines[0].replace("reference", "purpose") + "\n", "purpose")


ALL = (_forms_of_text, _quotes_in_headers, _broken_text, _json_lines)


def _amount_last() -> list[dict[str, str]]:
    """Rows whose last column is the amount, of which a cut takes digits away."""
    return [{**{name: row[name] for name in row if name != "amount"}, "amount": "1000.00"} for row in whole()]
