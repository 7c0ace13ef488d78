"""From a fresh clone to a running pipeline: `python3 dev.py demo`, or `python3 dev.py test`, on Python 3.11 to 3.14.

Makes .venv, installs the locked dependencies with their hashes checked, and runs `fraud demo` or the tests; further
arguments are passed on. A second run installs nothing unless a lock file changed, or another Python runs it: then .venv
is made anew. Standard library only, and no syntax newer than Python 3.8, so that an older one can say what is needed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
VENV = HERE / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
STAMP = VENV / "installed.json"
PYTHONS = ((3, 11), (3, 12), (3, 13), (3, 14))
LOCK_OF = {"demo": "requirements-demo.lock", "test": "requirements-dev.lock"}
# The whole run; a few tests end sooner in one process. A worker that died is not replaced: xdist would wait for ever.
IN_PARALLEL = ["-n", "auto", "--dist", "loadfile", "--max-worker-restart", "0"]
INSTALLER_LOCK = "requirements-uv.lock"
USAGE = "usage: python3 dev.py demo|test [arguments of `fraud demo` or of pytest]"
PIP_TO_UV = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in LOCK_OF:
        return fail(USAGE)
    task, arguments = sys.argv[1], sys.argv[2:]
    if sys.version_info[:2] not in PYTHONS:
        return fail(other_python_needed(task))
    try:
        make_ready(LOCK_OF[task])
    except subprocess.CalledProcessError as failure:
        return fail(
            f"Installing failed (exit {failure.returncode}). What pip said stands above; is the index in reach?"
        )
    except MissingVenv as missing:
        return fail(str(missing))
    command = [str(BIN / "fraud"), "demo"] if task == "demo" else [str(BIN / "python"), "-m", "pytest"]
    if task == "test" and not arguments:
        arguments = IN_PARALLEL
    try:
        return subprocess.call([*command, *arguments], cwd=HERE)  # noqa: S603 - the command is ours
    except KeyboardInterrupt:
        return 130


def other_python_needed(task: str) -> str:
    """The sentence for whoever runs this with a Python that won't do; it names one that is here and will."""
    needed = f"Python {dotted(PYTHONS[0])} to {dotted(PYTHONS[-1])} is needed, and this is {dotted(sys.version_info)}."
    for version in reversed(PYTHONS):
        if shutil.which(f"python{dotted(version)}"):
            return f"{needed} Run `python{dotted(version)} dev.py {task}`."
    return f"{needed} Install one, and run this with it."


def dotted(version: tuple[int, ...]) -> str:
    """Major and minor, as in 3.11."""
    return ".".join(map(str, version[:2]))


class MissingVenv(Exception):
    """The standard library is without venv: a split package."""


def make_ready(lock: str) -> None:
    """Installs what `lock` names, and the project itself, unless that stands already."""
    wanted = fingerprint(lock)
    if installed().get(lock) == wanted:
        return
    started = time.monotonic()
    say(f"installing {lock} into .venv")
    make_venv()
    install(lock)
    STAMP.write_text(json.dumps({**installed(), lock: wanted}))
    say(f"installed in {time.monotonic() - started:.0f} s")


def fingerprint(lock: str) -> str:
    """The fingerprint of everything that decides what gets installed: a change of any of it installs again."""
    parts = [(HERE / name).read_bytes() for name in (lock, INSTALLER_LOCK, "pyproject.toml")]
    return hashlib.sha256(b"\0".join([*parts, str(HERE).encode(), sys.version.encode()])).hexdigest()


def installed() -> dict[str, str]:
    try:
        stamp: dict[str, str] = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp


def make_venv() -> None:
    """Makes .venv where there is none, or makes it anew where another Python made it: what is installed in it would be
    of no use to this one, or would run the tests on a Python that nobody asked for."""
    made_by = venv_python()
    if made_by == dotted(sys.version_info) and (BIN / "python").exists():
        return
    if made_by is not None:
        say(f"making .venv anew: Python {made_by} made it, and this is {dotted(sys.version_info)}")
    try:
        import ensurepip  # noqa: F401 - Debian and Ubuntu leave it out, and venv fails on it half-way
        import venv
    except ImportError as error:
        package = f"python{dotted(sys.version_info)}-venv"
        raise MissingVenv(f"Python's {error.name} is missing. Install it: apt-get install {package}") from error
    venv.create(VENV, with_pip=True, clear=True)


def venv_python() -> str | None:
    """Major and minor of the Python that made .venv; None where there is no .venv, or none that says so."""
    try:
        settings = (VENV / "pyvenv.cfg").read_text()
    except OSError:
        return None
    found = re.search(r"^version(?:_info)? *= *(\d+\.\d+)", settings, re.MULTILINE)
    return found[1] if found else None


def install(lock: str) -> None:
    """With uv, itself installed by its hash: 4 s where pip takes 28. With pip where uv can't, say behind a proxy."""
    python = str(BIN / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    locked = ["--require-hashes", "-r", str(HERE / lock)]
    project = ["--no-deps", "-e", str(HERE)]
    try:
        call([*pip, "--require-hashes", "-r", str(HERE / INSTALLER_LOCK)], None)
        uv = [str(BIN / "uv"), "pip", "install", "--quiet", "--python", python]
        environment = uv_environment(python)
        call([*uv, *locked], environment)
        call([*uv, *project], environment)
    except (subprocess.CalledProcessError, OSError) as failure:
        say(f"uv could not install ({failure}); trying pip, which takes half a minute longer")
        call([*pip, *locked], None)
        call([*pip, *project], None)


def call(command: list[str], environment: dict[str, str] | None) -> None:
    subprocess.check_call(command, env=environment)  # noqa: S603 - the commands are ours


def uv_environment(python: str) -> dict[str, str]:
    """uv doesn't read pip's configuration, where a company's index stands: it is told in uv's own variables."""
    command = [python, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - it is ours
    environment = dict(os.environ)
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        variable = PIP_TO_UV.get(name.rpartition(".")[2])
        if variable is not None:
            environment.setdefault(variable, value.strip("'\""))
    return environment


def say(sentence: str) -> None:
    print(f"dev.py: {sentence}", file=sys.stderr, flush=True)


def fail(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
