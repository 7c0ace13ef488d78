"""Pages written to files."""

from __future__ import annotations

from pathlib import Path

from pipeline.terminal.failures import Failure


def write(path: Path, page: str) -> None:
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        raise Failure(f"{path} can't be written ({error.strerror}).", "Give another path.") from error
