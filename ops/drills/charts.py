"""The charts of a drill's report, as SVG that stands in the page and prints: nothing is loaded, nothing moves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pipeline.web.html import escape

WIDTH: Final = 960
HEIGHT: Final = 276
LEFT: Final = 46
RIGHT: Final = 12
TOP: Final = 78
BOTTOM: Final = 52
"""Below the layers stand the seconds, and below these the legend: over the layers it would hide what they tell."""
TICKS_MAX: Final = 10
TICK_STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 14_400)
"""People count seconds by these steps. In a drill that lasts longer than the last one allows, ticks stand closer."""
COLOURS: Final[Mapping[str, str]] = {
    "allow": "#17764a",
    "block": "#b3261e",
    "escalate": "#c98a1b",
    "by_model": "#2f5fa8",
    "by_fallback": "#8a93a3",
}
WORDS: Final[Mapping[str, str]] = {
    "allow": "allowed",
    "block": "blocked",
    "escalate": "escalated",
    "by_model": "decided by the model",
    "by_fallback": "by fallback rules",
}
LABEL_STEP: Final = 11
LABEL_ROWS: Final = 6
"""As many as there are moments that a chart shows, so that none is written over another."""

LEGEND_WIDTH: Final = 170
"""Room for the longest of WORDS."""


class Mark(NamedTuple):
    """A line across a chart, at a second after the fault."""

    second: float
    what: str


def stacked(samples: Sequence[Mapping[str, Any]], names: Sequence[str], marks: Sequence[Mark], title: str) -> str:
    """Draw decisions a second, one layer for each name, with the marks across. Empty where there are no samples."""
    if not samples:
        return ""
    first, last = int(samples[0]["second"]), int(samples[-1]["second"])
    most = max(max(sum(int(sample[name]) for name in names) for sample in samples), 1)
    span = max(last - first, 1)

    def x(second: float) -> float:
        return round(LEFT + (second - first) / span * (WIDTH - LEFT - RIGHT), 1)

    def y(count: float) -> float:
        return round(HEIGHT - BOTTOM - count / most * (HEIGHT - TOP - BOTTOM), 1)

    parts = [f'<svg class=chart role=img viewBox="0 0 {WIDTH} {HEIGHT}" aria-label="{escape(title)}">']
    below = [0] * len(samples)
    for name in names:
        above = [base + sample[name] for base, sample in zip(below, samples, strict=True)]
        upper = [f"{x(sample['second'])},{y(top)}" for sample, top in zip(samples, above, strict=True)]
        lower = [f"{x(sample['second'])},{y(base)}" for sample, base in zip(samples, below, strict=True)]
        parts.append(f'<polygon points="{" ".join([*upper, *reversed(lower)])}" fill="{COLOURS[name]}"/>')
        below = above
    parts += [*_axes(x, y, first, last, most), *_marks(x, marks, first, last), *_legend(names), "</svg>"]
    return "".join(parts)


def _axes(x: Any, y: Any, first: int, last: int, most: int) -> Iterator[str]:
    base = y(0)
    yield f'<line x1="{LEFT}" y1="{base}" x2="{WIDTH - RIGHT}" y2="{base}" class=axis />'
    yield f'<text x="{LEFT - 6}" y="{y(most) + 4}" class=end>{most:,}</text>'
    yield f'<text x="{LEFT - 6}" y="{base}" class=end>0</text>'
    step = next((each for each in TICK_STEPS_S if (last - first) / each <= TICKS_MAX), TICK_STEPS_S[-1])
    for second in range(first + -first % step, last + 1, step):
        yield f'<text x="{x(second)}" y="{HEIGHT - BOTTOM + 18}" class=middle>{second:,} s</text>'


def _marks(x: Any, marks: Sequence[Mark], first: int, last: int) -> Iterator[str]:
    for number, mark in enumerate(mark for mark in marks if first <= mark.second <= last):
        at = x(mark.second)
        height = 12 + number % LABEL_ROWS * LABEL_STEP
        anchor = "end" if at > WIDTH * 0.8 else "start"
        yield f'<line x1="{at}" y1="{height}" x2="{at}" y2="{HEIGHT - BOTTOM}" class=mark />'
        shift = -3 if anchor == "end" else 3
        yield f'<text x="{at + shift}" y="{height}" class={anchor}>{escape(mark.what)}, {mark.second:.1f} s</text>'


def _legend(names: Sequence[str]) -> Iterator[str]:
    """One row, in the order of the layers from the lowest on."""
    for number, name in enumerate(names):
        left = LEFT + number * LEGEND_WIDTH
        yield f'<rect x="{left}" y="{HEIGHT - 15}" width="10" height="10" fill="{COLOURS[name]}"/>'
        yield f'<text x="{left + 15}" y="{HEIGHT - 6}">{WORDS[name]}</text>'


def against_objectives(findings: Sequence[Mapping[str, Any]]) -> str:
    """Draw each time beside its objective: the figure as a bar on the length of what it may be at most."""
    timed = [each for each in findings if each["measure"].endswith("_s")]
    if not timed:
        return ""
    height = 26 * len(timed) + 6
    parts = [f'<svg class=chart role=img viewBox="0 0 {WIDTH} {height}" aria-label="Times against their objectives">']
    for number, each in enumerate(timed):
        parts += _bar(each, 26 * number + 4)
    return "".join([*parts, "</svg>"])


def _bar(finding: Mapping[str, Any], top: int) -> Iterator[str]:
    figure, limit = finding["figure"], finding["objective"]
    room, start = WIDTH - 380, 110
    scale = max(figure or 0, limit or 0, 1)
    colour = COLOURS["allow"] if finding["is_met"] else COLOURS["block"]
    yield f'<text x="{start - 8}" y="{top + 13}" class=end>{escape(MEASURE_WORDS[finding["measure"]])}</text>'
    if limit is not None:
        yield f'<rect x="{start}" y="{top}" width="{limit / scale * room:.1f}" height="18" class=room />'
    if figure is not None:
        width = max(figure / scale * room, 1.5)
        yield f'<rect x="{start}" y="{top + 3}" width="{width:.1f}" height="12" fill="{colour}"/>'
    measured = "not seen" if figure is None else f"{figure:,.1f} s"
    said = f"{measured} of {'no objective' if limit is None else f'{limit:,} s'}"
    yield f'<text x="{start + room + 10}" y="{top + 13}">{escape(said)}</text>'


MEASURE_WORDS: Final[Mapping[str, str]] = {
    "detect_s": "to be seen",
    "trip_s": "to trip",
    "page_s": "to page",
    "recover_s": "to recover",
    "leaked": "decisions leaked",
    "leaked_minor": "amounts leaked",
}
