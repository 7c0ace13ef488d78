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


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
def test_a_page_of_long_words_does_not_scroll_sideways_on_a_telephone(tmp_path: Path) -> None:
    pairs = f'<div class="pairs">{table(["", ""], [["Reference", LONG], ["Rule", LONG]])}</div>'
    rule = table(["Rule", "Observed", "Limit"], [[f"<code>{LONG}</code>", LONG, "9"]], (1,))
    body = [f"<h1>Payment <code>{LONG}</code> {badge('ALLOW')}</h1>", f'<div class="short"><p>{LONG}</p></div>',
            f"<p>{LONG}</p>", cards([(LONG, f"JPY {LONG}")]), pairs, f'<div class="lines rules">{rule}</div>',
            table(["A", "B"], [[LONG, LONG]])]  # fmt: skip
    probe = PROBE.format(width=NARROW_PX, page=html.escape(document("A page", body)))
    (tmp_path / "probe.html").write_text(probe, encoding="utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command = ["chromium", *options, "--virtual-time-budget=3000", "--dump-dom", f"file://{tmp_path / 'probe.html'}"]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    found = re.search(r"<title>(\d+) of (\d+)</title>", shown)
    assert found is not None, shown[:500]
    assert found[1] == found[2]
