"""The mark that a full check leaves in the audit log's folder, so that the service goes on refusing after a restart.

What is checked at every start is found again at every start. What only the check in the background finds would be
forgotten, and heads signed until it is found again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from pipeline.audit.continuing.bounds import NotContinued
from pipeline.domain.times import utc_text

_NAME: Final = "refused.json"


def require_unmarked(directory: Path) -> None:
    """Raise NotContinued where an earlier check found something, or its mark can't be read."""
    path = directory / _NAME
    try:
        marked = json.loads(path.read_text(encoding="utf-8"))
        why, found_at = str(marked["why"]), str(marked["found_at"])
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise NotContinued(f"{path} can't be read ({type(error).__name__})") from error
    raise NotContinued(f"{why} (found at {found_at}; `fraud audit check` lifts this once it finds nothing)")


def mark(directory: Path, why: str, found_at_ms: int) -> None:
    """Keep what was found first."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / _NAME
    if not path.exists():
        path.write_text(json.dumps({"why": why, "found_at": utc_text(found_at_ms)}) + "\n", encoding="utf-8")


def unmark(directory: Path) -> bool:
    """Lift the mark, after a whole check that found nothing; return whether there was one."""
    path = directory / _NAME
    is_marked = path.exists()
    path.unlink(missing_ok=True)
    return is_marked
