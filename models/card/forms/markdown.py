"""A card as Markdown (CommonMark with tables): plain text escaped, so that no fact acts as markup or as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from models.card.content.blocks import (
    Block,
    Code,
    Figure,
    Inline,
    Link,
    Listing,
    Paragraph,
    Section,
    Subheading,
    Table,
    Tiles,
)
from pipeline.domain.free_text import shown

_MARKS: Final = re.compile(r"([\\`*_\[\]<>|~&#$!{}])")
_BEGINS_A_BLOCK: Final = re.compile(r"^(\s*)([-+=:]|\d+[.)])")


def markdown(title: str, sections: Sequence[Section]) -> str:
    lines = [f"# {_escaped(title)}", ""]
    titles = {section.anchor: section.title for section in sections}
    for section in sections:
        lines += [f"## {_escaped(section.title)}", ""]
        for block in section.blocks:
            lines += _block(block, titles)
    return "\n".join(lines).rstrip() + "\n"


def _block(block: Block, titles: dict[str, str]) -> Iterator[str]:
    match block:
        case Paragraph(text):
            yield _line(text, titles)
        case Listing(entries):
            yield from (f"- {_line(entry, titles)}" for entry in entries)
        case Subheading(text):
            yield f"### {_escaped(text)}"
        case Table(head=head, rows=rows, numbers=numbers):
            yield f"| {' | '.join(_escaped(name) for name in head)} |"
            yield f"|{'|'.join('---:' if place in numbers else '---' for place in range(len(head)))}|"
            yield from (f"| {' | '.join(_line(cell, titles) for cell in row)} |" for row in rows)
        case Tiles(values):
            yield from (f"- {_escaped(name)}: {_escaped(value)}" for name, value in values)
        case Figure():
            return  # the HTML form draws it; a table says the same
    yield ""


def _line(text: Sequence[Inline], titles: dict[str, str]) -> str:
    line = "".join(_inline(each, titles) for each in text)
    return _BEGINS_A_BLOCK.sub(r"\1\\\2", line) if line[:1] in "-+=:" else re.sub(r"^(\d+)([.)])", r"\1\\\2", line)


def _inline(part: Inline, titles: dict[str, str]) -> str:
    match part:
        case Code(text):
            plain = shown(text)
            return _escaped(text) if re.search(r"[`|]", plain) or not plain.strip() else f"`{plain}`"
        case Link(anchor, text):
            return f"[{_escaped(text)}](#{slug(titles[anchor])})"
        case _:
            return _escaped(part)


def slug(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def _escaped(text: str) -> str:
    return _MARKS.sub(r"\\\1", shown(text))
