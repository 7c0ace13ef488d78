"""Payments that are well encoded but must not pass, because they make no sense or a hard guardrail blocks them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ops.bench.bad_input.bad_case import (
    DAY_MS,
    EVENT_TIME_MS,
    INT64_MAX,
    INT64_MIN,
    STRUCTURAL,
    Case,
    changed,
    sound_value,
    spoilt,
)
from ops.bench.bad_input.wire import long, segments, text
from pipeline.domain.refusals import RefusalCode as Code


def bad_payments() -> Iterator[Case]:
    for group in (_identifiers, _codes, _texts, _places, _times, _segments, _keys, _guardrails):
        yield from group()


_FOREIGN: Final = {
    "Cyrillic homoglyph": "\u0410",
    "Greek homoglyph": "\u0391",
    "full-width digit": "\uff11",
    "Arabic digit": "\u0661",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "byte order mark": "\ufeff",
    "right-to-left override": "\u202e",
    "combining accent": "e\u0301",
    "soft hyphen": "\u00ad",
    "no-break space": "\u00a0",
    "emoji": "\U0001f600",
    "NUL": "\0",
    "newline": "\n",
    "carriage return": "\r",
    "tab": "\t",
    "space": " ",
    "slash": "/",
    "quote": "' OR 1=1 --",
    "template": "${jndi:x}",
    "curly braces": "{p0}",
    "asterisk": "*",
}


def _identifiers() -> Iterator[Case]:
    for field in ("transaction_id", "account_id", "beneficiary_account_id", "source_system"):
        for name, characters in _FOREIGN.items():
            yield changed(f"{field} with a {name}", Code.IDENTIFIER_INVALID, **{field: f"GB29{characters}0001"})
        yield changed(f"{field} empty", Code.IDENTIFIER_INVALID, **{field: ""})
        yield changed(f"{field} of 65 characters", Code.IDENTIFIER_INVALID, **{field: "A" * 65})
        yield changed(f"{field} of 15 KB", Code.IDENTIFIER_INVALID, **{field: "A" * 15_000})
        yield changed(f"{field} ending in a newline", Code.IDENTIFIER_INVALID, **{field: "GB29-0001\n"})
    for name, characters in _FOREIGN.items():
        yield changed(f"device_id with a {name}", Code.DEVICE_INVALID, device_id=f"device{characters}1")
    yield changed("device_id empty", Code.DEVICE_INVALID, device_id="")
    yield changed("device_id of 65 characters", Code.DEVICE_INVALID, device_id="d" * 65)


def _codes() -> Iterator[Case]:
    for currency in (
        "",
        "G",
        "GB",
        "GBPP",
        "gbp",
        "Gbp",
        "826",
        "G P",
        "GBP\n",
        " GBP",
        "G\u0412P",
        "GB\u200bP",
        "£££",
    ):
        yield changed(f"currency {currency!r}", Code.CURRENCY_MALFORMED, currency=currency)
    for country in ("", "G", "GBR", "gb", "82", "G ", "GB\n", "\u0405Y", "G\u200bB"):
        yield changed(f"country {country!r}", Code.CURRENCY_MALFORMED, beneficiary_country=country)


_CONTROLS: Final = (
    "\0",
    "\x01",
    "\t",
    "\n",
    "\r",
    "\x1b[2J",
    "\x7f",
    "\x85",
    "\x9b",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u2066",
)


def _texts() -> Iterator[Case]:
    for field in ("beneficiary_name", "reference"):
        yield changed(f"{field} of 141 characters", Code.TEXT_INVALID, **{field: "a" * 141})
        yield changed(f"{field} of 10,000 characters", Code.TEXT_INVALID, **{field: "a" * 10_000})
        for control in _CONTROLS:
            yield changed(f"{field} with control {control!a}", Code.TEXT_INVALID, **{field: f"Jane{control}Smith"})


_IP_ADDRESSES: Final = (
    "", " ", "192.0.2", "192.0.2.256", "192.0.2.017", "192.0.2.17.1", "192.0.2.17/24", "192.0.2.17:443", "3221225985",
    "0xC0000211", "localhost", "192.0.2.17 ", "192.0.2.17\n", "\uff11\uff19\uff12.0.2.17", "::g", ":::", "1::2::3",
    "fe80::1%eth0", "12345::", "::ffff:192.0.2.256", "[::1]", "1" * 46,
)  # fmt: skip
_TIME_ZONES: Final = (
    "", "Mars/Olympus", "europe/london", "Europe", "Europe/", "/etc/localtime", "../../etc/passwd", "Europe/../UTC",
    "Europe/London\0", "Europe/London\n", "Europe/L\u043endon", "UTC+25", "GMT+99", "zone.tab", "Europe/London ",
    "A" * 65,
)  # fmt: skip


def _places() -> Iterator[Case]:
    for address in _IP_ADDRESSES:
        yield changed(f"ip_address {address!a}", Code.IP_ADDRESS_INVALID, ip_address=address)
    for zone in _TIME_ZONES:
        yield changed(f"account_time_zone {zone!a}", Code.TIME_ZONE_UNKNOWN, account_time_zone=zone)


def _times() -> Iterator[Case]:
    for name, moment_ms in {
        "0": 0,
        "-1": -1,
        "-2^63": INT64_MIN,
        "2^63-1": INT64_MAX,
        "in seconds": EVENT_TIME_MS // 1000,
        "in microseconds": EVENT_TIME_MS * 1000,
        "the last of 2014": 1_420_070_399_999,
        "2049": 2_493_072_000_000,
    }.items():
        yield changed(f"event_time_ms {name}", Code.TIME_OUT_OF_RANGE, event_time_ms=moment_ms)
    stamp_ms = EVENT_TIME_MS + 200
    for name, ahead_ms in {
        "5 min and 1 ms": 300_001,
        "an hour": 3_600_000,
        "a day": DAY_MS,
        "20 years": 7300 * DAY_MS,
    }.items():
        yield changed(f"{name} in the future", Code.TIME_IN_FUTURE, event_time_ms=stamp_ms + ahead_ms)
    today = EVENT_TIME_MS // DAY_MS
    for day in (-25_568, -(2**31), 2**31 - 1, 2**31, INT64_MIN, INT64_MAX, today + 3):
        codes = {Code.OPENING_DATE_INVALID} | (STRUCTURAL if not -(2**31) <= day < 2**31 else set())
        yield changed(f"account opened on day {day}", *codes, account_opened_epoch_day=day)
    for name, moment_ms in {
        "before 1900": -25_568 * DAY_MS,
        "the day after tomorrow": EVENT_TIME_MS + 2 * DAY_MS,
        "at -2^63": INT64_MIN,
        "at 2^63-1": INT64_MAX,
    }.items():
        yield changed(f"beneficiary opened {name}", Code.OPENING_DATE_INVALID, beneficiary_opened_at_ms=moment_ms)


def _segments() -> Iterator[Case]:
    for name, entries in {
        "9 of them": {f"segment_{number}": "a" for number in range(9)},
        "500 of them": {f"segment_{number}": "a" for number in range(500)},
        "an empty name": {"": "a"},
        "an empty value": {"age_band": ""},
        "a name in capitals": {"Age": "a"},
        "a name with a hyphen": {"age-band": "a"},
        "a name that starts with a digit": {"1st": "a"},
        "a name of 33 characters": {"a" * 33: "a"},
        "a value of 33 characters": {"age_band": "a" * 33},
        "a value with a newline": {"age_band": "a\n"},
        "a value that begins with a blank": {"postcode_area": " SW"},
        "a value that ends with a blank": {"postcode_area": "SW "},
        "a value with a homoglyph": {"postcode_area": "\u0405W"},
        "a value with a colon": {"postcode_area": "S:W"},
        "a value with an equals sign": {"postcode_area": "S=W"},
        "a value of 12 KB": {"age_band": "a" * 12_000},
    }.items():
        yield changed(f"segments: {name}", Code.SEGMENTS_INVALID, segments=entries)
    giant = {f"segment_{number}": "a" for number in range(5_000)}
    yield changed("segments: 5,000 of them", Code.RECORD_TOO_LARGE, segments=giant)
    for name, encoded in {
        "count 2^62": long(2**62) + text("a") + text("b"),
        "count 2^62, empty strings": long(2**62) + bytes(4_000),
        "count -2^63": long(INT64_MIN) + long(4) + text("a") + text("b"),
        "block never closed": long(1) + text("a") + text("b"),
        "negative count without size": long(-5),
    }.items():
        yield spoilt(f"segments: {name}", "segments", encoded, *STRUCTURAL)
    spent = segments({"": ""})[:-1] * 2_000 + b"\0"
    yield spoilt("segments: 2,000 blocks of one empty entry", "segments", spent, *STRUCTURAL)


def _keys() -> Iterator[Case]:
    for name, key in {
        "missing": None,
        "empty": b"",
        "another account's": b"GB29-0009",
        "in lower case": b"gb29-0001",
        "with a space": b"GB29-0001 ",
        "with a NUL": b"GB29-0001\0",
        "with a homoglyph": "GB29-\u041e001".encode(),
        "no UTF-8": b"\xff\xfe",
        "the transaction id": b"bad-key-the-transaction-id",
        "of 10 KB": b"k" * 10_000,
    }.items():
        yield Case(f"key {name}", key, sound_value(f"key {name}"), frozenset({Code.KEY_MISMATCH}))


# Payments that a hard guardrail blocks

_INVISIBLE: Final = (
    "",
    " ",
    "   ",
    "\u00a0",
    "\u2003",
    "\u200b",
    "\u200b \u200d",
    "\ufeff",
    "\u00ad",
    "\u2060",
    "\u3164",
)


def _guardrails() -> Iterator[Case]:
    for amount, currency in (
        (5_000_001, "GBP"),
        (10**11, "GBP"),
        (10_000_000, "USD"),
        (2**31, "JPY"),
        (30_000_000, "KWD"),
    ):
        yield changed(f"{amount} {currency}", "HARD_MAX_SINGLE_TRANSACTION", amount_minor=amount, currency=currency)
    for country in ("KP", "IR", "BY", "RU"):
        yield changed(f"payment to {country}", "HARD_SANCTIONED_COUNTRY", beneficiary_country=country)
    for country in ("ZZ", "XX", "UK", "AA", "SU", "EU", "YU", "AN", "QZ", "XA"):
        yield changed(f"payment to {country}", "HARD_UNKNOWN_COUNTRY", beneficiary_country=country)
    for currency in ("ZZZ", "XXX", "XTS", "BTC", "XAU", "RUB", "AAA"):
        yield changed(f"payment in {currency}", "HARD_UNSUPPORTED_CURRENCY", currency=currency)
    for field, code in (("reference", "HARD_REFERENCE_MISSING"), ("beneficiary_name", "HARD_BENEFICIARY_NAME_MISSING")):
        yield changed(f"{field} null", code, **{field: None})
        for blank in _INVISIBLE:
            yield changed(f"{field} {blank!a}", code, **{field: blank})
    young = {"account_opened_epoch_day": EVENT_TIME_MS // DAY_MS - 29, "amount_minor": 500_000}
    yield changed("5,000 GBP from an account of 29 days", "HARD_YOUNG_ACCOUNT_HIGH_VALUE", **young)
