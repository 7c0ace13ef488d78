"""Modules that other processes start by `python -m` read their arguments here, and say what they are if asked."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence


def arguments(words: str | None, *names: str, choices: Sequence[str] = ()) -> list[str]:
    """Return the arguments, one for each name; a last name that ends in … takes any number of them.

    With --help it prints usage and `words`, a module's docstring, and with others than these it ends the process in
    usage, before anything is begun. choices: of the first argument.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {_module()}",
        description=(words or "").replace("%", "%%"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for place, name in enumerate(names):
        count = "*" if name.endswith("…") else None
        parser.add_argument(
            f"argument {place}", metavar=name, nargs=count, choices=(choices or None) if not place else None
        )
    found = vars(parser.parse_args())
    given = [found[f"argument {place}"] for place in range(len(names))]
    return [*given[:-1], *given[-1]] if names and names[-1].endswith("…") else given


def _module() -> str:
    """Return the name under which the process was started."""
    spec = sys.modules["__main__"].__spec__
    return sys.argv[0] if spec is None else spec.name
