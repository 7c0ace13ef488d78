"""Run a stack in the foreground until Ctrl-C or SIGTERM; print its addresses and the settings that use it."""

import argparse
import json
import signal
import sys
import threading
from enum import StrEnum
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ops.stack.ready import ReadyStack, made_ready
from ops.stack.stack import OpenStack, StackFailure


class Form(StrEnum):
    """The form in which a stack prints what it takes to use it."""

    TABLE = "table"
    JSON = "json"
    """One object on one line: the addresses, and the settings under "settings"."""
    EXPORTS = "exports"
    """`export` lines for a shell."""


def hold(name: str, open_stack: OpenStack, directory: Path, *, is_kept: bool, form: Form) -> None:
    """Start the stack, print it, stop it on Ctrl-C or SIGTERM. is_kept: its broker's log outlives a stop.

    For the main thread only: it takes over those two signals. Raises StackFailure.
    """
    with made_ready(open_stack, directory, is_kept=is_kept) as ready:
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        _show(name, ready, form)
        ended.wait()


def main(name: str, open_stack: OpenStack, default_directory: Path, *, is_kept: bool) -> None:
    """Run the command line of one stack; end the process with 1 and one sentence when the stack can't be had."""
    parser = argparse.ArgumentParser(prog=f"python -m ops.stack.{name}", description=f"Hold the {name} stack up.")
    parser.add_argument("--directory", type=Path, default=default_directory, help="where its files stand")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const=Form.JSON, help="print one JSON line")
    form.add_argument("--env", dest="form", action="store_const", const=Form.EXPORTS, help="print `export` lines")
    options = parser.parse_args()
    try:
        hold(name, open_stack, options.directory, is_kept=is_kept, form=options.form or Form.TABLE)
    except StackFailure as failure:
        sys.exit(f"The {name} stack could not be started. {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


def _show(name: str, ready: ReadyStack, form: Form) -> None:
    match form:
        case Form.JSON:
            shown = {**ready.addresses, "settings": dict(ready.settings), "settings_file": str(ready.settings_path)}
            print(json.dumps(shown), flush=True)
        case Form.EXPORTS:
            print(ready.exports(), end="", flush=True)
        case Form.TABLE:
            (_print_table if sys.stdout.isatty() else _print_lines)(name, ready)


def _print_lines(name: str, ready: ReadyStack) -> None:
    """For a pipe or a file: no box, no colour, a fact a line."""
    for what, where in ready.addresses.items():
        print(f"{what.replace('_', ' ')}: {where}")
    print(f"The {name} stack is ready until Ctrl-C or SIGTERM. To use it from another terminal:")
    print(f"export FRAUD_ENV_FILE={ready.settings_path}", flush=True)


def _print_table(name: str, ready: ReadyStack) -> None:
    table = Table(title=f"{name} stack", caption="Ctrl-C ends it")
    table.add_column("what")
    table.add_column("where", overflow="fold")
    for what, where in ready.addresses.items():
        table.add_row(what.replace("_", " "), str(where))
    console = Console()
    console.print(table)
    console.print("To use it from another terminal:")
    # The line isn't wrapped, because people paste it.
    console.print(f"export FRAUD_ENV_FILE={ready.settings_path}", soft_wrap=True, markup=False, highlight=False)
