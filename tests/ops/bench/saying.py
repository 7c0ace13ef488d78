from __future__ import annotations

import sys


def say(line: str) -> None:
    """Print what a bench tells, which pytest shows where its test fails."""
    print(line, file=sys.stderr)
