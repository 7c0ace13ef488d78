"""The lines of commands: styled by us alone, whatever they quote."""

import json
import os
import pty
import subprocess
import sys

import pytest

from pipeline.terminal.output import Output, coloured, json_line, rendered
from pipeline.web.html import badge, document
from tests.domain.test_free_text import HOSTILE


def test_a_style_is_ours_alone() -> None:
    line = f"{coloured('BLOCK', 'red', is_bold=True)} because \x1b[32mALLOW\x1b[0m"
    assert rendered(line) == "\x1b[31m\x1b[1mBLOCK\x1b[0m because <U+001B>[32mALLOW<U+001B>[0m"


def test_a_style_can_not_be_written_into_a_reason() -> None:
    foreign = coloured("x", "red").replace(coloured("x", "red")[1:17], "0" * 16)
    assert "\x1b" not in rendered(foreign)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_quoted_acts_on_a_terminal(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = Output(as_json=False)
    output.record({}, text)
    output.line(text)
    output.note(text)
    Output(as_json=True).record({"reason": text}, "")
    captured = capsys.readouterr()
    assert all(line.isprintable() for line in (captured.out + captured.err).split("\n"))


WHILE_A_BAR_TURNS = """
from pipeline.terminal.output import Output, progress

output = Output(as_json=False)
with progress("deciding again", {total}) as advance:
    output.record({{}}, "a record")
    advance(1)
    output.line("a line")
    output.note("a note")
"""


@pytest.mark.parametrize("total", [None, 3])
def test_no_line_stands_behind_a_bar(total: int | None) -> None:
    """On a terminal each line begins where the bar was taken away, which is erased at the end, too."""
    seen = _on_a_terminal(WHILE_A_BAR_TURNS.format(total=total))
    assert "deciding again" in seen
    for line in ("a record", "a line", "a note"):
        before, _, after = seen.partition(line)
        assert before.endswith("\x1b[2K"), line
        assert after.startswith("\r\n"), line
    assert seen.endswith("\x1b[2K")


def test_a_bar_without_an_end_shows_how_much_is_done() -> None:
    seen = _on_a_terminal(WHILE_A_BAR_TURNS.format(total=None))
    assert "/?" not in seen


def _on_a_terminal(code: str) -> str:
    """Return what a terminal of 80 columns is sent."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        seen = b"".join(iter(lambda: _read(ours), b""))
        os.close(ours)
    assert process.returncode == 0, seen.decode()
    return seen.decode()


def _read(terminal: int) -> bytes:
    """Return what came next; nothing once nobody has the other end, which Linux says by an error."""
    try:
        return os.read(terminal, 1 << 16)
    except OSError:
        return b""


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_json_holds_what_was_written(text: str) -> None:
    assert json.loads(json_line({"reason": text})) == {"reason": text}
    assert json_line({"reason": text}).isprintable()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_quoted_acts_on_a_page(text: str) -> None:
    assert all(line.isprintable() for line in document(text, [badge(text)]).split("\n"))
