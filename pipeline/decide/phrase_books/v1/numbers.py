"""Numbers of phrase book 1: a value in words, and a value beside its limit in one unit that gives both exactly.

Nothing outside this folder takes part, so that no change elsewhere can reword what was released.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

POINTS: Final = "percentage points"

_MINOR_DIGITS: Final = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV"), 0),
    **dict.fromkeys(("XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}


class Unit(NamedTuple):
    """The words of one kind of number."""

    one: Callable[[int], str]
    """A value by itself, as it is easily read; what is rounded is rounded down."""
    exact: Callable[[int, int], Callable[[int], str]]
    """The words for a value and its limit: given both, what puts each of them, and their difference, in one unit."""
    difference: Callable[[int, int], Callable[[int], str]]
    """As `exact`, for their difference."""
    rounded: Callable[[int], int] | None = None
    """The least known value of which `one` says the same; None where each has words of its own."""


def _plain(words: Callable[[int], str]) -> Unit:
    """A unit in which every number is told exactly."""
    return Unit(words, lambda _value, _limit: words, lambda _value, _limit: words)


def counted(noun: str) -> Callable[[int], str]:
    return lambda number: f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def pounds(minor: int) -> str:
    return f"£{minor // 100:,}.{minor % 100:02d}"


def money(minor: int, currency: str) -> str:
    if currency == "GBP":
        return pounds(minor)
    digits = _MINOR_DIGITS.get(currency, 2)
    whole, part = divmod(minor, 10**digits)
    return f"{currency} {whole:,}" + (f".{part:0{digits}d}" if digits else "")


def bp_percent(basis_points: int) -> str:
    return f"{basis_points // 100}.{basis_points % 100:02d} %"


def _bp_points(basis_points: int) -> str:
    return f"{basis_points // 100}.{basis_points % 100:02d} {POINTS}"


def percent(number: int) -> str:
    return f"{number:,} %"


def _percent_points(number: int) -> str:
    return f"1 {POINTS[:-1]}" if number == 1 else f"{number:,} {POINTS}"


def _ppm_percent(ppm: int) -> str:
    return "less than 0.01 %" if 0 < ppm < 100 else bp_percent(ppm // 100)


def _ppm_number(value: int, limit: int) -> Callable[[int], str]:
    if value % 100 == 0 and limit % 100 == 0:
        return lambda ppm: f"{ppm // 10_000}.{ppm % 10_000 // 100:02d}"
    return lambda ppm: f"{ppm // 10_000}.{ppm % 10_000:04d}"


def _ppm_exact(value: int, limit: int) -> Callable[[int], str]:
    number = _ppm_number(value, limit)
    return lambda ppm: f"{number(ppm)} %"


def _ppm_difference(value: int, limit: int) -> Callable[[int], str]:
    number = _ppm_number(value, limit)
    return lambda ppm: f"{number(ppm)} {POINTS}"


def _ppm_rounded(ppm: int) -> int:
    return 1 if 0 < ppm < 100 else ppm // 100 * 100


_HOURS_A_DAY: Final = 24


def _hours(hours: int) -> str:
    if not hours:
        return "less than 1 hour"
    return counted("hour")(hours) if hours < 2 * _HOURS_A_DAY else counted("day")(hours // _HOURS_A_DAY)


def _rounded_hours(hours: int) -> int:
    return hours if hours < 2 * _HOURS_A_DAY else hours // _HOURS_A_DAY * _HOURS_A_DAY


def _hours_exact(value: int, limit: int) -> Callable[[int], str]:
    if value % _HOURS_A_DAY == 0 and limit % _HOURS_A_DAY == 0 and min(value, limit) >= 2 * _HOURS_A_DAY:
        return lambda hours: counted("day")(hours // _HOURS_A_DAY)
    return counted("hour")


_SPANS: Final = ((86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second"))


def _span(ms: int) -> str:
    for length, noun in _SPANS:
        if ms >= 2 * length:
            return f"{ms // length:,} {noun}s"
    return "1 second" if ms >= 1_000 else "less than 1 second"


def _rounded_span(ms: int) -> int:
    for length, _ in _SPANS:
        if ms >= 2 * length:
            return ms // length * length
    return 1_000 if ms >= 1_000 else min(ms, 1)


def _span_exact(value: int, limit: int) -> Callable[[int], str]:
    for length, noun in _SPANS:
        if value % length == 0 and limit % length == 0:
            return lambda ms: counted(noun)(ms // length)
    return lambda ms: f"{ms // 1000:,}.{ms % 1000:03d} seconds"


def clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _minutes(minutes: int) -> str:
    hours, rest = divmod(minutes, 60)
    parts = [counted("hour")(hours)] if hours else []
    return " ".join([*parts, counted("minute")(rest)] if rest or not hours else parts)


POUNDS: Final = _plain(pounds)
PERCENT: Final = Unit(
    lambda number: percent(number) if number else "less than 1 %",
    lambda _value, _limit: percent,
    lambda _value, _limit: _percent_points,
)
BASIS_POINTS: Final = Unit(bp_percent, lambda _value, _limit: bp_percent, lambda _value, _limit: _bp_points)
PPM: Final = Unit(_ppm_percent, _ppm_exact, _ppm_difference, _ppm_rounded)
HOURS: Final = Unit(_hours, _hours_exact, _hours_exact, _rounded_hours)
SPAN: Final = Unit(_span, _span_exact, _span_exact, _rounded_span)
CLOCK: Final = Unit(clock, lambda _value, _limit: clock, lambda _value, _limit: _minutes)


DAYS: Final = Unit(
    lambda days: counted("day")(days) if days else "less than 1 day",
    lambda _value, _limit: counted("day"),
    lambda _value, _limit: counted("day"),
)
TIMES: Final = (SPAN, HOURS, DAYS)
"""Of these 0 is no number: what is less than one of them has passed, or for SPAN a time that isn't known."""


def count_of(noun: str) -> Unit:
    """A count; "no payments" and "999 payments" by themselves."""
    words = counted(noun)
    return Unit(lambda number: words(number) if number else f"no {noun}s", *_exactly(words))


def _exactly(
    words: Callable[[int], str],
) -> tuple[Callable[[int, int], Callable[[int], str]], Callable[[int, int], Callable[[int], str]]]:
    return lambda _value, _limit: words, lambda _value, _limit: words
