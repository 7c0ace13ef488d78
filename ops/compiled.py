"""The project with its hot path compiled, as the container image has it, in a folder for PYTHONPATH (ADR 0005).

The folder's name is a hash of all that it was made from, so that it never stands for sources other than today's.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parents[1]
_PACKAGES: Final = ("pipeline", "models", "ops", "schemas")
_PLAIN: Final = ("setup.py", "pyproject.toml", "README.md")
_COMPILE_TIMEOUT_S: Final = 900
"""Time limit of the compilation. mypyc and a C compiler take 40 s on two idle cores."""


class CompilerMissing(Exception):
    """There is no C compiler, or no mypyc. The project runs without them, but slower."""


def compiled_tree(say: Callable[[str], None]) -> Path:
    """Return the folder, compiled if need be. Raises CompilerMissing; any other failure is a CalledProcessError."""
    folder = _ROOT / "var" / "compiled" / _fingerprint()
    if not folder.exists():
        _require_compiler()
        say(f"compiling the hot path into {folder.relative_to(_ROOT)}")
        _compile(folder)
    return folder


def compiled_tree_or_none(say: Callable[[str], None]) -> Path | None:
    """Return the folder, or say why and return None where it can't be compiled here."""
    try:
        return compiled_tree(say)
    except CompilerMissing as missing:
        say(f"plain Python is measured: {missing}")
        return None


def python_path(tree: Path | None) -> dict[str, str]:
    """Return the environment in which `python -P` runs the tree; None stands for the sources."""
    return {"PYTHONPATH": "" if tree is None else str(tree)}


def _require_compiler() -> None:
    if shutil.which(os.environ.get("CC", "gcc")) is None:
        raise CompilerMissing("No C compiler is on the PATH. Install one: apt-get install gcc")
    try:
        import mypyc  # noqa: F401 - asked for, not used here
    except ImportError as error:
        raise CompilerMissing("mypyc is missing. Install what requirements-dev.lock names.") from error


def _compile(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        source, target = Path(work) / "source", Path(work) / "target"
        for path in _sources():
            copy = source / path.relative_to(_ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
        subprocess.run(  # noqa: S603 - the command is ours
            [*pip, "--disable-pip-version-check", "--root-user-action=ignore", "--target", str(target), str(source)],
            check=True,
            env={**os.environ, "FRAUD_COMPILE": "1"},
            timeout=_COMPILE_TIMEOUT_S,
        )
        try:
            target.rename(folder)
        except OSError:
            if not folder.exists():
                raise
            return  # somebody else has compiled the same meanwhile


def _fingerprint() -> str:
    sha256 = hashlib.sha256(sys.version.encode())
    for path in _sources():
        sha256.update(str(path.relative_to(_ROOT)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return sha256.hexdigest()[:16]


def _sources() -> Iterator[Path]:
    yield from (_ROOT / name for name in _PLAIN)
    for package in _PACKAGES:
        found = (_ROOT / package).rglob("*")
        yield from sorted(path for path in found if path.is_file() and "__pycache__" not in path.parts)
