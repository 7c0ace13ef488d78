"""A command line as a table: sections of groups and verbs. A group's module is imported when it is asked for, so that
`--help`, completion and each command cost what they need and no more.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from pipeline.domain.free_text import shortened

SUMMARY_CHARACTERS_MAX: Final = 62
"""With the names before it, a line of a terminal 80 wide."""


_WORDS: Final = (
    ("^(Input should be a valid|Unable to parse input string as an) integer.*", "It is no whole number, or too large."),
    ("^Input should be a valid number.*", "It is no number."),
    ("^Input should be a finite number", "It is no number."),
    ("^Input should be (greater|less) than( or equal to)? (.*)", r"It must be \1 than\2 \3."),
)


class Group(NamedTuple):
    """`fraud NAME VERB`. Each of `modules` has a Typer app called NAME_app; together their commands are the verbs."""

    name: str
    verbs: str
    summary: str
    modules: str


class Verb(NamedTuple):
    """`fraud NAME`. `module` has a function called NAME, and must be quick to import."""

    name: str
    summary: str
    module: str


class Section(NamedTuple):
    title: str
    commands: tuple[Group | Verb, ...]


def command_tree(about: str, sections: Iterable[Section], before: Callable[..., None]) -> TyperGroup:
    """The root, with --help that shows the sections, and with shell completion. `before` is called before a command,
    with the options that its signature names; they stand in front of the command's name."""
    app = typer.Typer(cls=_Root, no_args_is_help=True, rich_markup_mode=None)
    app.callback(help=about)(before)
    told = {each.name: (section.title, each) for section in sections for each in section.commands}
    for title, verb in told.values():
        if isinstance(verb, Verb):
            app.command(verb.name, cls=_Leaf, short_help=verb.summary, rich_help_panel=title)(
                _found(verb.module, verb.name)
            )
    root = get_command(app)
    assert isinstance(root, TyperGroup)
    verbs = dict(root.commands)
    root.commands = {
        name: _LateGroup(each, title) if isinstance(each, Group) else verbs[name]
        for name, (title, each) in told.items()
    }
    return root


class _Root(TyperGroup):
    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as the class above has it
        """Under the titles of the sections, in the table's order."""
        sections: dict[str, list[tuple[str, str]]] = {}
        width = max(map(len, self.commands))
        for name, command in self.commands.items():
            assert isinstance(command, TyperGroup | TyperCommand)
            row = name.ljust(width), command.get_short_help_str(SUMMARY_CHARACTERS_MAX)
            sections.setdefault(command.rich_help_panel or "", []).append(row)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


class _LateGroup(TyperGroup):
    """Knows its summary; its commands are imported when somebody looks at them."""

    def __init__(self, group: Group, title: str) -> None:
        self._group = group
        super().__init__(
            name=group.name, help=group.summary, no_args_is_help=True, rich_markup_mode=None, rich_help_panel=title
        )

    @cached_property
    def _loaded(self) -> dict[str, Any]:
        modules, app_name = self._group.modules.split(), f"{self._group.name}_app"
        return {name: command for module in modules for name, command in _commands_of(_found(module, app_name)).items()}

    @property
    def commands(self) -> MutableMapping[str, Any]:
        return self._loaded

    @commands.setter
    def commands(self, none: MutableMapping[str, Any]) -> None:
        """TyperGroup gives every group its commands when it is made: an empty mapping here."""


class _Leaf(TyperCommand):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse what no command can mean, in words, before it is called."""
        is_any_empty = "" in args  # which are taken from the list
        try:
            rest = super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = _in_words(error.message)
            raise
        parameters: Iterable[Any] = self.params
        for parameter in parameters:
            value = ctx.params.get(parameter.name)
            is_argument = parameter.param_type_name == "argument"
            if is_any_empty and (value == Path() or (is_argument and value == "")):
                raise typer.BadParameter("It is empty. Is a variable of the shell unset?", ctx, parameter)
            if any(isinstance(each, str) and not _is_text(each) for each in _all_of(value)):
                raise typer.BadParameter("It holds bytes that are no UTF-8.", ctx, parameter)
            if isinstance(value, float) and not math.isfinite(value):
                raise typer.BadParameter("It is no number.", ctx, parameter)
        return rest

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Name what must be given as it is named everywhere else. Typer puts it in braces, as if one were to choose."""
        return [re.sub(r"[{}]", "", piece) for piece in super().collect_usage_pieces(ctx)]


def _all_of(value: object) -> Iterable[object]:
    return value if isinstance(value, list | tuple) else (value,)


def _is_text(value: str) -> bool:
    """Return whether a value can be stored: Python takes a byte that is no UTF-8 for half a character."""
    return not any("\ud800" <= each <= "\udfff" for each in value)


def _in_words(message: str) -> str:
    """Return pydantic's message about a value in words that are a person's; what was given is cut where it is long."""
    message = message.removeprefix("Value error, ")
    for pattern, words in _WORDS:
        message = re.sub(pattern, words, message)
    return shortened(message)


def _commands_of(app: typer.Typer) -> Mapping[str, Any]:
    app.rich_markup_mode = None
    for command in app.registered_commands:
        command.cls = _Leaf
    return get_group(app).commands


def _found(module: str, name: str) -> Any:
    return getattr(import_module(module), name.replace("-", "_"))
