"""Files that were made to be read wrongly: digits that are none, signs that vanish, names that look alike, bombs."""

from __future__ import annotations

import gzip
import json

from tests.publish.named_file import faulty, said, sound, spoilt, unreadable
from tests.publish.payment_rows import csv_text, whole

BLANK_LINES = 200_000
LONG_LINE = 50_000_000


def _amounts() -> None:
    for name, amount, phrase in (
        ("a-blank-of-no-width", "12\u200b.50", "is no number"),
        ("wide-digits", "\uff11\uff12.50", "is no number"),
        ("arabic-digits", "\u0661\u0662.\u0665\u0660", "is no number"),
        ("a-fraction", "\u00bd", "is no number"),
        ("a-superscript", "12\u00b2", "is no number"),
        ("roman-digits", "\u216b", "is no number"),
        ("python-digits", "1_000.00", "is no number"),
        ("hexadecimal", "0x10", "is no number"),
        ("an-exponent", "1e3", "scientific notation"),
        ("a-plus", "+12.50", "is no number"),
        ("a-typographic-minus", "\u221212.50", "is no number"),
        ("a-minus-behind", "12.50-", "is no number"),
        ("brackets", "(12.50)", "is no number"),
        ("a-formula", '="12.50"', "is no number"),
        ("a-currency-sign", "\u00a312.50", "is no number"),
        ("a-hard-blank", "12.50\u00a0", "a blank"),
        ("no-digit-behind-the-point", "12.", "is no number"),
        ("forty-digits", "9" * 40, "is no number"),
        ("minus-zero", "-0.00", "is minus zero"),
        ("minus-zero-whole", "-0", "is minus zero"),
    ):
        spoilt(f"amount-with-{name}", "amount", amount, phrase)
    said("amount-with-zeros-before", "amount", "0012.50", amount_minor=1250)
    minor = [{("amount_minor" if k == "amount" else k): v for k, v in row.items()} for row in whole(amount="-0")]
    minor[0]["amount_minor"] = "1250"
    faulty("amount-minor-minus-zero.csv", csv_text(minor), 3, "amount_minor", "is minus zero")
    for currency, amount, amount_minor in (("BHD", "1.234", 1234), ("JPY", "12.0", 12), ("CLF", "1.2345", 12345)):
        sound(f"amount-in-{currency}.csv", csv_text(whole(currency=currency, amount=amount)), amount_minor=amount_minor)
    for currency, amount in (("JPY", "12.5"), ("BHD", "1.2345"), ("ISK", "100.5"), ("KRW", "1.01"), ("UGX", "1.5")):
        rows = whole(currency=currency, amount=amount)
        faulty(f"amount-too-fine-for-{currency}.csv", csv_text(rows), 3, "amount", "more decimals")


def _words() -> None:
    for name, field, value, phrase in (
        ("cyrillic-currency", "currency", "GB\u0420", "is no currency"),
        ("wide-currency", "currency", "\uff27\uff22\uff30", "is no currency"),
        ("cyrillic-id", "transaction_id", "t\u0445-1", "is not"),
        ("an-id-with-a-blank-of-no-width", "transaction_id", "tx\u200b1", "is not"),
        ("a-path-as-zone", "account_time_zone", "../../etc/passwd", "zone"),
        ("an-address-in-octal", "ip_address", "192.168.010.001", "address"),
        ("a-typographic-offset", "event_time", "2026-07-01T09:30:00\u221201:00", "no time like"),
        ("arabic-year", "event_time", "\u0662\u0660\u0662\u0666-07-01T09:30:00Z", "no time like"),
        ("an-offset-of-a-day", "event_time", "2026-07-01T09:30:00+24:00", "offset"),
        ("a-leap-second", "event_time", "2026-07-01T09:59:60Z", "doesn't exist"),
    ):
        spoilt(f"word-{name}", field, value, phrase)
    for name, text in (
        ("turned-round", "Mira \u202eholt"), ("escape", "Mira\x1b[2J"), ("next-line", "Mira\x85Holt"),
        ("line-separator", "Mira\u2028Holt"), ("bell", "Mira\x07"),
    ):  # fmt: skip
        faulty(f"name-{name}.csv", csv_text(whole(beneficiary_name=text)), 3, "beneficiary_name", "controls")
    faulty(
        "name-too-long.csv", csv_text(whole(beneficiary_name="x" * 141)), 3, "beneficiary_name", "over 140 characters"
    )
    mapped = '[columns]\nreference = "Zweck"\n'
    rows = [{("Zweck" if k == "reference" else k): v for k, v in row.items()} for row in whole(reference="x" * 141)]
    faulty("reference-too-long-by-its-own-name.csv", csv_text(rows), 3, "Zweck", "over 140 characters", mapped)
    said("name-of-a-formula", "beneficiary_name", "=1+1", beneficiary_name="=1+1")


def _forms() -> None:
    text = csv_text(whole())
    lines = text.splitlines()
    unreadable("header-twice-in-other-case.csv", text.replace("currency", "Amount", 1), "two columns")
    unreadable("header-twice-but-for-a-mark.csv", text.replace("reference", "amount\u200b", 1), "two columns")
    unreadable(
        "header-with-a-hidden-mark.csv", text.replace("amount", "amo\u200bunt", 1), "lacks the column 'amount_minor'"
    )
    sound("all-line-ends.csv", f"{lines[0]}\r\n{lines[1]}\r{lines[2]}\n", amount_minor=1250)
    unreadable("line-separators-as-ends.csv", "\u2028".join(lines) + "\n", "two columns")
    faulty("header-again.csv", f"{lines[0]}\n{text}", 2, "amount", "is no number")
    faulty("a-total-at-the-end.csv", f"{text}TOTAL,2,25.00\n", 4, None, "3 values for 18 columns")
    faulty("packed-in-two-parts.csv.gz", gzip.compress(text.encode()) * 2, 4, "amount", "is no number")
    faulty("control-z.csv", f"{text}\x1a\n", 4, None, "1 values for 18 columns")
    faulty("surrogates-in-utf8.csv", text.encode().replace(b"Mira", b"\xed\xa0\xbd"), 2, "beneficiary_name", "not in")
    faulty("a-letter-too-long.csv", text.encode().replace(b"Mira", b"\xc0\xaf"), 2, "beneficiary_name", "not in")
    bomb = gzip.compress(text.encode() + b"\n" * BLANK_LINES)
    faulty("bomb-of-blank-lines.csv.gz", bomb, 10_004, None, "is blank, as the 10,000 lines before it are")
    faulty("bomb-of-one-line.csv.gz", gzip.compress(text.encode() + b"0" * LONG_LINE), 4, None, "longer than")


def _json() -> None:
    rows = [json.dumps(row) for row in whole()]
    amount = '"amount": "12.50"'
    assert amount in rows[1]
    for name, said_so, column, phrase in (
        ("minus-zero", '"amount": -0.0', "amount", "is minus zero"),
        ("minus-zero-whole", '"amount": -0', None, "a minus zero"),
        ("too-large", '"amount": 1e400', "amount", "is out of range"),
        ("twice", '"amount": "12.50", "amount": 1', None, "one name twice"),
        ("twice-escaped", '"amount": "12.50", "\\u0061mount": 1', None, "one name twice"),
        ("true", '"amount": true', "amount", "not an amount"),
        ("wide-digits", '"amount": "\uff11\uff12.50"', "amount", "is no number"),
    ):
        content = f"{rows[0]}\n{rows[1].replace(amount, said_so)}\n"
        faulty(f"json-amount-{name}.jsonl", content, 2, column, phrase)
    hundred = rows[1].replace(amount, '"amount": 1E2')
    sound("json-amount-with-an-exponent.jsonl", f"{rows[0]}\n{hundred}\n", amount_minor=10_000)
    faulty("json-two-in-a-line.jsonl", f"{rows[0]}\n{rows[0]} {rows[1]}\n", 2, None, "is no JSON")
    blank = gzip.compress(f"{rows[0]}\n".encode() + b"\n" * BLANK_LINES)
    faulty("json-bomb-of-blank-lines.jsonl.gz", blank, 10_002, None, "is blank")


ALL = (_amounts, _words, _forms, _json)
