"""The table of commands: what it says is so, what it leads to is uniform, and no text names a command that isn't."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup

from ops.cli import TABLE, commands, run
from ops.command_table import SUMMARY_CHARACTERS_MAX, Group, Verb
from tests.ops.stack.test_compose import BASE, PRODUCTION

ROOT = Path(__file__).parents[2]
ROWS = [row for section in TABLE for row in section.commands]
NO_JSON = {
    "worker run": "a service: it logs JSON on stderr",
    "audit run": "a service: it logs JSON on stderr",
    "witness run": "a service: it logs JSON on stderr",
    "executor run": "a service: it logs JSON on stderr",
    "review run": "a service: it logs JSON on stderr",
    "bias run": "a service: it logs JSON on stderr",
    "shadow run": "a service: it logs JSON on stderr",
    "reconcile run": "a service: it logs JSON on stderr",
    "incident run": "a service: it logs JSON on stderr",
    "alerts run": "a service: it logs JSON on stderr",
}
OURS = (
    "topics",
    "worker",
    "migrate",
    "roles",
    "access",
    "audit",
    "executor",
    "review",
    "reconcile",
    "incident",
    "bias",
    "alerts",
)
"""Compose's services whose command, where they have one, is one of ours."""
SERVICES = ("worker", "audit", "witness", "executor", "review", "reconcile", "incident", "bias", "alerts", "shadow")
HEAVY = {
    "confluent_kafka",
    "cryptography",
    "faust",
    "fastavro",
    "numpy",
    "psycopg",
    "pydantic_settings",
    "redis",
    "rich",
}


def leaves(group: TyperGroup | None = None, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command that can be run, as it is typed after `fraud`."""
    for name, command in (group or commands()).commands.items():
        if isinstance(command, TyperGroup):
            yield from leaves(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


LEAVES = dict(leaves())


@pytest.mark.parametrize("row", [row for row in ROWS if isinstance(row, Group)], ids=lambda row: row.name)
def test_group_has_the_verbs_that_the_table_says(row: Group) -> None:
    group = commands().commands[row.name]
    assert isinstance(group, TyperGroup)
    assert list(group.commands) == row.verbs.split()


def test_a_verb_alone_is_a_command() -> None:
    assert [row.name for row in ROWS if isinstance(row, Verb)] == [path for path in LEAVES if " " not in path]


def test_every_service_is_run_by_the_same_word() -> None:
    assert {path for path in LEAVES if path.endswith(" run")} == {f"{service} run" for service in SERVICES}


@pytest.mark.parametrize("path", LEAVES)
def test_command_that_prints_facts_takes_json(path: str) -> None:
    options = {option for parameter in LEAVES[path].params for option in parameter.opts}
    assert ("--json" in options) == (path not in NO_JSON)


@pytest.mark.parametrize("path", LEAVES)
def test_help_is_a_sentence_that_begins_with_a_verb_and_is_shown_whole(path: str) -> None:
    """A verb in the imperative: no article, no plural, no -ing; typer cuts what is longer than a line."""
    command = LEAVES[path]
    first, *_ = command.get_short_help_str(SUMMARY_CHARACTERS_MAX).split()
    assert command.get_short_help_str(SUMMARY_CHARACTERS_MAX).endswith(".")
    assert not command.get_short_help_str(SUMMARY_CHARACTERS_MAX).endswith("...")
    assert first.istitle()
    assert first.lower() not in {"a", "an", "the", "of", "every", "its", "all", "what", "whether", "where"}
    assert not first.endswith("ing")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_summary_fits_a_line(row: Group | Verb) -> None:
    assert len(row.summary) <= SUMMARY_CHARACTERS_MAX
    assert row.summary.endswith(".")


@pytest.mark.parametrize("group", [row.name for row in ROWS if isinstance(row, Group)])
def test_help_of_a_group_shows_every_summary_whole_at_80_columns(
    group: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([group, "--help"]) == 0
    _, _, verbs = capsys.readouterr().out.partition("Commands:\n")
    assert verbs
    assert [line for line in verbs.splitlines() if line.endswith("...")] == []


@pytest.mark.parametrize("path", LEAVES)
def test_option_and_argument_say_what_they_are_for(path: str) -> None:
    silent = [parameter.name for parameter in LEAVES[path].params if not getattr(parameter, "help", "")]
    assert silent == []


@pytest.mark.parametrize("path", LEAVES)
def test_what_must_be_given_is_named_in_capitals(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As docs/commands.md names it: `fraud explain ID`, neither {ID} nor id."""
    assert run([*path.split(), "--help"]) == 0
    usage, *_ = capsys.readouterr().out.split("\n\n")
    given = usage.partition("[OPTIONS]")[2].split()
    assert [] == [word for word in given if not re.fullmatch(r"\[?[A-Z][A-Z_=]*\]?(\.\.\.)?", word)]


@pytest.mark.parametrize("path", LEAVES)
def test_wrong_arguments_are_a_usage_error_in_words(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    takes_any_number = any(parameter.nargs == -1 for parameter in LEAVES[path].params)
    for wrong in (["--no-such-option"], [] if takes_any_number else ["x"] * 20):
        assert run([*path.split(), *wrong]) == 2
        out, err = capsys.readouterr()
        *_, last = err.strip().partition("Error: ")
        assert (out, last[:1].isupper(), "Traceback" in err) == ("", True, False), err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("audit export ''", "empty. Is a variable of the shell unset?"),
        ("state backup ''", "empty. Is a variable of the shell unset?"),
        ("keys create audit ''", "empty. Is a variable of the shell unset?"),
        ("audit verify export --keys ''", "empty. Is a variable of the shell unset?"),
        ("explain \udcff", "It holds bytes that are no UTF-8."),
        ("ledger balance \udcff", "It holds bytes that are no UTF-8."),
        ("explain ''", "empty. Is a variable of the shell unset?"),
        ("traffic generate --rate inf", "It must be less than or equal to 1000000."),
        ("traffic generate --rate nan", "It must be"),
        ("keys rotate audit new --set keys --overlap-hours inf", "It "),
        ("verify --partition x", "It is no whole number"),
        (f"verify --partition {'9' * 5000}", "It is no whole number, or too large."),
        ("verify --partition -1", "It must be greater than or equal to 0."),
        ("alerts silence --reason words --until 2026-11-24 --severity LOUD", "'LOUD' is not one of 'INFO', 'WARNING'"),
    ],
)
def test_what_no_command_can_mean_is_refused_in_words(
    line: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty path would be this folder, which a backup or a key would then be written into."""
    monkeypatch.chdir(tmp_path)
    assert run(shlex.split(line)) == 2
    out, err = capsys.readouterr()
    assert (out, words in err, "Value error" in err) == ("", True, False), err
    assert list(tmp_path.iterdir()) == []


def test_a_failure_quotes_no_file_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["audit", "verify", "x" * 5000, "--keys", "y" * 100_000]) == 2
    assert len(capsys.readouterr().err) < 1_000


def test_help_shows_every_command_under_its_section(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--help"]) == 0
    out = capsys.readouterr().out
    shown = re.findall(r"^  ([a-z][a-z-]+) +[A-Z].*\.$", out, re.MULTILINE)
    assert shown == [row.name for row in ROWS]
    assert [section.title for section in TABLE] == re.findall(r"^([A-Z][a-z ]+):$", out, re.MULTILINE)[1:]


@pytest.mark.parametrize("arguments", [("--help",), ("decisions", "tail", "--help"), ("rollback", "--help")])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    """Help and completion answer at once: they take 0.1 s of CPU, where the libraries of the pipeline take 1."""
    code = f"import sys; from ops.cli import run; run({arguments!r}); print(*sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert HEAVY & set(done.stderr.split()) == set()


def test_an_unknown_command_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["desicions", "tail"]) == 2
    assert "Did you mean 'decisions'?" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed_and_nothing_is_written(shell: str, tmp_path: Path) -> None:
    done = _shell(tmp_path, _FRAUD_COMPLETE=f"source_{shell}")
    assert "_FRAUD_COMPLETE=complete_" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "expected"),
    [("fraud dea", ["dead-letters"]), ("fraud rollback a", ["apply"]), ("fraud explain --ht", ["--html"])],
)
def test_completion_knows_groups_verbs_and_options(line: str, expected: list[str], tmp_path: Path) -> None:
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    assert _shell(tmp_path, _FRAUD_COMPLETE="complete_bash", **words).stdout.split() == expected


def _shell(home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ops.cli"]
    environment = {**os.environ, "HOME": str(home), "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=False)


# Texts that name commands: what stands between backticks, and lines of code blocks, begin with `fraud`; Compose and
# the Dockerfile give lists.
QUOTED = re.compile(r"`(?:FRAUD_\S+ )*(?:\.venv/bin/)?fraud ([a-z][^`\n]*)`")
TYPED = re.compile(r"^ *(?:[#$] )?(?:FRAUD_\S+=\S+ )*(?:\.venv/bin/)?fraud ([a-z].*)$", re.MULTILINE)
IN_SHELL = re.compile(r"(?:\|\| |; exec |&& )fraud ([a-z][^;&|\n]*)")
FOLDERS = ("docs", "models", "ops", "pipeline", "schemas", "tests")
SUFFIXES = {".py", ".md", ".yml", ".sql", ".toml"}
WITHOUT_SUFFIX = {"justfile", "Dockerfile"}
EXEMPT = {Path(__file__)}
"""It names commands that must not be there."""


def texts() -> Iterator[Path]:
    yield from (path for path in ROOT.iterdir() if path.suffix in SUFFIXES or path.name in WITHOUT_SUFFIX)
    for folder in FOLDERS:
        yield from (path for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES)


def named() -> Iterator[tuple[str, str]]:
    """Every command line that a text of the repository names, with the text's path."""
    for path in sorted(set(texts()) - EXEMPT):
        content = path.read_text(encoding="utf-8")
        patterns = (QUOTED, IN_SHELL) if path.suffix == ".py" else (QUOTED, TYPED, IN_SHELL)
        for pattern in patterns:
            yield from ((str(path.relative_to(ROOT)), line) for line in pattern.findall(content))


def fault_of(line: str) -> str | None:
    """Why `fraud LINE` names no command, or an option that its command doesn't have; None where all is well."""
    return next(filter(None, map(_fault, alternatives(line.partition("  ")[0]))), None)


def alternatives(line: str) -> Iterator[str]:
    """`stack embedded|real` and `review list, show, claim` name several commands of a group."""
    head, *others = re.split(r"\||, ", line)
    yield head
    yield from (f"{head.split()[0]} {other}" for other in others)


def _fault(line: str) -> str | None:
    words = shlex.split(line.translate({ord("["): None, ord("]"): None}), comments=True)
    command: Any = commands()
    while isinstance(command, TyperGroup) and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        if words[0] not in command.commands:
            return f"{command.name or 'fraud'} has no {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    unknown = [word for word in words if word.startswith("-") and word not in options]
    return f"{command.name} has no {unknown[0]}" if unknown else None


def test_commands_that_texts_name_are_there() -> None:
    found = list(named())
    faults = [f"{path}: `fraud {line}`: {fault}" for path, line in found if (fault := fault_of(line)) is not None]
    assert faults == []
    assert len(found) > 150
    assert {path for path, _ in found} >= {"README.md", "docs/operations.md", "docs/execution.md", "docker-compose.yml"}


def test_a_line_that_is_shown_to_be_typed_can_be_typed() -> None:
    """It has what its command needs, in the form that it needs it, once the times are put in."""
    for path in sorted(texts()):
        if path.suffix == ".md" and path.name != "CHANGELOG.md":
            for line in TYPED.findall(path.read_text(encoding="utf-8")):
                line = re.split(r" {2,}(?=[a-z])", line.strip())[0]
                line = re.sub(r" +2?> *\S+|&$|[\[\]]|\bTIME\b", _in_place, line)
                words = shlex.split(line, comments=True)
                command: Any = commands()
                while isinstance(command, TyperGroup):
                    command, words = command.commands[words[0]], words[1:]
                command.make_context(command.name, words)


def _in_place(found: re.Match[str]) -> str:
    return "2026-11-24T09:00:00Z" if found[0] == "TIME" else ""


def test_the_page_of_commands_names_every_one() -> None:
    lines = [line for path, line in named() if path == "docs/commands.md"]
    assert [path for path in LEAVES if not any(line == path or line.startswith(f"{path} ") for line in lines)] == []


@pytest.mark.parametrize("line", ["replay-file PATH", "person grant ANN", "worker --keep", "verify --every", "train X"])
def test_a_command_that_is_not_there_is_found(line: str) -> None:
    assert fault_of(line) is not None


@pytest.mark.parametrize("compose", [BASE, PRODUCTION], ids=["base", "production"])
def test_containers_run_commands_that_there_are(compose: dict[str, Any]) -> None:
    services = compose["services"].items()
    lines = {
        name: shlex.join(service["command"]) for name, service in services if name in OURS and "command" in service
    }
    assert {name: fault for name, line in lines.items() if (fault := fault_of(line)) is not None} == {}
    assert lines
