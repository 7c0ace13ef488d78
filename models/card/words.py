"""Figures as a card says them. All forms of a card take their words from here, so that they say the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from models.card.facts import Estimate, Rate

UNKNOWN: Final = "not known"
NOT_ENOUGH: Final = "not enough data"
NOT_DECLARED: Final = "(not declared)"
_SPANS_MS: Final = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))
_THOUSANDS: Final = ((1_000_000_000, "bn"), (1_000_000, "m"), (1_000, "k"))


def percent(ppm: int | None) -> str:
    """Return a share with two places, or four where it is below a hundredth of a percent."""
    if ppm is None:
        return UNKNOWN
    places = 2 if ppm == 0 or ppm >= 100 else 4
    return f"{ppm / 10_000:.{places}f} %"


def between(rate: Rate) -> str:
    """Return a share with its interval and its counts."""
    if rate.ppm is None:
        return "none to count"
    return f"{percent(rate.ppm)} ({_ends(rate.low_ppm, rate.high_ppm)})"


def counted(rate: Rate) -> str:
    return f"{between(rate)}, {rate.part:,} of {rate.whole:,}" if rate.whole else between(rate)


def estimated(estimate: Estimate) -> str:
    if estimate.ppm is None:
        return NOT_ENOUGH
    return f"{percent(estimate.ppm)} ({_ends(estimate.low_ppm, estimate.high_ppm)})"


def _ends(low_ppm: int | None, high_ppm: int | None) -> str:
    return f"{percent(low_ppm).removesuffix(' %')} to {percent(high_ppm)}"


def times(ppm: int | None) -> str:
    """Return a ratio as a plain number."""
    return UNKNOWN if ppm is None else f"{ppm / 1_000_000:.2f}"


def pounds(minor: int) -> str:
    sign, whole = "-" if minor < 0 else "", abs(minor)
    return f"{sign}£{whole // 100:,}.{whole % 100:02d}"


def log_odds(micro: int | None) -> str:
    return (
        UNKNOWN if micro is None else f"{micro / 1_000_000:+.3f}".replace("+0.000", "0.000").replace("-0.000", "0.000")
    )


def size(micro: int | None) -> str:
    return UNKNOWN if micro is None else f"{micro / 1_000_000:.3f}"


def moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def share_word(ppm: int) -> str:
    """Return a threshold of probability without places that say nothing."""
    return f"{ppm / 10_000:g} %"


def slice_value(value: str | None) -> str:
    return NOT_DECLARED if value is None else value


def feature_value(name: str, value: int) -> str:
    """Return a value of a feature, in the unit that its name ends with."""
    if name.startswith("is_"):
        return {0: "no", 1: "yes"}.get(value, f"{value:,}")
    if name.endswith("minute_of_day"):
        return f"{value // 60:02d}:{value % 60:02d}"
    if "_minor" in name:
        return _money_short(value)
    if "_ms_" in name or name.endswith("_ms"):
        return _span(value)
    if name.endswith("_hours"):
        return _span(value * 3_600_000)
    if name.endswith("_days"):
        return f"{value:,} d"
    if "_ppm" in name:
        return f"{value / 10_000:.4g} %"
    return f"{value:,} %" if "_percent" in name else f"{value:,}"


def _money_short(minor: int) -> str:
    if minor < 100_000:
        return f"£{minor // 100:,}" if minor % 100 == 0 else f"£{minor / 100:,.2f}"
    for thousand, letter in _THOUSANDS:
        if minor // 100 >= thousand:
            return f"£{minor / 100 / thousand:.4g}{letter}"
    return f"£{minor // 100:,}"


def _span(milliseconds: int) -> str:
    for length, unit in _SPANS_MS:
        if milliseconds >= length:
            spans = milliseconds / length
            return f"{spans:,.0f} {unit}" if spans >= 100 else f"{spans:.3g} {unit}"
    return f"{milliseconds} ms" if milliseconds else "0 s"
