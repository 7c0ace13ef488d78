"""Why a record becomes a dead letter instead of a decision, and the checks that find out.

Invariants
1. Checks run in the order of RefusalCode; the first that applies is the reason, so two workers always give the same.
2. No refusal quotes a value of the payment (I10).
"""

from __future__ import annotations

import ipaddress
import re
from enum import StrEnum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from pipeline.domain.free_text import is_seen
from pipeline.domain.log import Source
from pipeline.domain.payment import AMOUNT_MINOR_MAX, Transaction

RECORD_BYTES_MAX: Final = 16 * 1024
"""A full record with every text at its limit takes about 2 KB; 16 KB leaves room for new fields."""
FUTURE_TOLERANCE_MS: Final = 5 * 60 * 1000
EVENT_TIME_MS_MIN: Final = 1_420_070_400_000  # 2015-01-01: the state store counts from there
EVENT_TIME_MS_MAX: Final = 2_493_072_000_000  # 2049-01-01: 5 bytes of milliseconds later
EPOCH_DAY_MIN: Final = -25_567  # 1900-01-01
TEXT_CHARACTERS_MAX: Final = 140
SEGMENTS_MAX: Final = 8

_IDENTIFIER: Final = r"[A-Za-z0-9._:\-]{1,64}"
_IDENTIFIERS: Final = re.compile(rf"{_IDENTIFIER}\n{_IDENTIFIER}\n{_IDENTIFIER}", re.ASCII)
_ONE_IDENTIFIER: Final = re.compile(_IDENTIFIER, re.ASCII)
_FLOAT: Final = re.compile(r"-?(?:[0-9]+\.0*|[0-9](?:\.[0-9]*)?[eE]-?[0-9]+)", re.ASCII)
WORDS_FOR_NOTHING: Final = frozenset(
    {
        "none", "null", "nil", "nan", "-nan", "nat", "<na>", "n/a", "#n/a", "na", "n.a.", "n.a", "\\n", "undefined",
        "(null)", "missing",
    }
)  # fmt: skip
"""What programs write into files where a value is missing, in small letters."""
PLACEHOLDERS: Final = frozenset({"notprovided", "nonref", "noref"})
"""Messages of ISO 20022 and SWIFT hold these words where nothing is known; letters and digits alone are compared."""
_NO_WORD: Final = re.compile(r"[\W_]+")
_PLAIN_FIRSTS: Final = frozenset("ABCDEFGHIJKLOPQRSTVWXYZabcdefghijklopqrstvwxyz0123456789")
"""A text that begins with one of these isn't looked into: no word for nothing does."""
_IBAN: Final = re.compile(r"[A-Z]{2}[0-9]{2}[A-Z0-9]{11,30}", re.ASCII)
_IBAN_CHARACTERS_MIN: Final = 15
_NO_CHECK_DIGITS: Final = frozenset({"00", "01", "99"})
"""They leave the remainders of 97, 98 and 02, so that two IBANs would name one account; no bank issues them."""
_CURRENCY_AND_COUNTRY: Final = re.compile(r"[A-Z]{3} [A-Z]{2}", re.ASCII)
_SEGMENT_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_SEGMENT_VALUE: Final = re.compile(r"(?! )[A-Za-z0-9 ._+\-]{1,32}(?<! )", re.ASCII)
_SEGMENT_CHARACTERS_MAX: Final = 32
_IP_CHARACTERS_MAX: Final = 45  # an IPv6 address that ends with an IPv4 address, all digits written
_ZONE_CHARACTERS_MAX: Final = 64
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class RefusalCode(StrEnum):
    """Reasons why a record is refused, in order of precedence."""

    RECORD_UNREADABLE = "RECORD_UNREADABLE"
    RECORD_EMPTY = "RECORD_EMPTY"
    RECORD_TOO_LARGE = "RECORD_TOO_LARGE"
    FRAMING_UNKNOWN = "FRAMING_UNKNOWN"
    SCHEMA_UNKNOWN = "SCHEMA_UNKNOWN"
    DECODE_FAILED = "DECODE_FAILED"
    TRAILING_BYTES = "TRAILING_BYTES"
    KEY_MISMATCH = "KEY_MISMATCH"
    IDENTIFIER_INVALID = "IDENTIFIER_INVALID"
    AMOUNT_OUT_OF_RANGE = "AMOUNT_OUT_OF_RANGE"
    CURRENCY_MALFORMED = "CURRENCY_MALFORMED"
    TEXT_INVALID = "TEXT_INVALID"
    IP_ADDRESS_INVALID = "IP_ADDRESS_INVALID"
    DEVICE_INVALID = "DEVICE_INVALID"
    TIME_OUT_OF_RANGE = "TIME_OUT_OF_RANGE"
    TIME_IN_FUTURE = "TIME_IN_FUTURE"
    OPENING_DATE_INVALID = "OPENING_DATE_INVALID"
    TIME_ZONE_UNKNOWN = "TIME_ZONE_UNKNOWN"
    SEGMENTS_INVALID = "SEGMENTS_INVALID"
    TRANSACTION_ID_CONFLICT = "TRANSACTION_ID_CONFLICT"
    POISON = "POISON"
    LABEL_UNMATCHED = "LABEL_UNMATCHED"
    PARTITION_MISMATCH = "PARTITION_MISMATCH"
    LABEL_UNPROVED = "LABEL_UNPROVED"


class Refusal(NamedTuple):
    code: RefusalCode
    detail: str


def is_identifier(text: str) -> bool:
    """Whether it is sound as an id of a payment, an account or a device. Case counts: `A` and `a` are two."""
    return _ONE_IDENTIFIER.fullmatch(text) is not None


def is_iban(text: str) -> bool:
    """Whether it has an IBAN's form, of whatever length, and check digits from 02 to 98 that fit (ISO 7064)."""
    if not _IBAN.fullmatch(text) or text[2:4] in _NO_CHECK_DIGITS:
        return False
    digits = "".join(str(int(each, 36)) for each in text[4:] + text[:4])
    return int(digits) % 97 == 1


def iban_in(identifier: str) -> str | None:
    """The IBAN that an account's id is once its signs are away, in capitals; None where it is none."""
    return _iban_in(identifier) if len(identifier) >= _IBAN_CHARACTERS_MIN else None


@lru_cache(maxsize=65536)
def _iban_in(identifier: str) -> str | None:
    squeezed = _NO_WORD.sub("", identifier).upper()
    return squeezed if is_iban(squeezed) else None


def reads_as_float(identifier: str) -> bool:
    """Whether it is what a spreadsheet or a column of doubles makes of an account number: 1001.0, 1001., 1E15."""
    return _FLOAT.fullmatch(identifier) is not None


TEXT_REFUSED: Final = Refusal(
    RefusalCode.TEXT_INVALID, f"a text is over {TEXT_CHARACTERS_MAX} characters or has controls"
)


def is_text(text: str) -> bool:
    """Whether a text is short enough to be kept and shown, and has no controls."""
    return len(text) <= TEXT_CHARACTERS_MAX and not _has_control(text)


def says_nothing(text: str | None) -> bool:
    """Whether a text that a payment must have is missing: no reader sees anything in it, or it is a word for nothing.

    Whoever passes a payment on writes such words where the text was lost, or never there.
    """
    if text is None:
        return True
    return text[:1] not in _PLAIN_FIRSTS and _says_nothing(text)


@lru_cache(maxsize=16384)
def _says_nothing(text: str) -> bool:
    seen = "".join(each for each in text if is_seen(each) or each.isspace()).strip()
    return not seen or seen.casefold() in WORDS_FOR_NOTHING or is_placeholder(seen)


def is_placeholder(text: str) -> bool:
    """Whether it is one of PLACEHOLDERS, in whatever case and with whatever signs between: Not provided, NO-REF."""
    return _NO_WORD.sub("", text).casefold() in PLACEHOLDERS


def is_log_time(timestamp_ms: int) -> bool:
    return EVENT_TIME_MS_MIN <= timestamp_ms < EVENT_TIME_MS_MAX


def refusal_of(transaction: Transaction, key: bytes | None, source: Source) -> Refusal | None:
    """The first reason why this well-encoded payment can't be decided, or None. About 3 µs."""
    t = transaction
    if key != t.account_id.encode():
        return Refusal(RefusalCode.KEY_MISMATCH, "the record's key is not its account_id")
    if not _IDENTIFIERS.fullmatch(f"{t.transaction_id}\n{t.account_id}\n{t.beneficiary_account_id}"):
        return Refusal(RefusalCode.IDENTIFIER_INVALID, "an id is not 1 to 64 of A-Z a-z 0-9 . _ : -")
    if t.source_system is not None and not _ONE_IDENTIFIER.fullmatch(t.source_system):
        return Refusal(RefusalCode.IDENTIFIER_INVALID, "source_system is not 1 to 64 of A-Z a-z 0-9 . _ : -")
    if not 0 <= t.amount_minor <= AMOUNT_MINOR_MAX:
        return Refusal(RefusalCode.AMOUNT_OUT_OF_RANGE, f"amount_minor is not 0 to {AMOUNT_MINOR_MAX}")
    if not _CURRENCY_AND_COUNTRY.fullmatch(f"{t.currency} {t.beneficiary_country}"):
        return Refusal(RefusalCode.CURRENCY_MALFORMED, "currency or beneficiary_country is not an ISO code in capitals")
    return _text_refusal(t) or _time_refusal(t, source) or _segments_refusal(t.segments)


def _text_refusal(t: Transaction) -> Refusal | None:
    for text in (t.reference, t.beneficiary_name):
        if text is not None and not is_text(text):
            return TEXT_REFUSED
    if t.ip_address is not None and canonical_ip_address(t.ip_address) is None:
        return Refusal(RefusalCode.IP_ADDRESS_INVALID, "ip_address is neither IPv4 nor IPv6")
    if t.device_id is not None and not _ONE_IDENTIFIER.fullmatch(t.device_id):
        return Refusal(RefusalCode.DEVICE_INVALID, "device_id is not 1 to 64 of A-Z a-z 0-9 . _ : -")
    return None


def _time_refusal(t: Transaction, source: Source) -> Refusal | None:
    if not is_log_time(source.timestamp_ms):
        return Refusal(RefusalCode.TIME_OUT_OF_RANGE, "the record's timestamp is missing or outside 2015 to 2048")
    if not EVENT_TIME_MS_MIN <= t.event_time_ms < EVENT_TIME_MS_MAX:
        return Refusal(RefusalCode.TIME_OUT_OF_RANGE, "event_time_ms is outside 2015 to 2048")
    if t.event_time_ms > source.timestamp_ms + FUTURE_TOLERANCE_MS:
        return Refusal(RefusalCode.TIME_IN_FUTURE, "event_time_ms is over 5 minutes ahead of the record's timestamp")
    if not EPOCH_DAY_MIN <= t.account_opened_epoch_day <= (t.event_time_ms + FUTURE_TOLERANCE_MS) // 86_400_000 + 1:
        return Refusal(RefusalCode.OPENING_DATE_INVALID, "account_opened_epoch_day is before 1900 or after the payment")
    opened_at_ms = t.beneficiary_opened_at_ms
    if opened_at_ms is not None and not EPOCH_DAY_MIN * 86_400_000 <= opened_at_ms <= t.event_time_ms + 86_400_000:
        return Refusal(RefusalCode.OPENING_DATE_INVALID, "beneficiary_opened_at_ms is before 1900 or after the payment")
    if zone_of(t.account_time_zone) is None:
        return Refusal(RefusalCode.TIME_ZONE_UNKNOWN, "account_time_zone is no IANA time zone")
    return None


def _segments_refusal(segments: dict[str, str]) -> Refusal | None:
    if len(segments) > SEGMENTS_MAX:
        return Refusal(RefusalCode.SEGMENTS_INVALID, f"more than {SEGMENTS_MAX} segments")
    for name, value in segments.items():
        is_short = len(name) <= _SEGMENT_CHARACTERS_MAX and len(value) <= _SEGMENT_CHARACTERS_MAX
        if not (is_short and _is_segment(name, value)):
            return Refusal(
                RefusalCode.SEGMENTS_INVALID,
                "a segment's name or value has other characters, is too long, or begins or ends with a blank",
            )
    return None


def _has_control(text: str) -> bool:
    """Whether a text holds a control. A printable one holds none, and is known to be so without a regular
    expression."""
    return not text.isprintable() and _CONTROL.search(text) is not None


@lru_cache(maxsize=8192)
def _is_segment(name: str, value: str) -> bool:
    return bool(_SEGMENT_NAME.fullmatch(name) and _SEGMENT_VALUE.fullmatch(value))


def canonical_ip_address(text: str) -> str | None:
    """One spelling for each address, or None where the text is no address.

    `::FFFF` and `0:0::ffff` are the same, and so is an IPv6 address with the IPv4 address that stands in it: whoever
    holds the one holds the other, and what is reported of one must be known of both. No text that is too long to be an
    address is remembered.
    """
    return _canonical_ip_address(text) if len(text) <= _IP_CHARACTERS_MAX else None


@lru_cache(maxsize=65536)
def _canonical_ip_address(text: str) -> str | None:
    if "%" in text:  # a zone means something on one machine only
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    embedded = _embedded(address) if isinstance(address, IPv6Address) else None
    return str(address if embedded is None else embedded)


_EMBEDDING: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "::ffff:0:0/96",  # IPv4-mapped (RFC 4291)
        "::ffff:0:0:0/96",  # IPv4-translated (RFC 2765)
        "64:ff9b::/96",  # NAT64 (RFC 6052): the address of an IPv4 host, as an IPv6 host sees it
    )
)
_COMPATIBLE_MIN: Final = 1 << 24
"""IPv4-compatible addresses (RFC 4291, `::192.0.2.1`) begin behind 0.0.0.0/8, which is no host's; `::1` is another."""


def _embedded(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address whose holder is the holder of this one, or None.

    A 6to4 network and a Teredo address are made from an IPv4 address by its holder, who can make as many as 2^80 of
    them: none of these sheds what was reported of it.
    """
    number = int(address)
    if any(address in network for network in _EMBEDDING) or _COMPATIBLE_MIN <= number < 1 << 32:
        return IPv4Address(number & 0xFFFFFFFF)
    if address.sixtofour is not None:
        return address.sixtofour
    return None if address.teredo is None else address.teredo[1]


def zone_of(name: str) -> ZoneInfo | None:
    """The IANA time zone of this name, or None. No name that is too long to be one is remembered."""
    return _zone_of(name) if len(name) <= _ZONE_CHARACTERS_MAX else None


@lru_cache(maxsize=1024)
def _zone_of(name: str) -> ZoneInfo | None:
    return ZoneInfo(name) if name in _zone_names() else None


@lru_cache(maxsize=1)
def _zone_names() -> frozenset[str]:
    """All of them, so that a flood of made-up names doesn't look for as many files.

    `localtime`, where a system has it, is another zone on each machine. `Factory` says that nobody has set one: what is
    unusual by its hours, which are UTC's, may be an afternoon, and the other way round.
    """
    return frozenset(available_timezones() - {"localtime", "Factory"})
