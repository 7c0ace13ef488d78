"""A small writer of SVG: lines, bars and words on a plane. Every drawing stands alone, loads nothing, and prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pipeline.web.html import escape

INK: Final = "#1a2230"
SOFT: Final = "#5c6778"
RULE: Final = "#d8dee8"
TINT: Final = "#eef1f6"
BLUE: Final = "#2f5fa8"
RED: Final = "#b3261e"
GREEN: Final = "#17764a"
FONT: Final = "system-ui, sans-serif"


class Drawing:
    """Parts of a picture, in the order in which they are laid over each other."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.width, self.height = width, height
        self._title = title
        self._parts: list[str] = []

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str = INK, width: float = 1.0,
             dashes: str = "") -> None:  # fmt: skip
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        self._parts.append(
            f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" stroke="{colour}" '
            f'stroke-width="{_n(width)}"{dashed}/>'
        )

    def path(self, steps: Sequence[str], colour: str, width: float = 1.6) -> None:
        self._parts.append(f'<path d="{"".join(steps)}" fill="none" stroke="{colour}" stroke-width="{_n(width)}"/>')

    def bar(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        self._parts.append(f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" fill="{colour}"/>')

    def dot(self, x: float, y: float, colour: str = BLUE, radius: float = 3.5) -> None:
        self._parts.append(f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" fill="{colour}"/>')

    def words(self, x: float, y: float, text: str, anchor: str = "start", colour: str = SOFT, size: float = 10,
              turned: bool = False) -> None:  # fmt: skip
        turn = f' transform="rotate(-90 {_n(x)} {_n(y)})"' if turned else ""
        self._parts.append(
            f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" fill="{colour}" font-size="{_n(size)}"{turn}>'
            f"{escape(text)}</text>"
        )

    def svg(self) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(self._title)}" font-family="{FONT}">{"".join(self._parts)}</svg>'
        )


def shortened(text: str, letters: int) -> str:
    return text if len(text) <= letters else f"{text[: letters - 1]}…"


def move(x: float, y: float) -> str:
    return f"M{_n(x)} {_n(y)}"


def across(x: float) -> str:
    return f"H{_n(x)}"


def upright(y: float) -> str:
    return f"V{_n(y)}"


def to(x: float, y: float) -> str:
    return f"L{_n(x)} {_n(y)}"


def _n(value: float) -> str:
    return (
        f"{value:.1f}".removesuffix(".0").replace("-0", "0") if abs(value) < 0.05 else f"{value:.1f}".removesuffix(".0")
    )
