"""The content of a card as blocks that know nothing of Markdown or HTML. Both are written from the same ones.

All text is plain: whoever writes a form escapes it. `Code` is text that stands in type of equal widths.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Code(NamedTuple):
    text: str


class Link(NamedTuple):
    """A word that leads to a section of the same card."""

    anchor: str
    text: str


Inline = str | Code | Link
Text = Sequence[Inline]


class Paragraph(NamedTuple):
    text: Text


class Listing(NamedTuple):
    entries: Sequence[Text]


class Subheading(NamedTuple):
    text: str


class Table(NamedTuple):
    head: Sequence[str]
    rows: Sequence[Sequence[Text]]
    numbers: Sequence[int] = ()  # columns that are aligned to the right
    is_small: bool = False  # may stand beside others like it


class Figure(NamedTuple):
    """A drawing. Markdown has none, so whatever it shows also stands in a table."""

    name: str
    title: str
    svg: str
    is_small: bool = False


class Tiles(NamedTuple):
    """The figures that a reader looks for first: (what it is, the value)."""

    values: Sequence[tuple[str, str]]


Block = Paragraph | Listing | Subheading | Table | Figure | Tiles


class Section(NamedTuple):
    anchor: str
    title: str
    blocks: Sequence[Block]
