"""What each field demands of a plain value, and the words in which another is refused. No value is quoted (I10)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Final

from pipeline.domain.payment import AMOUNT_MINOR_MAX, Channel
from pipeline.domain.refusals import (
    EVENT_TIME_MS_MAX,
    EVENT_TIME_MS_MIN,
    TEXT_CHARACTERS_MAX,
    canonical_ip_address,
    is_identifier,
    is_text,
    reads_as_float,
    zone_of,
)
from pipeline.publish.amounts import PerhapsGrouped
from pipeline.publish.columns import Day, Stamp
from pipeline.publish.file_map import FileMap, FileRules, TimeRule
from pipeline.publish.payment_source import Wrong
from pipeline.publish.plain_values import Convert, text_rule
from pipeline.publish.times import epoch_day, time_ms

OPTIONAL: Final = frozenset(
    {
        "beneficiary_name",
        "beneficiary_opened_at",
        "beneficiary_opened_at_ms",
        "reference",
        "ip_address",
        "device_id",
        "segments",
        "source_system",
    }
)
COUNTED_MS_MIN: Final = 315_532_800_000
"""1980-01-01. No beneficiary whose opening is counted since 1970 is older than the systems that count so."""
SHORT_NUMBER_MAX: Final = 10**15
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,29})", re.ASCII)
_SIGNS: Final = re.compile(r"[._:-]+", re.ASCII)
_PERHAPS_GROUPED: Final = re.compile(r"-?[1-9][0-9]{0,2}\.[0-9]{3}", re.ASCII)
"""By the signs that hold where none are declared: 12.500 is twelve and a half here, and twelve thousand elsewhere."""
_CURRENCY: Final = re.compile(r"[A-Z]{3}", re.ASCII)
_COUNTRY: Final = re.compile(r"[A-Z]{2}", re.ASCII)
_LABELS: Final = {"0": False, "1": True, "false": False, "true": True}
_EMPTY: Final = "is empty"


def demand(field: str, rules: FileMap) -> Convert:
    """Return the function from a plain value to the field's; an `amount` stays a Decimal, or an integer."""
    convert = _DEMANDS[field](field, rules)
    if field == "fraud":
        return convert
    if field in OPTIONAL:
        nothing: object = {} if field == "segments" else None
        return lambda value: nothing if value is None else convert(value)

    def required(value: object) -> object:
        if value is None:
            raise Wrong(_EMPTY)
        return convert(value)

    return required


def _identifier(_field: str, rules: FileMap) -> Convert:
    kept = frozenset(rules.file.kept)

    def convert(value: object) -> object:
        text = _textual(value)
        if is_identifier(text):
            if _SIGNS.fullmatch(text) and text not in kept:
                raise Wrong("is an id without a letter or a digit, which often stands for a missing value: name it in "
                            "the map under absent or kept")  # fmt: skip
            if reads_as_float(text) and text not in kept:
                raise Wrong("is an id that looks like a floating-point number: write it as it was, or name it in the "
                            "map under kept")  # fmt: skip
            return text
        if text != text.strip():
            raise Wrong("begins or ends with a blank: declare blanks = 'strip' in the map if it means nothing")
        raise Wrong("is not 1 to 64 of A-Z a-z 0-9 . _ : -")

    return convert


def _words(_field: str, _rules: FileMap) -> Convert:
    """Text that is kept and shown. The payment would be refused for it anyway, but that names no column."""

    def convert(value: object) -> object:
        text = _textual(value)
        if not is_text(text):
            raise Wrong(f"is over {TEXT_CHARACTERS_MAX} characters or has controls")
        return text

    return convert


def _textual(value: object) -> str:
    """Return a text, or an integer's digits. A number with decimals, or a truth, is no text."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        raise Wrong("is true or false, not a text")
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        raise Wrong("is a number with decimals, not a text: write it as a text or as an integer")
    raise Wrong(f"is {_named(value)}, not a text")


def _named(value: object) -> str:
    match value:
        case Stamp():
            return "a time"
        case Day():
            return "a date"
        case Decimal() | int():
            return "a number"
        case str():
            return "a text"
    return "nested"


def _code(pattern: re.Pattern[str], what: str) -> Callable[[str, FileMap], Convert]:
    def build(_field: str, _rules: FileMap) -> Convert:
        def convert(value: object) -> object:
            if isinstance(value, str) and pattern.fullmatch(value):
                return value
            raise Wrong(f"is no {what}")

        return convert

    return build


def _channel(_field: str, _rules: FileMap) -> Convert:
    channels = {str(each): each for each in Channel}

    def convert(value: object) -> object:
        found = channels.get(value) if isinstance(value, str) else None
        if found is None:
            raise Wrong(f"is none of {', '.join(channels)}: declare values.channel in the map")
        return found

    return convert


def _zone(_field: str, _rules: FileMap) -> Convert:
    def convert(value: object) -> object:
        if isinstance(value, str) and zone_of(value) is not None:
            return value
        raise Wrong("is no IANA time zone, like Europe/London")

    return convert


def _address(_field: str, _rules: FileMap) -> Convert:
    def convert(value: object) -> object:
        if isinstance(value, str) and canonical_ip_address(value) is not None:
            return value
        raise Wrong("is neither an IPv4 nor an IPv6 address")

    return convert


def _integer(_field: str, rules: FileMap) -> Convert:
    return lambda value: whole_number(value, rules.file)


_MINUS_ZERO: Final = "is minus zero: something was lost beside the sign"


def whole_number(value: object, rules: FileRules) -> int:
    if isinstance(value, bool):
        raise Wrong("is true or false, not a whole number")
    if isinstance(value, int):
        return value
    if isinstance(value, str):
        if value == "-0":
            raise Wrong(_MINUS_ZERO)
        if _INTEGER.fullmatch(value):
            return int(value)
        raise Wrong(_why_not_whole(value, rules))
    if isinstance(value, Decimal):
        if value.is_zero() and value.is_signed():
            raise Wrong(_MINUS_ZERO)
        if value.is_finite() and value == value.to_integral_value() and value.as_tuple().exponent == 0:
            return int(value)
        raise Wrong("is a number with decimals, not a whole number")
    raise Wrong(f"is {_named(value)}, not a whole number")


def _why_not_whole(text: str, rules: FileRules) -> str:
    if text != text.strip():
        return "begins or ends with a blank: declare blanks = 'strip' in the map if it means nothing"
    if re.fullmatch(r"-?0[0-9]+", text, re.ASCII):
        return "is a whole number with leading zeros, which a number loses"
    if re.fullmatch(r"-?[0-9]+", text, re.ASCII):
        return "is a whole number that is out of range"
    why = _why_not_decimal(text, rules)
    return "is a number with decimals, not a whole number" if why is None else why


def _amount_minor(_field: str, rules: FileMap) -> Convert:
    def convert(value: object) -> object:
        number = whole_number(value, rules.file)
        if not 0 <= number <= AMOUNT_MINOR_MAX:
            raise Wrong(f"is not 0 to {AMOUNT_MINOR_MAX} minor units")
        return number

    return convert


def _amount(_field: str, rules: FileMap) -> Convert:
    return lambda value: major_amount(value, rules.file)


def major_amount(value: object, rules: FileRules) -> Decimal | int:
    if isinstance(value, bool):
        raise Wrong("is true or false, not an amount")
    if isinstance(value, str):
        why = _why_not_decimal(value, rules)
        if why is not None:
            raise Wrong(why)
        is_open = _PERHAPS_GROUPED.fullmatch(value) is not None and not rules.says_signs
        number = value.replace(rules.grouping, "").replace(rules.decimal, ".")
        value = PerhapsGrouped(number) if is_open else Decimal(number)
    if isinstance(value, Decimal) and value.is_zero() and value.is_signed():
        raise Wrong(_MINUS_ZERO)
    if isinstance(value, Decimal | int):
        return value
    raise Wrong(f"is {_named(value)}, not an amount")


def _why_not_decimal(text: str, rules: FileRules) -> str | None:
    """Say why a text is no decimal number by the declared signs, or None where it is one."""
    decimal, grouping = re.escape(rules.decimal), re.escape(rules.grouping)
    whole = rf"(?:\d{{1,30}}|\d{{1,3}}(?:{grouping}\d{{3}}){{1,9}})" if grouping else r"\d{1,30}"
    if re.fullmatch(rf"-?{whole}(?:{decimal}\d{{1,30}})?", text, re.ASCII):
        return None
    if text != text.strip():
        return "begins or ends with a blank: declare blanks = 'strip' in the map if it means nothing"
    if re.fullmatch(r"-?[0-9.,' \u00a0\u202f]+", text, re.ASCII):
        signs = f"decimal = '{rules.decimal}', grouping = '{rules.grouping}'"
        return f"is no number by the map's signs ({signs}): declare the signs that the file uses"
    if text.strip("+-").lower() in {"inf", "infinity", "nan"}:
        return "is no finite number"
    if re.fullmatch(r"[-+]?[0-9.,]+[eE][-+]?[0-9]+", text, re.ASCII):
        return "is a number in scientific notation, whose digits may be cut: write them all"
    return "is no number"


def _time_number(field: str, rules: FileMap) -> Convert:
    rule = rules.times.get(field.removesuffix("_ms"), TimeRule())
    if field == "event_time_ms":
        return _ranged(lambda value: _milliseconds(value, rule, rules.file))

    def plausible(value: object) -> object:
        found = _milliseconds(value, rule, rules.file)
        return found if isinstance(value, Stamp) else _plausible(found)

    return plausible


def _milliseconds(value: object, rule: TimeRule, rules: FileRules) -> int:
    return time_ms(rule)(value) if isinstance(value, Stamp) else whole_number(value, rules)


def _time(field: str, rules: FileMap) -> Convert:
    convert = time_ms(rules.times.get(field, TimeRule()))
    has_unit = rules.times.get(field, TimeRule()).unit is not None

    def counted(value: object) -> object:
        found = convert(whole_number(value, rules.file) if has_unit and isinstance(value, Decimal) else value)
        is_number = has_unit and not isinstance(value, Stamp)
        return _plausible(found) if is_number and field != "event_time" else found

    return _ranged(counted) if field == "event_time" else counted


def _plausible(at_ms: int) -> int:
    """Return a time that was counted. Seconds read as milliseconds come to 1970."""
    if not COUNTED_MS_MIN <= at_ms < EVENT_TIME_MS_MAX:
        raise Wrong("is a number that comes to a time outside 1980 to 2048: look at its unit")
    return at_ms


def _ranged(convert: Convert) -> Convert:
    def ranged(value: object) -> object:
        found = convert(value)
        assert isinstance(found, int), "milliseconds"
        if not EVENT_TIME_MS_MIN <= found < EVENT_TIME_MS_MAX:
            raise Wrong("is a time outside 2015 to 2048: look at its unit")
        return found

    return ranged


def _day_number(_field: str, rules: FileMap) -> Convert:
    convert = epoch_day(TimeRule())

    def number(value: object) -> object:
        return convert(value) if isinstance(value, Day | Stamp) else whole_number(value, rules.file)

    return number


def _day(field: str, rules: FileMap) -> Convert:
    return epoch_day(rules.times.get(field, TimeRule()))


def _label(_field: str, _rules: FileMap) -> Convert:
    def convert(value: object) -> object:
        if isinstance(value, bool):
            return value
        if value is None:
            raise Wrong("is empty, and a payment whose label is unknown is not an honest one: leave its row out")
        if isinstance(value, int | str):
            found = _LABELS.get(str(value).lower())
            if found is not None:
                return found
        if isinstance(value, Decimal) and value in (0, 1) and value.as_tuple().exponent == 0:
            return value == 1
        raise Wrong("is neither 0 nor 1, true nor false: declare values.fraud in the map")

    return convert


def _segments(field: str, rules: FileMap) -> Convert:
    words = text_rule(field, rules)

    def convert(value: object) -> object:
        if isinstance(value, str):
            value = _object(value)
        pairs = list(value.items()) if isinstance(value, dict) else value
        if not isinstance(pairs, list) or not all(_is_pair(pair) for pair in pairs):
            raise Wrong("is no JSON object of names and texts")
        if len({name for name, _ in pairs}) < len(pairs):
            raise Wrong("has one name twice")
        return {name: text for name, said in pairs if (text := words(said)) is not None}

    return convert


def _object(text: str) -> object:
    try:
        return json.loads(text, object_pairs_hook=list) if text.lstrip().startswith("{") else None
    except (ValueError, RecursionError) as error:
        raise Wrong("is no JSON object of names and texts") from error


def _is_pair(pair: object) -> bool:
    if not isinstance(pair, tuple) or len(pair) != 2:
        return False
    return all(isinstance(part, str) and part.isprintable() for part in pair)


def _short_number(_field: str, rules: FileMap) -> Convert:
    def convert(value: object) -> object:
        number = whole_number(value, rules.file)
        if not 0 <= number <= SHORT_NUMBER_MAX:
            raise Wrong("is a number that is negative or too large")
        return number

    return convert


_DEMANDS: Final[dict[str, Callable[[str, FileMap], Convert]]] = {
    "transaction_id": _identifier,
    "account_id": _identifier,
    "amount": _amount,
    "amount_minor": _amount_minor,
    "currency": _code(_CURRENCY, "currency of three capitals"),
    "event_time": _time,
    "event_time_ms": _time_number,
    "beneficiary_account_id": _identifier,
    "beneficiary_name": _words,
    "beneficiary_country": _code(_COUNTRY, "country of two capitals"),
    "beneficiary_opened_at": _time,
    "beneficiary_opened_at_ms": _time_number,
    "reference": _words,
    "channel": _channel,
    "ip_address": _address,
    "device_id": _identifier,
    "account_opened": _day,
    "account_opened_epoch_day": _day_number,
    "account_time_zone": _zone,
    "segments": _segments,
    "source_system": _identifier,
    "fraud": _label,
    "tx_time_s": _short_number,
    "customer_id": _short_number,
    "terminal_id": _short_number,
    "short transaction_id": _short_number,
}
