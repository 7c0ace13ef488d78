"""The answers of commands: a line a record for people and pipes, or a JSON object a line; notes go to stderr.

Whatever a line quotes is shown and never acted upon (pipeline/domain/free_text.py): only `coloured` styles a terminal.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import typer

from pipeline.domain.free_text import shown

if TYPE_CHECKING:
    from rich.progress import Progress

OUTCOME_COLOUR: Final = {"ALLOW": "green", "BLOCK": "red", "ESCALATE": "yellow"}

_MARK: Final = f"\ufdd0{secrets.token_hex(8)}:"
"""Begins a style within a line, in the place of its escape sequence. Nothing that a line quotes can hold it, because it
is drawn anew in every process."""
_STYLE: Final = re.compile(f"{_MARK}([0-9a-f]*);")

Advance = Callable[[int], None]
"""Told how much is done so far."""

_bar: Progress | None = None
"""The bar that `progress` shows now. A process has one terminal."""


class Output:
    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._is_empty = True

    def record(self, fields: Mapping[str, object], line: str) -> None:
        """One record: `fields` as a JSON object with --json, else `line`, which may be coloured."""
        self._is_empty = False
        with _without_bar():
            typer.echo(json_line(fields) if self.as_json else rendered(line), color=_colour())

    def line(self, line: str) -> None:
        """Write a line of a text that is no record; only without --json."""
        assert not self.as_json, "JSON output holds objects only"
        with _without_bar():
            typer.echo(rendered(line), color=_colour())

    def end_list(self, of_what: str) -> None:
        """Say on stderr where a list had no record; with --json, no line says so."""
        if self._is_empty and not self.as_json:
            self.note(f"No {of_what}.")

    def note(self, sentence: str) -> None:
        with _without_bar():
            typer.echo(shown(sentence), err=True)


def coloured(text: str, colour: str | None, *, is_bold: bool = False) -> str:
    """Styled for a terminal by `rendered`; `Output.record` takes the style off again where stdout is none."""
    before, _, after = typer.style("|", fg=colour, bold=is_bold).partition("|")
    return f"{_marked(before)}{text}{_marked(after)}"


def rendered(line: str) -> str:
    """Return a line with its styles as escape sequences, and whatever else it holds as `shown` returns it."""
    words = _STYLE.split(line)
    return "".join(bytes.fromhex(part).decode() if at % 2 else shown(part) for at, part in enumerate(words))


def json_line(fields: Mapping[str, object]) -> str:
    """Return a JSON object on one line that changes nothing on a terminal: such characters stand as JSON's escapes."""
    text = json.dumps(fields, ensure_ascii=False)
    return "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in text)


def _marked(sequence: str) -> str:
    return f"{_MARK}{sequence.encode().hex()};"


def unseen(_done: int) -> None:
    """Progress that nobody watches."""


def _colour() -> bool | None:
    return False if "NO_COLOR" in os.environ else None


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Advance]:
    """A bar on stderr where that is a terminal; nothing otherwise. Call what it yields with the count so far."""
    global _bar
    if not sys.stderr.isatty():
        yield unseen
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    count = TextColumn("{task.completed:,.0f}") if total is None else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total)
        _bar = bar
        try:
            yield lambda done: bar.update(task, completed=done)
        finally:
            _bar = None


@contextmanager
def _without_bar() -> Iterator[None]:
    """Take the bar off the terminal while a line is written, which would stand behind it otherwise."""
    if _bar is None:
        yield
        return
    _bar.stop()
    try:
        yield
    finally:
        _bar.start()
