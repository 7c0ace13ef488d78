"""Hold a stack up in the foreground until Ctrl-C or SIGTERM, its addresses printed."""

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.table import Table


class StackFailure(Exception):
    """A stack could not be started. The message is for a person: what is wrong and what to do."""


class Stack(Protocol):
    """What the embedded and the real stack have in common."""

    bootstrap_servers: str
    redis_url: str

    def addresses(self) -> dict[str, str | int]: ...


OpenStack = Callable[[Path], AbstractContextManager[Stack]]


def hold(name: str, open_stack: OpenStack, directory: Path, *, as_json: bool) -> None:
    """Start the stack, print its addresses (as_json: one JSON line), stop it on Ctrl-C or SIGTERM.

    For the main thread only: it takes over those two signals. Raises StackFailure.
    """
    with open_stack(directory) as stack:
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        _print_addresses(name, stack, as_json=as_json)
        ended.wait()


def main(name: str, open_stack: OpenStack, default_directory: Path) -> None:
    """The command line of one stack; ends the process with 1 and one sentence when the stack can't be had."""
    parser = argparse.ArgumentParser(prog=f"python -m ops.stack.{name}", description=f"Hold the {name} stack up.")
    parser.add_argument("--directory", type=Path, default=default_directory, help="where its files stand")
    parser.add_argument("--json", action="store_true", help="print the addresses as one JSON line")
    options = parser.parse_args()
    try:
        hold(name, open_stack, options.directory, as_json=options.json)
    except StackFailure as failure:
        sys.exit(f"The {name} stack could not be started. {failure}")
    except KeyboardInterrupt:
        sys.exit(130)


def _print_addresses(name: str, stack: Stack, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(stack.addresses()), flush=True)
        return
    table = Table(title=f"{name} stack", caption="Ctrl-C ends it")
    table.add_column("what")
    table.add_column("where", overflow="fold")
    for what, where in stack.addresses().items():
        table.add_row(what.replace("_", " "), str(where))
    Console().print(table)
