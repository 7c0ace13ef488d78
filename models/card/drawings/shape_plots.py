"""The drawings of a model's tables: steps for one feature, a map of colours for two.

Bins stand side by side at equal widths, whatever values they span: the values of most features have long tails, and on
their own scale nearly all payments would share one pixel. The bin of values that aren't known stands apart, at the left
or at the bottom.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import log1p
from typing import Final

from models.card.drawings.drawing import BLUE, RULE, SOFT, Drawing, across, move, shortened, upright
from models.card.facts import Shape
from models.card.words import feature_value

WIDTH: Final = 330
HEIGHT: Final = 200
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 22, 46
STRIP: Final = 20
"""Height of the bars that say where the measured payments lie."""
APART: Final = 26
BARS_MAX: Final = 40
CELLS_MAX: Final = 28
"""Rows and columns of a map: of more bins, evenly spaced ones are shown."""
LEVELS: Final = 8
COLOURS_UP: Final = ("#fdf1ee", "#fadfd8", "#f4c3b6", "#eca08e", "#e07a65", "#cf5340", "#b93126", "#931b14")
COLOURS_DOWN: Final = ("#eef3fa", "#dae5f3", "#bcd0ea", "#96b5dc", "#6c94cb", "#4673b6", "#2b569b", "#163a77")
NOTHING: Final = "#f7f7f8"
_MICRO: Final = 1_000_000


def steps(shape: Shape) -> str:
    """Draw the table of one feature, and below it where the measured payments lie."""
    name, edges = shape.features[0], shape.edges[0]
    drawing = Drawing(WIDTH, HEIGHT, f"What {name} adds to the score")
    values = [micro / _MICRO for micro in shape.contribution_micro]
    low, high = min(0.0, *values), max(0.0, *values)
    low, high = (low - 0.5, high + 0.5) if high - low < 1e-3 else (low, high)
    floor = HEIGHT - BOTTOM - STRIP
    has_unknown = bool(edges) and edges[0] == 0
    begin = LEFT + APART if has_unknown else LEFT
    known = len(values) - has_unknown
    wide = (WIDTH - RIGHT - begin) / max(known, 1)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (floor - TOP)

    drawing.words(4, 13, shortened(name, 44), colour="#1a2230", size=11)
    _frame(drawing, y, low, high)
    if has_unknown:
        drawing.path([move(LEFT + 3, y(values[0])), across(LEFT + APART - 7)], SOFT, 2.4)
        drawing.words(LEFT + (APART - 4) / 2, HEIGHT - BOTTOM + 13, "?", "middle")
    parts: list[str] = []
    for number, value in enumerate(values[has_unknown:]):
        parts.append(upright(y(value)) if parts else move(begin, y(value)))
        parts.append(across(begin + (number + 1) * wide))
    drawing.path(list(_merged(parts)), BLUE)
    _strip(drawing, shape, begin, wide, has_unknown)
    _labels(drawing, name, _starts(edges, has_unknown), begin, wide)
    return drawing.svg()


def flat(name: str) -> str:
    """Draw the shape of a feature that has no table of its own: it adds nothing by itself."""
    return steps(Shape((name,), ((),), (0,), 0, ()))


def heat_map(shape: Shape) -> str:
    """Draw the table of two features: the first one upwards, the second across."""
    first, second = shape.features
    rows, columns = len(shape.edges[0]) + 1, len(shape.edges[1]) + 1
    drawing = Drawing(WIDTH, 290, f"What {first} and {second} add together")
    most = max((abs(micro) for micro in shape.contribution_micro), default=0) / _MICRO or 1.0
    shown_rows, shown_columns = _chosen(rows), _chosen(columns)
    left, top, bottom = 62, 34, 244
    tall, wide = (bottom - top) / len(shown_rows), (WIDTH - RIGHT - left) / len(shown_columns)
    drawing.words(4, 12, f"↑ {shortened(first, 44)}", colour="#1a2230", size=11)
    drawing.words(4, 26, f"→ {shortened(second, 44)}", colour="#1a2230", size=11)
    for place, row in enumerate(shown_rows):
        cells = [_colour(shape.contribution_micro[row * columns + column] / _MICRO / most) for column in shown_columns]
        at = 0
        for colour, same in groupby(cells):
            count = len(list(same))
            # A hair wider and taller than it is, so that no seam shows between cells.
            drawing.bar(left + at * wide, bottom - (place + 1) * tall, count * wide + 0.3, tall + 0.3, colour)
            at += count
    _map_labels(drawing, shape, (shown_rows, shown_columns), (left, bottom, tall, wide))
    _key(drawing, most, left)
    return drawing.svg()


def _frame(drawing: Drawing, y: object, low: float, high: float) -> None:
    assert callable(y)
    drawing.line(LEFT, y(0.0), WIDTH - RIGHT, y(0.0), SOFT, 0.7, "3 3")
    for value in dict.fromkeys((low, 0.0, high)):
        if value and abs(y(value) - y(0.0)) < 10:
            continue
        drawing.line(LEFT - 3, y(value), LEFT, y(value), SOFT, 0.8)
        drawing.words(LEFT - 5, y(value) + 3.5, f"{value:+.2f}" if value else "0", "end")
    drawing.line(LEFT, y(high), LEFT, y(low), SOFT, 0.8)


def _strip(drawing: Drawing, shape: Shape, begin: float, wide: float, has_unknown: bool) -> None:
    """Bars on a logarithmic scale: one payment still shows."""
    base = HEIGHT - BOTTOM
    drawing.line(LEFT, base, WIDTH - RIGHT, base, RULE)
    if not shape.payments:
        return
    greatest = log1p(max(shape.payments))
    known = shape.payments[1:] if has_unknown else shape.payments
    if has_unknown and shape.payments[0]:
        tall = STRIP * log1p(shape.payments[0]) / greatest
        drawing.bar(LEFT + 3, base - tall, APART - 10, tall, "#c3ccd9")
    group = -(-len(known) // BARS_MAX) or 1
    counts = [sum(known[at : at + group]) / len(known[at : at + group]) for at in range(0, len(known), group)]
    for number, count in enumerate(counts):
        tall = STRIP * log1p(count) / greatest if greatest else 0.0
        across_ = min(group, len(known) - number * group) * wide
        if tall:
            drawing.bar(begin + number * group * wide, base - tall, max(across_ - 0.6, 0.4), tall, "#c3ccd9")


def _labels(drawing: Drawing, name: str, starts: Sequence[int | None], begin: float, wide: float) -> None:
    base = HEIGHT - BOTTOM
    if len(starts) <= 4:
        places = [(number, begin + (number + 0.5) * wide) for number in range(len(starts))]
    else:
        chosen = [round(part * (len(starts) - 1) / 3) for part in range(4)]
        places = [(number, begin + number * wide) for number in chosen]
        places[-1] = (chosen[-1], WIDTH - RIGHT)
    for position, (number, x) in enumerate(places):
        is_last = position == len(places) - 1 and len(starts) > 4
        drawing.line(x, base, x, base + 3, SOFT, 0.8)
        anchor = "end" if is_last else "start" if position == 0 and len(starts) > 4 else "middle"
        drawing.words(x, base + 13, _from(name, starts[number], is_last), anchor)
    drawing.words(LEFT, HEIGHT - 17, "log-odds added; bins at equal widths, ? is not known", size=9)
    drawing.words(LEFT, HEIGHT - 5, "bars: measured payments by bin, logarithmic", size=9)


def _from(name: str, start: int | None, is_last: bool) -> str:
    if start is None:
        return "all"
    return f"≥ {feature_value(name, start)}" if is_last else feature_value(name, start)


def _map_labels(drawing: Drawing, shape: Shape, chosen: tuple[list[int], list[int]],
                place: tuple[float, float, float, float]) -> None:  # fmt: skip
    left, bottom, tall, wide = place
    for axis in (0, 1):
        name, edges, bins = shape.features[axis], shape.edges[axis], chosen[axis]
        for position in dict.fromkeys(round(part * (len(bins) - 1) / 3) for part in range(4)):
            bin_ = bins[position]
            words = "?" if bin_ == 0 and edges and edges[0] == 0 else _bin_start(name, edges, bin_)
            if axis == 0:
                drawing.words(left - 5, bottom - (position + 0.5) * tall + 3.5, words, "end")
            else:
                is_last = position == len(bins) - 1 and len(bins) > 4
                x = WIDTH - RIGHT if is_last else left + (position + 0.5) * wide
                drawing.words(x, bottom + 14, words, "end" if is_last else "middle")


def _bin_start(name: str, edges: Sequence[int], bin_: int) -> str:
    return feature_value(name, edges[bin_ - 1]) if bin_ else f"< {feature_value(name, edges[0])}" if edges else "all"


def _key(drawing: Drawing, most: float, left: float) -> None:
    colours = [*reversed(COLOURS_DOWN), NOTHING, *COLOURS_UP]
    wide = 8.0
    drawing.words(left, 281, f"−{most:.2f}", "start")
    for number, colour in enumerate(colours):
        drawing.bar(left + 36 + number * wide, 272, wide + 0.3, 10, colour)
    drawing.words(left + 40 + len(colours) * wide, 281, f"+{most:.2f} log-odds")


def _colour(share: float) -> str:
    level = min(int(abs(share) * (LEVELS + 0.5) + 0.5), LEVELS)
    if not level:
        return NOTHING
    return (COLOURS_UP if share > 0 else COLOURS_DOWN)[level - 1]


def _chosen(bins: int) -> list[int]:
    if bins <= CELLS_MAX:
        return list(range(bins))
    return [0, *dict.fromkeys(1 + number * (bins - 2) // (CELLS_MAX - 2) for number in range(CELLS_MAX - 1))]


def _starts(edges: Sequence[int], has_unknown: bool) -> list[int | None]:
    """Return the least value of each known bin; None where it has none."""
    return list(edges) if has_unknown else [None, *edges]


def _merged(parts: Sequence[str]) -> Iterator[str]:
    """Leave out what draws nothing: of steps that go on at one height, the last."""
    kept: list[str] = []
    height = ""
    for part in parts:
        if part.startswith("V") and part == height:
            continue
        if part.startswith("H") and kept and kept[-1].startswith("H"):
            kept[-1] = part
            continue
        height = part if part.startswith("V") else height
        kept.append(part)
    yield from kept
