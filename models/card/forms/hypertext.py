"""A card as one HTML page: nothing is loaded, nothing runs, every text is escaped, and it prints."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
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
from pipeline.web.html import cards, document, escape, table

_INTERVAL: Final = re.compile(r"\(([\d.]+) to ([\d.]+) %\)")
_STYLE: Final = """<style>
nav.contents { columns: 3 14rem; font-size: .9rem; margin: 1rem 0 2rem }
nav.contents a { display: block }
a { color: var(--link); text-decoration: none }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem }
ul { margin: .4rem 0; padding-left: 1.2rem }
figure { margin: .8rem 0 }
figure svg { display: block; height: auto; max-width: 46rem; width: 100% }
.small { display: grid; gap: .4rem 1.2rem; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)) }
.small figure { margin: 0 }
.tables { columns: 2; column-gap: 2rem }
.tables .wide { break-inside: avoid; margin: 0 0 1.2rem }
.tables table { table-layout: fixed }
.tables td, .tables th { overflow-wrap: anywhere; padding: .2rem .4rem }
.tables th.n { white-space: normal }
.tables th:first-child { width: 46% }
.wide { margin: .6rem 0 1.2rem }
td { font-size: .88rem }
td code { font-size: .82rem }
@media print {
  @page { size: A4; margin: 1.4cm }
  nav.contents { columns: 3 }
  .small { grid-template-columns: repeat(3, 1fr) }
  figure, .small figure { break-inside: avoid }
  figure svg { max-width: 16cm }
  .small figure svg { max-width: none }
  h3 { break-after: avoid }
  td { font-size: 7.6pt; padding: .2rem .35rem }
  th { font-size: 7.4pt; padding: .2rem .35rem }
  td code { font-size: 7pt }
  figure svg * { print-color-adjust: exact; -webkit-print-color-adjust: exact }
}
</style>"""


def page(title: str, sections: Sequence[Section]) -> str:
    body = [_STYLE, f"<h1>{escape(title)}</h1>", _contents(sections)]
    for section in sections:
        body.append(f'<section id="{escape(section.anchor)}"><h2>{escape(section.title)}</h2>')
        body += _blocks(section.blocks)
        body.append("</section>")
    return document(title, body)


def _contents(sections: Sequence[Section]) -> str:
    links = (f'<a href="#{escape(each.anchor)}">{escape(each.title)}</a>' for each in sections)
    return f'<nav class="contents">{"".join(links)}</nav>'


def _blocks(blocks: Sequence[Block]) -> Iterator[str]:
    """Small drawings and tables that follow each other stand side by side."""
    for small, run in groupby(blocks, key=_small):
        written = "".join(_block(each) for each in run)
        yield f'<div class="{small}">{written}</div>' if small else written


def _small(block: Block) -> str:
    """Return the class of what may stand beside others; nothing where it stands alone."""
    if isinstance(block, Figure) and block.is_small:
        return "small"
    return "tables" if isinstance(block, Table) and block.is_small else ""


def _block(block: Block) -> str:
    match block:
        case Paragraph(text):
            return f"<p>{_inner(text)}</p>"
        case Listing(entries):
            return f"<ul>{''.join(f'<li>{_inner(entry)}</li>' for entry in entries)}</ul>"
        case Subheading(text):
            return f"<h3>{escape(text)}</h3>"
        case Table(head=head, rows=rows, numbers=numbers):
            cells = ([_inner(cell) for cell in row] for row in rows)
            return table([escape(name) for name in head], cells, numbers)
        case Tiles(values):
            return cards(values)
        case Figure(svg=svg):
            return f"<figure>{svg}</figure>"


def _inner(text: Sequence[Inline]) -> str:
    return "".join(_inline(each) for each in text)


def _inline(part: Inline) -> str:
    match part:
        case Code(text):
            return f"<code>{escape(text)}</code>"
        case Link(anchor, text):
            return f'<a href="#{escape(anchor)}">{escape(text)}</a>'
        case _:
            return _unbroken(escape(part))


def _unbroken(html: str) -> str:
    """Keep figures and their units on one line, as narrow columns would part them."""
    return _INTERVAL.sub(r"(\1&nbsp;to&nbsp;\2&nbsp;%)", html).replace(" %", "&nbsp;%")
