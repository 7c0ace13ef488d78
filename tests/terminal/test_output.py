"""The lines of commands: styled by us alone, whatever they quote."""

import json

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


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_json_holds_what_was_written(text: str) -> None:
    assert json.loads(json_line({"reason": text})) == {"reason": text}
    assert json_line({"reason": text}).isprintable()


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_quoted_acts_on_a_page(text: str) -> None:
    assert all(line.isprintable() for line in document(text, [badge(text)]).split("\n"))
