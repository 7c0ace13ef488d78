from __future__ import annotations

import sys


def say(line: str) -> None:
    """What a bench tells, shown by pytest where its test fails."""
    print(line, file=sys.stderr)
