"""Times and dates of files as milliseconds and days since 1970-01-01: exact, or refused. No zone is assumed."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final

from pipeline.domain.refusals import zone_of
from pipeline.publish.columns import Day, Stamp
from pipeline.publish.file_map import TimeRule
from pipeline.publish.payment_source import Wrong

DAY_MS: Final = 86_400_000
_NANOSECONDS: Final = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_MS: Final = 10**6
_EPOCH: Final = datetime(1970, 1, 1)
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_ISO: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?"
    r"(?:([Zz]| ?UTC)|([+-])(\d\d)(?::?(\d\d))?)?",
    re.ASCII,
)
_DATE: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)", re.ASCII)
_NUMBER: Final = re.compile(r"-?\d{1,30}", re.ASCII)
_NO_ZONE: Final = "is a time that names no zone: declare its zone in the map"
_NO_TIME: Final = "is no time like 2026-11-24T09:00:00Z: declare its format and zone in the map"
_PARTS: Final = re.compile("%.|[^%]+", re.DOTALL)
_NOT_FORMED: Final = "is not in the format that the map declares, with all its zeros"
_NO_DATE: Final = "is no date like 2026-11-24: declare its format in the map"


def time_ms(rule: TimeRule) -> Callable[[object], int]:
    """Return the function from a plain value to milliseconds since 1970-01-01T00:00:00Z."""

    def convert(value: object) -> int:
        match value:
            case Stamp():
                return _stamp_ms(value, rule)
            case bool():
                raise Wrong(_NO_TIME)
            case int():
                return _counted_ms(value, rule)
            case str() if rule.unit is not None:
                if not _NUMBER.fullmatch(value):
                    raise Wrong("is no whole number of the unit that the map declares")
                return _counted_ms(int(value), rule)
            case str():
                return _text_ms(value, rule)
            case Day():
                raise Wrong("is a date without a time of day")
        raise Wrong(_NO_TIME)

    return convert


def epoch_day(rule: TimeRule) -> Callable[[object], int]:
    """Return the function from a plain value to days since 1970-01-01."""

    def convert(value: object) -> int:
        match value:
            case Day():
                return value.number
            case Stamp():
                return _midnight(value)
            case str():
                return _text_day(value, rule)
        raise Wrong(_NO_DATE)

    return convert


def _stamp_ms(stamp: Stamp, rule: TimeRule) -> int:
    ms = _exact_ms(stamp.number * _NANOSECONDS[stamp.unit], rule)
    if stamp.is_zoned:
        return ms
    if rule.zone is None:
        raise Wrong(_NO_ZONE)
    try:
        wall = _EPOCH + timedelta(milliseconds=ms)
    except OverflowError as error:
        raise Wrong("is a time out of range") from error
    return _instant_ms(wall, rule.zone)


def _counted_ms(number: int, rule: TimeRule) -> int:
    if rule.unit is None:
        raise Wrong("is a number without a unit: name the column for milliseconds, or declare its unit in the map")
    return _exact_ms(number * _NANOSECONDS[rule.unit], rule)


def _exact_ms(nanoseconds: int, rule: TimeRule) -> int:
    ms, rest = divmod(nanoseconds, _MS)
    if rest and rule.below_ms == "refuse":
        raise Wrong("is finer than milliseconds: declare below_ms = 'cut' in the map if the rest may be left out")
    return ms


def _text_ms(text: str, rule: TimeRule) -> int:
    if rule.format is not None:
        return _formed_ms(text, rule.format, rule)
    found = _ISO.fullmatch(text)
    if found is None:
        raise Wrong("is a date without a time of day" if _DATE.fullmatch(text) else _NO_TIME)
    year, month, day, hour, minute, second, fraction, zulu, sign, zone_hour, zone_minute = found.groups()
    try:
        wall = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second or 0))
    except ValueError as error:
        raise Wrong("is a day or a time of day that doesn't exist") from error
    part_ms = _exact_ms(int((fraction or "").ljust(9, "0")), rule)
    if zulu is not None:
        return _ms_since_epoch(wall) + part_ms
    if sign is not None:
        minutes = int(zone_hour) * 60 + int(zone_minute or 0)
        if int(zone_minute or 0) > 59 or minutes > 14 * 60:
            raise Wrong("has an offset from UTC that doesn't exist")
        return _ms_since_epoch(wall) - (minutes if sign == "+" else -minutes) * 60_000 + part_ms
    if rule.zone is None:
        raise Wrong(_NO_ZONE)
    return _instant_ms(wall, rule.zone) + part_ms


def _formed_ms(text: str, form: str, rule: TimeRule) -> int:
    found = _formed(text, form)
    part_ms = _exact_ms(found.microsecond * 1000, rule)
    whole = found.replace(microsecond=0)
    if whole.tzinfo is not None:
        return _ms_since_epoch(whole.astimezone(UTC).replace(tzinfo=None)) + part_ms
    assert rule.zone is not None, "the map was checked"
    return _instant_ms(whole, rule.zone) + part_ms


def _formed(text: str, form: str) -> datetime:
    """Return the time that, written in the form again, is the same text: strptime reads more than the form says."""
    try:
        if text.isascii():
            found = datetime.strptime(text, form)
            if text in _written(found, form):
                return found
    except (ValueError, OverflowError) as error:
        raise Wrong(_NOT_FORMED) from error
    raise Wrong(_NOT_FORMED)


def _written(when: datetime, form: str) -> set[str]:
    """Return every spelling of a time in a form: a fraction has one to six digits, and an offset three forms."""
    spellings = {"f": _fractions(when.microsecond), "z": _offsets(when)}
    written = [""]
    for each in _PARTS.findall(form):
        choices = spellings.get(each[1:]) if each[0] == "%" else None
        if choices is None:
            choices = [f"{when.year:04d}" if each == "%Y" else when.strftime(each) if each[0] == "%" else each]
        written = [before + choice for before in written for choice in choices]
    return set(written)


def _fractions(microsecond: int) -> list[str]:
    digits = f"{microsecond:06d}"
    return [digits[:length] for length in range(1, 7) if not digits[length:].strip("0")]


def _offsets(when: datetime) -> list[str]:
    offset = when.strftime("%z")
    return [offset, f"{offset[:3]}:{offset[3:]}", *(["Z"] if offset == "+0000" else [])]


def _instant_ms(wall: datetime, zone_name: str) -> int:
    """Return the instant of a wall clock's time. Raises Wrong where the clocks' change gives it two, or none."""
    zone = zone_of(zone_name)
    assert zone is not None, "the map was checked"
    try:
        first = wall.replace(tzinfo=zone, fold=0).utcoffset()
        second = wall.replace(tzinfo=zone, fold=1).utcoffset()
    except OverflowError as error:
        raise Wrong("is a time out of range") from error
    if first is None or first != second:
        raise Wrong("is a wall clock's time that the change of clocks repeats or leaves out: give it with its offset")
    return _ms_since_epoch(wall) - first // timedelta(milliseconds=1)


def _ms_since_epoch(wall: datetime) -> int:
    return (wall - _EPOCH) // timedelta(milliseconds=1)


def _midnight(stamp: Stamp) -> int:
    days, rest = divmod(stamp.number * _NANOSECONDS[stamp.unit], DAY_MS * _MS)
    if stamp.is_zoned:
        raise Wrong("is an instant, whose date depends on a zone: write a date")
    if rest:
        raise Wrong("is a date with a time of day")
    return days


def _text_day(text: str, rule: TimeRule) -> int:
    if rule.format is not None:
        return _formed(text, rule.format).toordinal() - _EPOCH_DAY
    found = _DATE.fullmatch(text)
    if found is None:
        raise Wrong(_NO_DATE)
    try:
        return date(*(int(part) for part in found.groups())).toordinal() - _EPOCH_DAY
    except ValueError as error:
        raise Wrong("is a day that doesn't exist") from error
