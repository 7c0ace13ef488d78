"""A page that a command writes can be read on a telephone: it fits its width, and what can't scrolls by itself."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pipeline.web.html import badge, cards, document, table

LONG = "x" * 140
"""As long as an id or a text of a payment gets, without a place to break."""
NARROW_PX = 420
PROBE = """
<body style="margin:0"><iframe id=page style="width:{width}px;height:900px;border:0" srcdoc="{page}"></iframe>
<script>page.onload = () => {{
  const root = page.contentDocument.documentElement
  document.title = root.scrollWidth + " of " + root.clientWidth
}}</script>
"""
AMOUNTS = ("GBP 9.99", "EUR 56,834.14", "EUR 1,256,834.14", "JPY 9,999,999,999,999")
WIDTHS_PX = (360, NARROW_PX, 700, 1100, 1280)
COUNT_LINES = """
<script>onload = () => {
  document.title = [...document.querySelectorAll("iframe")].map(frame => {
    const value = frame.contentDocument.querySelector("b")
    const line = parseFloat(frame.contentWindow.getComputedStyle(value).lineHeight)
    return frame.title + ": " + Math.round(value.getBoundingClientRect().height / line)
  }).join("; ")
}</script>
"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_page_of_long_words_does_not_scroll_sideways_on_a_telephone(tmp_path: Path) -> None:
    pairs = f'<div class="pairs">{table(["", ""], [["Reference", LONG], ["Rule", LONG]])}</div>'
    rule = table(["Rule", "Observed", "Limit"], [[f"<code>{LONG}</code>", LONG, "9"]], (1,))
    body = [f"<h1>Payment <code>{LONG}</code> {badge('ALLOW')}</h1>", f'<div class="short"><p>{LONG}</p></div>',
            f"<p>{LONG}</p>", cards([(LONG, f"JPY {LONG}")]), pairs, f'<div class="lines rules">{rule}</div>',
            table(["A", "B"], [[LONG, LONG]])]  # fmt: skip
    probe = PROBE.format(width=NARROW_PX, page=html.escape(document("A page", body)))
    (tmp_path / "probe.html").write_text(probe, encoding="utf-8")
    shown = _dom(tmp_path)
    found = re.search(r"<title>(\d+) of (\d+)</title>", shown)
    assert found is not None, shown[:500]
    assert found[1] == found[2]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_card_breaks_no_amount(tmp_path: Path) -> None:
    """An amount that stands in two lines is read as two numbers: a card's value has at most a line a word."""
    others = [(f"fact {number}", "99.81 %") for number in range(5)]
    frames = [
        f'<iframe style="width:{width_px}px;height:300px" title="{amount} at {width_px} px" '
        f'srcdoc="{html.escape(document("A page", [cards([("amount", amount), *others])]))}"></iframe>'
        for amount in AMOUNTS
        for width_px in WIDTHS_PX
    ]
    (tmp_path / "probe.html").write_text(f"<body>{''.join(frames)}{COUNT_LINES}", encoding="utf-8")
    found = re.search(r"<title>([^<]*)</title>", _dom(tmp_path))
    assert found is not None
    lines = dict(each.rsplit(": ", 1) for each in found[1].split("; "))
    assert len(frames) == len(lines)
    assert {} == {where: count for where, count in lines.items() if int(count) > len(where.split(" at ")[0].split())}


def _dom(folder: Path) -> str:
    """Return the page `probe.html` as Chromium has it when its scripts have run."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command = ["chromium", *options, "--virtual-time-budget=3000", "--dump-dom", f"file://{folder / 'probe.html'}"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout
