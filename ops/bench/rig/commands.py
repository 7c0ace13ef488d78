"""Commands that a bench runs to their end; their output goes into a log of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def completed(
    command: Sequence[str],
    log_path: Path,
    *,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command, and append its output and how it ended to the log. Raises subprocess.TimeoutExpired.

    `environment` is the whole environment; None stands for this process's own. The command runs in `folder`.
    """
    try:
        done = subprocess.run(  # noqa: S603 - the command is ours
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as late:
        said = b"".join(part for part in (late.stdout, late.stderr) if isinstance(part, bytes))
        _write(log_path, command, said.decode(errors="replace"), f"killed after {timeout_s:g} s")
        raise
    _write(log_path, command, f"{done.stdout}\n{done.stderr}", f"ended with {done.returncode}")
    return done


def with_settings(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with `settings` on top."""
    return {**os.environ, **settings}


def _write(log_path: Path, command: Sequence[str], said: str, ending: str) -> None:
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(command)}\n{said.strip()}\n{ending}\n")
