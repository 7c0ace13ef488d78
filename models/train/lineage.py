"""What an artefact was made by: the revision of the code, the code itself, and the libraries."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as library_version
from pathlib import Path
from typing import Final

from models.artefact.strict import Json

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = "fraud-decision-pipeline"
GIT_S_MAX: Final = 20.0
"""Most seconds for git to look at the tree; without an answer the revision isn't known, and that is told."""
UNKNOWN_REVISION: Final = "unknown"
LIBRARIES: Final = ("interpret-core", "numpy", "scikit-learn", "scipy")
SOURCES: Final = (
    "models/artefact", "models/card", "models/simulator", "models/train", "pipeline/decide", "pipeline/domain",
    "pipeline/publish", "pipeline/state",
)  # fmt: skip
"""What features, labels and tables are made by."""
SUFFIXES: Final = frozenset({".py", ".sql", ".toml", ".json"})


def code() -> dict[str, Json]:
    """Return the revision by git, whether the tree differs from it, the package's version, and a hash of the sources.

    Where there is no git or no checkout the revision is UNKNOWN_REVISION, and the other two stand for it.
    """
    revision = _git("rev-parse", "HEAD")
    changed = _git("status", "--porcelain", "--", *SOURCES) if revision else None
    return {
        "revision": revision or UNKNOWN_REVISION,
        "is_changed_since": bool(changed) if changed is not None else None,
        "version": _package_version(),
        "sources_sha256": sources_sha256(),
    }


def libraries() -> dict[str, Json]:
    return {**{name: library_version(name) for name in LIBRARIES}, "python": platform.python_version()}


def sources_sha256(root: Path = ROOT) -> str:
    digest = hashlib.sha256()
    for path in _sources(root):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    for folder in SOURCES:
        yield from sorted(path for path in (root / folder).rglob("*") if path.suffix in SUFFIXES and path.is_file())


def _git(*words: str) -> str | None:
    command = ["git", "-C", str(ROOT), *words]
    try:
        answer = subprocess.run(command, capture_output=True, timeout=GIT_S_MAX, check=False, text=True)  # noqa: S603 - the command is ours
    except (OSError, subprocess.TimeoutExpired):
        return None
    is_ours = (ROOT / ".git").exists()  # else git would answer for a checkout that the package is installed within
    return answer.stdout.strip() if is_ours and answer.returncode == 0 else None


def _package_version() -> str:
    try:
        return library_version(PACKAGE)
    except PackageNotFoundError:
        return UNKNOWN_REVISION
