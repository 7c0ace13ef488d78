"""The skeleton of the pages that commands write: one HTML file, nothing loaded from elsewhere, fit to be printed.

It is dark where whoever reads it has their screen dark, and always printed on white.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape as escaped
from typing import Final

from pipeline.domain.free_text import shown

STYLE: Final = """
:root {
  --ink: #1a2230; --soft: #5c6778; --rule: #d8dee8; --tint: #f4f6fa; --go: #17764a; --stop: #b3261e; --wait: #8a5c09;
  --link: #2f5fa8; --paper: #ffffff; color-scheme: light dark
}
@media screen and (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e9f2; --soft: #a3afc0; --rule: #364154; --tint: #1d2533; --go: #5fc592; --stop: #ff8f85; --wait: #e0ad55;
    --link: #8fb6f0; --paper: #131924
  }
  svg { --ink: #1a2230; --soft: #5c6778; --rule: #d8dee8; --tint: #f4f6fa; background: #ffffff }
}
* { box-sizing: border-box }
body {
  background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 72rem;
  overflow-wrap: break-word; padding: 2.5rem 1.5rem
}
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem }
p { margin: .3rem 0 }
.item { padding-left: 1.2rem }
code { font: 13px ui-monospace, monospace; overflow-wrap: anywhere }
h1 code { font-size: inherit; font-weight: 600 }
.soft { color: var(--soft) }
.badge {
  background: var(--soft); border-radius: 1rem; font-size: .8rem; font-weight: 600; padding: .15rem .7rem;
  vertical-align: middle; white-space: nowrap
}
.badge.COMPLETED, .badge.SETTLED, .badge.ALLOW { background: var(--go) }
.badge.PLANNED, .badge.HELD, .badge.ESCALATE { background: var(--wait) }
.badge.UNDER_WAY, .badge.REFUSED, .badge.REVERSED, .badge.BLOCK { background: var(--stop) }
.cards { display: grid; gap: .8rem; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); margin: 1.4rem 0 }
.card { background: var(--tint); border: 1px solid var(--rule); border-radius: .5rem; padding: .8rem 1rem }
.card, .pairs td { overflow-wrap: anywhere }
.card b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; line-height: 1.3 }
.card .long { font-size: 1.1rem }
.card .longer { font-size: .8rem }
table { border-collapse: collapse; width: 100% }
th, td { border-bottom: 1px solid var(--rule); padding: .4rem .6rem; text-align: left; vertical-align: top }
th { background: var(--tint); font-size: .85rem }
td.n, th.n { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap }
.ALLOW { color: var(--go); font-weight: 600 }
.BLOCK, .bad { color: var(--stop); font-weight: 600 }
.ESCALATE { color: var(--wait); font-weight: 600 }
.badge.badge { color: var(--paper) }
.short { background: var(--tint); border-left: .3rem solid var(--ink); margin: 1.2rem 0; padding: .8rem 1.2rem }
.short p { margin: .4rem 0 }
.wide { overflow-x: auto }
.lines td { font-size: .85rem }
.lines code { font-size: 11.5px }
.lines .badge { font-size: .7rem }
.steps td:nth-child(1) { font-variant-numeric: tabular-nums; white-space: nowrap }
.steps td:nth-child(4) { width: 11rem }
.steps td:nth-child(5) { width: 19rem }
.rules td:nth-child(1) code { overflow-wrap: normal; white-space: nowrap }
.pairs td:first-child { overflow-wrap: break-word; width: 13rem }
.pairs td:first-child, .soft { color: var(--soft) }
.tag { border: 1px solid currentColor; border-radius: .25rem; font-size: .7rem; padding: 0 .35rem; white-space: nowrap }
.DECISION { color: var(--ink) }
.AUDIT { color: var(--soft) }
.REVIEW { color: var(--wait) }
.ROLLBACK { color: var(--stop) }
.EXECUTION { color: var(--go) }
.bar {
  background: linear-gradient(var(--rule), var(--rule)) center / 1px 100% no-repeat; display: flex; height: .9rem;
  min-width: 9rem
}
.bar i { flex: none; height: 100% }
.bar .up { background: var(--stop); margin-left: 50% }
.bar .down { background: var(--go) }
@media (max-width: 44rem) {
  body { padding: 1.2rem .9rem }
  .wide table { min-width: 44rem }
  .steps td:nth-child(4), .steps td:nth-child(5) { width: 20% }
  .pairs td:first-child { width: 8rem }
}
@page { margin: 1.5cm }
@media print {
  body { font-size: 9.5pt; max-width: none; padding: 0 }
  .wide { overflow: visible }
  .steps td:nth-child(4) { width: auto }
  .steps td:nth-child(5) { width: 30% }
  .lines td, .lines code { font-size: 8pt }
  .rules td:nth-child(1) code { overflow-wrap: anywhere; white-space: normal }
  h2 { break-after: avoid }
  tr, .card, .short { break-inside: avoid }
  thead { display: table-header-group }
  .badge, th, .card, .short, .bar, .bar i { print-color-adjust: exact; -webkit-print-color-adjust: exact }
}
"""

LARGE_CHARACTERS_MAX: Final = 9
LONG_CHARACTERS_MAX: Final = 13
"""Characters of a word that fit a card of 12rem in each size: a bold digit is up to 0.7 of its size wide."""


def escape(text: str) -> str:
    """Return text as HTML: no markup of its own, and no character that acts on the page instead of being shown."""
    return escaped(shown(text))


def document(title: str, body: Iterable[str]) -> str:
    """`body` holds HTML."""
    inner = "\n".join(body)
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{STYLE}</style>\n{inner}\n</html>\n"
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """`rows` hold HTML; `numbers`: columns that are aligned to the right.

    A table whose columns have names scrolls by itself where the page is narrower, by keys, too; one without holds
    pairs, which fit.
    """

    def cells(tag: str, row: Sequence[str]) -> str:
        marks = ((f'<{tag} class="n">' if place in numbers else f"<{tag}>") for place in range(len(row)))
        return "".join(f"{mark}{cell}</{tag}>" for mark, cell in zip(marks, row, strict=True))

    above = f"<thead><tr>{cells('th', head)}</tr></thead>" if any(head) else ""
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    whole = f"<table>{above}<tbody>{body}</tbody></table>"
    return f'<div class="wide" tabindex="0">{whole}</div>' if above else whole


def cards(values: Iterable[tuple[str, str]]) -> str:
    """(what it is, the value) each, as text."""
    inner = "".join(f'<div class="card">{_large(value)}{escape(name)}</div>' for name, value in values)
    return f'<div class="cards">{inner}</div>'


def _large(value: str) -> str:
    """Write a value as large as its longest word lets it stand whole: a broken amount is read as two."""
    longest = max(map(len, value.split()), default=0)
    size = "longer" if longest > LONG_CHARACTERS_MAX else "long" if longest > LARGE_CHARACTERS_MAX else ""
    return f'<b class="{size}">{escape(value)}</b>' if size else f"<b>{escape(value)}</b>"


def badge(word: str) -> str:
    return f'<span class="badge {escape(word)}">{escape(word.replace("_", " "))}</span>'
