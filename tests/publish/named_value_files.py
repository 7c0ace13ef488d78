"""CSV files whose values say amounts, words, times and labels in every way, and maps."""

from __future__ import annotations

import json

from tests.publish.named_file import faulty, said, sound, spoilt, unreadable
from tests.publish.payment_rows import csv_text, whole

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
    faulty(
        "yen-with-sen.csv", csv_text(whole(amount="1200.50", currency="JPY")), 3, "amount", "more decimals than the 0"
    )
    sound("dinars.csv", csv_text(whole(amount="1.234", currency="KWD")), amount_minor=1234)
    faulty("dinars-too-fine.csv", csv_text(whole(amount="1.2345", currency="KWD")), 3, "amount", "than the 3")
    faulty("gold.csv", csv_text(whole(currency="XAU")), 3, "amount", "no number of decimals")
    faulty("made-up-currency.csv", csv_text(whole(currency="QQQ")), 3, "amount", "no number of decimals")
    minor = [{("amount_minor" if k == "amount" else k): v for k, v in row.items()} for row in whole(amount="1250")]
    minor[0]["amount_minor"] = "1250"
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


def _points_between_thousands() -> None:
    """12.500 is twelve and a half or twelve thousand, by who wrote it; none of them is published unasked."""
    signs = "between thousands"
    for amount, currency in (
        ("1.000", "GBP"),
        ("12.500", "EUR"),
        ("999.990", "USD"),
        ("1.000", "JPY"),
        ("1.000", "CLF"),
    ):
        rows = whole(amount=amount, currency=currency)
        faulty(f"amount-of-{amount}-{currency}.csv", csv_text(rows), 3, "amount", signs)
    for name, mapping, amount_minor in (
        ("decimal", '[file]\ndecimal = "."\n', 1_250),
        ("other-grouping", '[file]\ngrouping = ","\n', 1_250),
    ):
        said(f"amount-of-12.500-by-{name}", "amount", "12.500", mapping, amount_minor=amount_minor)
    german = '[file]\ndecimal = ","\ngrouping = "."\n'
    rows = whole(amount="12.500")
    rows[0]["amount"] = "12,50"
    sound("amount-of-12.500-by-grouping.csv", csv_text(rows), german, amount_minor=1_250_000)
    sound("amount-of-12.500-dinars.csv", csv_text(whole(amount="12.500", currency="KWD")), amount_minor=12_500)
    said("amount-of-0.500", "amount", "0.500", amount_minor=50)
    said("amount-of-1000.000", "amount", "1000.000", amount_minor=100_000)
    text = "".join(f"{json.dumps(row)}\n" for row in whole(amount="1.000"))
    faulty("json-text-amount-of-1.000.jsonl", text, 2, "amount", signs)
    sound("json-number-amount-of-1.000.jsonl", text.replace('"1.000"', "1.000"), amount_minor=100)
    unreadable("sum-of-1.000.csv", csv_text(whole(amount="987.50")), signs, '[file]\nsums = { GBP = "1.000" }\n')


GERMAN_ROWS = '[file]\ngrouping = "."\ndecimal = ","\n[values.amount]\n"12.50" = "12,50"\n'


def _words() -> None:
    for word in ("None", "nan", "NULL", "null", "N/A", "<NA>", "NaT", "\\N", "#N/A"):
        name = "".join(c for c in word if c.isalnum()) + f"-{len(word)}-{sum(map(ord, word))}"
        spoilt(f"name-{name}", "beneficiary_name", word, "missing value")
    spoilt("name-null-among-blanks", "beneficiary_name", "     null     ", "missing value")
    spoilt("name-behind-a-blank-and-a-quote", "beneficiary_name", ' "Mira Holt"', "blanks outside a quote")
    spoilt("name-before-a-quote-and-a-blank", "beneficiary_name", 'Mira "Holt" ', "blanks outside a quote")
    spoilt("name-quoted-and-stripped", "beneficiary_name", ' "Mira"', "blanks outside", '[file]\nblanks = "strip"\n')
    said("name-with-quotes", "beneficiary_name", 'Mira "Holt"', beneficiary_name='Mira "Holt"')
    for encoding in ("cp1252", "iso-8859-1", "mac-roman"):
        declared = f'[file]\nencoding = "{encoding}"\n'
        spoilt(f"name-in-utf8-declared-{encoding}", "beneficiary_name", "Jörg Müller", "sound UTF-8", declared)
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
    spoilt("account-of-a-double", "account_id", "1001.0", "floating-point")
    spoilt("account-of-a-spreadsheet", "account_id", "1.23E15", "floating-point")
    said("account-of-a-double-kept", "account_id", "1001.0", '[file]\nkept = ["1001.0"]\n', account_id="1001.0")
    for number, text in enumerate(("1001.00", "1001.", "1E15", "1.e15", "9e9")):
        spoilt(f"account-of-a-number-{number}", "account_id", text, "floating-point")
    spoilt("account-of-a-dash", "account_id", "-", "without a letter or a digit")
    spoilt("account-not-available", "account_id", "n.a.", "missing value")
    said("account-of-a-dash-kept", "account_id", "-", '[file]\nkept = ["-"]\n', account_id="-")
    said("account-in-hexadecimal", "account_id", "1E15F", account_id="1E15F")
    spoilt("account-empty", "account_id", "", "is empty")
    spoilt("account-too-long", "account_id", "9" * 65, "is not 1 to 64")
    spoilt("account-in-letters-alike", "account_id", "GВ29", "is not 1 to 64")
    said("account-of-digits", "account_id", "0012", account_id="0012")
    spoilt("address-none", "ip_address", "localhost", "IPv4")
    said("address-empty", "ip_address", "", ip_address=None)
    faulty("reference-too-long.csv", csv_text(whole(reference="x" * 141)), 3, "reference", "140 characters")
    spoilt("segments-none", "segments", "None", "missing value")
    said("segments-empty", "segments", "", segments={})
    for number, word in enumerate(("None", "nan", "null", "N/A")):
        spoilt(f"segments-of-nothing-{number}", "segments", f'{{"age_band": "{word}"}}', "missing value")
    said("segments-of-nothing-absent", "segments", '{"a": "None", "b": "1"}', '[file]\nabsent = ["None"]\n',
         segments={"b": "1"})  # fmt: skip
    said("segments-of-nothing-kept", "segments", '{"a": "None"}', '[file]\nkept = ["None"]\n', segments={"a": "None"})
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
        ("of-postgres", "2026-07-01 09:00:00.123000+00", ms + 123),
        ("of-bigquery", "2026-07-01 09:00:00 UTC", ms),
        ("without-seconds", "2026-07-01T09:00Z", ms),
    ):
        rows = whole(event_time=text)
        sound(
            f"time-{name}.csv",
            csv_text([rows[0] | {"event_time": "2026-07-01T08:00:00Z"}, rows[1]]),
            event_time_ms=at_ms,
        )
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
    only("formed-to-the-millisecond", "2026/07/01 09:00:00.120", _format("%Y/%m/%d %H:%M:%S.%f", "UTC"), ms + 120)
    offset = '[times]\nevent_time = {format = "%Y/%m/%d %H:%M %z"}\n'
    only("formed-with-offset", "2026/07/01 11:00 +02:00", offset, ms)
    only("formed-with-plain-offset", "2026/07/01 11:00 +0200", offset, ms)
    only("formed-with-zulu", "2026/07/01 09:00 Z", offset, ms)
    for number, (text, form) in enumerate((
        ("1.07.2026 09:00", "%d.%m.%Y %H:%M"),
        ("01.07.2026 9:00", "%d.%m.%Y %H:%M"),
        ("01.07.2026  09:00", "%d.%m.%Y %H:%M"),
        ("172026 09:00", "%d%m%Y %H:%M"),
        ("1112026 09:00", "%d%m%Y %H:%M"),
        ("2026/07/01 09:00:0", "%Y/%m/%d %H:%M:%S"),
    )):  # fmt: skip
        faulty(f"time-short-of-zeros-{number}.csv", csv_text([one | {"event_time": text}]), 2, "event_time",
               "all its zeros", _format(form, "UTC"))  # fmt: skip
    only("american", "07/01/2026 09:00", _format("%m/%d/%Y %H:%M", "UTC"), ms)
    only("in-seconds", "1782896400", '[times]\nevent_time = {unit = "s"}\n', ms)
    only("in-microseconds", "1782896400000000", '[times]\nevent_time = {unit = "us"}\n', ms)
    only("cut", "2026-07-01T09:00:00.123456Z", '[times]\nevent_time = {below_ms = "cut"}\n', ms + 123)
    autumn, spring = "2025-10-26T02:30:00", "2026-03-29T02:30:00"
    for name, text in (("autumn", autumn), ("spring", spring)):
        faulty(
            f"time-of-{name}.csv", csv_text([one | {"event_time": text}]), 2, "event_time", "change of clocks", berlin
        )
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


def _openings() -> None:
    written, opened_s = "2020-02-03T00:00:00Z", 1_580_688_000
    for name, text, phrase in (
        ("seconds-as-ms", str(opened_s), "outside 1980 to 2048"),
        ("microseconds-as-ms", str(opened_s * 1_000_000), "outside 1980 to 2048"),
        ("nothing-as-ms", "0", "outside 1980 to 2048"),
        ("minus-one-as-ms", "-1", "outside 1980 to 2048"),
    ):
        rows = [{k: v for k, v in row.items() if k != "beneficiary_opened_at"} for row in whole()]
        rows = [row | {"beneficiary_opened_at_ms": str(opened_s * 1000)} for row in rows]
        rows[-1]["beneficiary_opened_at_ms"] = text
        place = 3, "beneficiary_opened_at_ms"
        faulty(f"opened-at-{name}.csv", csv_text(rows), *place, phrase)
        for key in ('unit = "s"', 'zone = "UTC"', 'below_ms = "cut"', 'format = "%Y-%m-%d %H:%M%z"'):
            mapping = f"[times]\nbeneficiary_opened_at = {{{key}}}\n"
            unreadable(f"opened-at-{name}-{key[:4]}.csv", csv_text(rows), "takes no effect", mapping)
    one = whole(1)[0]
    seconds = '[times]\nbeneficiary_opened_at = {unit = "s"}\n'
    sound("opened-at-in-seconds.csv", csv_text([one | {"beneficiary_opened_at": str(opened_s)}]), seconds, 1,
          beneficiary_opened_at_ms=opened_s * 1000)  # fmt: skip
    milli = '[times]\nbeneficiary_opened_at = {unit = "ms"}\n'
    faulty("opened-at-in-other-unit.csv", csv_text([one | {"beneficiary_opened_at": str(opened_s)}]), 2,
           "beneficiary_opened_at", "outside 1980 to 2048", milli)  # fmt: skip
    said("opened-at-of-1950", "beneficiary_opened_at", "1950-01-01T00:00:00Z",
         beneficiary_opened_at_ms=-631_152_000_000)  # fmt: skip
    assert one["beneficiary_opened_at"] == written
    early = csv_text(whole(beneficiary_opened_at="1899-12-31T00:00:00Z"))
    faulty("opened-at-of-1899.csv", early, 3, None, "before 1900")
    faulty("account-opened-in-1899.csv", csv_text(whole(account_opened="1899-12-31")), 3, None, "before 1900")
    days = [{("account_opened_epoch_day" if k == "account_opened" else k): v for k, v in row.items()}
            for row in whole(account_opened="16436")]  # fmt: skip
    days[0]["account_opened_epoch_day"] = "16436"
    formed = '[times]\naccount_opened = {format = "%Y-%m-%d"}\n'
    _rules_of_the_file_that_nothing_is_read_by()
    unreadable("opened-days-with-a-format.csv", csv_text(days), "takes no effect", formed)
    absent = csv_text(whole(beneficiary_opened_at=None))
    unreadable("times-of-no-column.csv", absent, "times.beneficiary_opened_at takes no effect", seconds)
    words = '[values.reference]\nx = "y"\n'
    unreadable("words-of-no-column.csv", csv_text(whole(reference=None)), "values.reference takes no effect", words)


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
    sound(
        "peoples-cp1252.csv", PEOPLES_ROWS.encode("cp1252"), PEOPLES + 'encoding = "cp1252"\n', 1, amount_minor=123450
    )
    sound("ignored.csv", csv_text([row | {"colour": "red"} for row in whole()]), '[file]\nignore = ["colour"]\n')
    area = '[segments]\npostcode_area = "area"\n[file]\nignore = ["segments"]\n'
    sound("segments-of-columns.csv", csv_text([row | {"area": "SW"} for row in whole(segments=None)]),
          '[segments]\npostcode_area = "area"\n', segments={"postcode_area": "SW"})  # fmt: skip
    sound("segments-of-one-column.csv", csv_text([row | {"area": "SW"} for row in whole()]), area,
          segments={"postcode_area": "SW"})  # fmt: skip
    text = csv_text(whole())
    sound("map-with-a-mark.csv", text, "\ufeff[file]\npayments = 2\n")
    for name, mapping, phrase in (
        ("no-toml", "columns = [", "no TOML"),
        ("unknown-key", "[file]\nseperator = ';'\n", "unknown key"),
        ("unknown-field", "[columns]\namuont = 'x'\n", "amuont"),
        ("column-that-is-not-there", "[columns]\nreference = 'Zweck'\n", "no column 'Zweck'"),
        ("column-for-two-fields", "[columns]\nreference = 'device_id'\ndevice_id = 'device_id'\n", "to two fields"),
        ("column-and-constant", "[columns]\ncurrency = 'c'\n[constants]\ncurrency = 'GBP'\n", "both a column and"),
        ("constant-that-is-wrong", "[file]\nignore = ['currency']\n[constants]\ncurrency = 'pounds'\n", "constant"),
        ("format-without-zone", "[times]\nevent_time = {format = '%Y-%m-%d %H:%M'}\n", "needs a zone"),
        ("format-without-hour", "[times]\nevent_time = {format = '%Y-%m-%d', zone = 'UTC'}\n", "lacks %H"),
        ("format-of-another-kind", "[times]\nevent_time = {format = '%c', zone = 'UTC'}\n", "%c"),
        ("format-with-a-day-twice", "[times]\nevent_time = {format = '%d.%d.%m.%Y %H:%M', zone = 'UTC'}\n", "%d twice"),
        ("format-with-a-sign-alone", "[times]\nevent_time = {format = '%d.%m.%Y %H:%M%', zone = 'UTC'}\n", "% alone"),
        ("unit-and-zone", "[times]\nevent_time = {unit = 's', zone = 'Europe/Berlin'}\n", "a unit and a zone"),
        ("zone-that-is-none", "[times]\nevent_time = {zone = 'CEST'}\n", "IANA"),
        ("encoding-that-is-none", "[file]\nencoding = 'rot13'\n", "encodings"),
        ("word-absent-and-kept", "[file]\nabsent = ['None']\nkept = ['None']\n", "both absent and kept"),
        (
            "column-read-and-ignored",
            "[columns]\nreference = 'Reference'\n[file]\nignore = ['reference']\n",
            "ignored as",
        ),
        ("constant-beside-its-column", "[constants]\ncurrency = 'GBP'\n", "and the map a constant of that name"),
        ("one-sign-for-both", "[file]\ndecimal = ','\ngrouping = ','\n", "same sign"),
    ):
        unreadable(f"map-{name}.csv", text, phrase, mapping)


ALL = (_amounts, _points_between_thousands, _words, _times, _openings, _labels, _maps)


def _rules_of_the_file_that_nothing_is_read_by() -> None:
    """Each rule of `[file]` is refused where no value is read by it, and stands where one is."""
    text, line = csv_text(whole()), "".join(f"{json.dumps(row)}\n" for row in whole())
    for name, content, key, value in (
        ("csv", text, "doubles", '"shortest"'),
        ("csv", text, "nan", '"absent"'),
        ("csv", text, "binary", '"utf-8"'),
        ("csv", text, "ignore", '["Saldo"]'),
        ("jsonl", line, "separator", '";"'),
        ("jsonl", line, "encoding", '"cp1252"'),
        ("jsonl", line, "unended", '"whole"'),
        ("jsonl", line, "doubles", '"shortest"'),
    ):
        mapping = f"[file]\n{key} = {value}\n"
        unreadable(f"{key}-without-effect.{name}", content, f"file.{key} takes no effect", mapping)
    sound("what-holds-anyway.csv", text, '[file]\ndecimal = "."\ndoubles = "refuse"\nignore = []\n')
    formed = '[times.event_time]\nformat = "%Y-%m-%dT%H:%M:%SZ"\nzone = "UTC"\nbelow_ms = "cut"\n'
    rows = whole(event_time="2025-11-24T09:00:00Z", event_time_ms=None)
    unreadable("below-ms-without-fractions.csv", csv_text(rows), "below_ms takes no effect", formed)
