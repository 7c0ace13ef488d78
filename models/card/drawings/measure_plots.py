"""The drawings of what was measured: calibration, the trade-off of thresholds, and intervals by segment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log10, sqrt
from typing import Final, NamedTuple

from models.card.drawings.drawing import BLUE, GREEN, INK, RED, RULE, SOFT, Drawing, move, shortened, to
from models.card.facts import ReliabilityBin, Threshold
from models.card.words import pounds, share_word

WIDTH: Final = 720
LEAST_PPM: Final = 100
"""The lower end of logarithmic axes, a hundredth of a percent; less, and nothing, stands on the axis."""
ROW: Final = 17
_DECADES: Final = (100, 1_000, 10_000, 100_000, 1_000_000)


class Dot(NamedTuple):
    """A share and its interval, in a row of its own; the figures are None where there is nothing to show."""

    label: str
    ppm: int | None
    low_ppm: int | None
    high_ppm: int | None
    is_marked: bool = False


def reliability(bins: Sequence[ReliabilityBin]) -> str:
    """Draw what was said against what was so, both on logarithmic axes, with the interval of what was so."""
    drawing = Drawing(WIDTH, 380, "Probability that was said against the share of fraud that was found")
    left, right, top, bottom = 64, WIDTH - 20, 14, 330

    def x(ppm: int) -> float:
        return left + _decades(ppm) * (right - left)

    def y(ppm: int) -> float:
        return bottom - _decades(ppm) * (bottom - top)

    for decade in _DECADES:
        drawing.line(x(decade), top, x(decade), bottom, RULE, 0.7)
        drawing.line(left, y(decade), right, y(decade), RULE, 0.7)
        drawing.words(x(decade), bottom + 15, share_word(decade), "middle", size=11)
        drawing.words(left - 6, y(decade) + 4, share_word(decade), "end", size=11)
    drawing.path([move(x(LEAST_PPM), y(LEAST_PPM)), to(x(1_000_000), y(1_000_000))], SOFT, 0.9)
    for each in bins:
        observed = each.observed
        if each.mean_ppm is None or observed.ppm is None or observed.low_ppm is None or observed.high_ppm is None:
            continue
        drawing.line(x(each.mean_ppm), y(observed.low_ppm), x(each.mean_ppm), y(observed.high_ppm), BLUE, 1.6)
        drawing.dot(x(each.mean_ppm), y(observed.ppm))
    drawing.words((left + right) / 2, bottom + 34, "mean probability that the model said", "middle", size=11)
    drawing.words(14, (top + bottom) / 2, "share that was fraud, 95 % interval", "middle", size=11, turned=True)
    drawing.words(left, bottom + 48, "On the line both are equal. What lies below 0.01 % stands on the axis.", size=10)
    return drawing.svg()


def trade_off(thresholds: Sequence[Threshold], fraud_minor: int, chosen_ppm: int) -> str:
    """Draw the fraud value caught against the honest value stopped, a dot for each threshold."""
    drawing = Drawing(WIDTH, 360, "Fraud value caught against honest value stopped")
    left, right, top, bottom = 64, WIDTH - 40, 14, 306
    greatest = max((each.stopped_minor for each in thresholds), default=0) or 1
    wide = (right - left) / sqrt(greatest)

    def x(minor: int) -> float:
        return left + sqrt(minor) * wide  # a root's scale: near nothing, where a policy lies, it is finest

    def y(minor: int) -> float:
        return bottom - (minor / fraud_minor if fraud_minor else 0.0) * (bottom - top)

    for tenth in range(0, 11, 2):
        height = bottom - tenth / 10 * (bottom - top)
        drawing.line(left, height, right, height, RULE, 0.7)
        drawing.words(left - 6, height + 4, f"{tenth * 10} %", "end", size=11)
    for minor in _ticks(greatest):
        drawing.words(x(minor), bottom + 15, pounds(minor).removesuffix(".00"), "middle", size=11)
        drawing.line(x(minor), bottom, x(minor), bottom + 4, SOFT, 0.8)
    ordered = sorted(thresholds, key=lambda each: each.at_ppm)
    points = [(x(each.stopped_minor), y(each.caught_minor)) for each in ordered]
    if points:
        drawing.path([move(*points[0]), *(to(*point) for point in points[1:])], "#b9c6da", 1.4)
    _threshold_dots(drawing, ordered, points, chosen_ppm)
    drawing.words(
        (left + right) / 2, bottom + 34, "value of honest payments stopped (square-root scale)", "middle", size=11
    )
    drawing.words(14, (top + bottom) / 2, "share of the value of fraud caught", "middle", size=11, turned=True)
    return drawing.svg()


def intervals(title: str, dots: Sequence[Dot], line_ppm: int | None, line_words: str, is_ratio: bool = False) -> str:
    """Draw shares with their intervals, a row each, against a line across all of them."""
    height = ROW * len(dots) + 44
    drawing = Drawing(WIDTH, height, title)
    left, right, base = 190, WIDTH - 30, height - 30
    greatest = max((dot.high_ppm or 0 for dot in dots), default=0) or 1
    scale, marks = _ratio_scale() if is_ratio else _linear_scale(greatest)
    for mark in marks:
        x = left + scale(mark) * (right - left)
        drawing.line(x, 8, x, base, RULE, 0.7)
        drawing.words(x, base + 14, f"{mark / 1e6:g}" if is_ratio else share_word(mark), "middle")
    if line_ppm is not None:
        x = left + scale(line_ppm) * (right - left)
        drawing.line(x, 8, x, base, RED if is_ratio else INK, 1.0, "4 3")
        drawing.words(x, base + 26, line_words, "middle", RED if is_ratio else INK)
    for number, dot in enumerate(dots):
        y = 16 + number * ROW
        drawing.words(left - 8, y + 4, shortened(dot.label, 32), "end", INK, 10.5)
        if dot.ppm is None or dot.low_ppm is None or dot.high_ppm is None:
            drawing.words(left + 4, y + 4, "not enough data")
            continue
        colour = RED if dot.is_marked else BLUE
        drawing.line(left + scale(dot.low_ppm) * (right - left), y, left + scale(dot.high_ppm) * (right - left), y,
                     colour, 1.6)  # fmt: skip
        drawing.dot(left + scale(dot.ppm) * (right - left), y, colour)
    return drawing.svg()


def _ticks(greatest: int) -> list[int]:
    """Return round amounts up to the greatest, each about four times the one before: evenly apart on a root's scale."""
    power = 10 ** max(len(str(greatest)) - 2, 0)
    top = greatest // power * power or greatest
    fractions = (top * part // 16 for part in (1, 4, 9, 16))
    rounded = (each // (10 ** max(len(str(each)) - 2, 0)) * 10 ** max(len(str(each)) - 2, 0) for each in fractions)
    return [0, *dict.fromkeys(each for each in rounded if each)]


def _threshold_dots(drawing: Drawing, ordered: Sequence[Threshold], points: Sequence[tuple[float, float]],
                    chosen_ppm: int) -> None:  # fmt: skip
    """The chosen threshold is named always, another where its name has room."""
    taken = [point for each, point in zip(ordered, points, strict=True) if each.at_ppm == chosen_ppm]
    laid = sorted(zip(ordered, points, strict=True), key=lambda each: each[0].at_ppm == chosen_ppm)
    for each, (x, y) in laid:
        is_chosen = each.at_ppm == chosen_ppm
        drawing.dot(x, y, GREEN if is_chosen else BLUE, 5 if is_chosen else 3.5)
        has_room = all(abs(x - other) > 38 or abs(y - height) > 13 for other, height in taken)
        if is_chosen:
            drawing.words(x + 8, y + 16, f"{share_word(each.at_ppm)}, in force", colour=GREEN, size=11)
            taken.append((x + 30, y + 16))
        elif has_room:
            drawing.words(x + 6, y + 12, share_word(each.at_ppm), size=10)
            taken.append((x, y))


def _decades(ppm: int) -> float:
    """Return the place of a share on a logarithmic axis, 0 to 1."""
    return (log10(max(ppm, LEAST_PPM)) - 2) / 4


def _linear_scale(greatest: int) -> tuple[Callable[[int], float], list[int]]:
    step = next(each for each in (100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000)
                if greatest <= each * 5 or each == 200_000)  # fmt: skip
    top = -(-greatest // step) * step
    return lambda ppm: min(ppm / top, 1.0), list(range(0, top + 1, step))


def _ratio_scale() -> tuple[Callable[[int], float], list[int]]:
    """A logarithmic scale from an eighth to eight."""

    def scale(ppm: int) -> float:
        return min(max(log10(max(ppm, 1) / 125_000) / log10(64), 0.0), 1.0)

    return scale, [125_000, 250_000, 500_000, 1_000_000, 2_000_000, 4_000_000, 8_000_000]
