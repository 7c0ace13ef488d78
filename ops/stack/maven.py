"""Files that Maven resolves once from a pom.xml of ours, and that the user's cache keeps."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

RESOLVE_TIMEOUT_S = 600
OUTPUT_TAIL_CHARACTERS = 1_000


class MavenFailed(Exception):
    """Maven is missing, or could not resolve the files that it was asked for."""


def kept(name: str, pom: Path, goal: Sequence[str], unpack: Callable[[Path], None] = lambda _: None) -> Path:
    """Return the folder of the files that `goal` puts into its outputDirectory, as `unpack` then changes them.

    A folder in the cache is complete, because it is filled under another name and moved there in one step. Its name
    ends with a hash of the pom. Raises MavenFailed.
    """
    folder = cache() / f"{name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:12]}"
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        filling = Path(temporary) / "filling"
        _run(pom, [*goal, f"-DoutputDirectory={filling}"])
        unpack(filling)
        if not folder.is_dir():  # another process may have been faster
            filling.rename(folder)
    return folder


def cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fraud-pipeline"


def _run(pom: Path, goal: Sequence[str]) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise MavenFailed("mvn is not on the PATH. Install it: apt-get install maven")
    try:
        subprocess.run(  # noqa: S603 - the command is ours
            [maven, "-B", "-q", "-f", str(pom), *goal],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=RESOLVE_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as failure:
        raise MavenFailed(f"Maven did not resolve {pom.parent.name} within {RESOLVE_TIMEOUT_S} s.") from failure
    except subprocess.CalledProcessError as failure:
        tail = failure.stdout[-OUTPUT_TAIL_CHARACTERS:]
        raise MavenFailed(f"Maven could not resolve {pom.parent.name}:\n{tail}") from failure
