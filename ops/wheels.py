"""Check that the lock files install from wheels alone wherever the project promises to run: `python -m ops.wheels`.

A package without a wheel would ask a newcomer for a compiler, and the first command would fail on his machine and on
nobody else's. uv resolves for interpreters and platforms that aren't here; nothing is installed or downloaded but
the packages' own descriptions. What is built from source all the same stands in FROM_SOURCE, with the reason, and the
check fails when it has become untrue.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
LOCKS: Final = ("requirements.lock", "requirements-demo.lock", "requirements-dev.lock")
PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
LINUX_ARM: Final = "aarch64-manylinux_2_28"
# glibc 2.28 is that of Debian 10, Ubuntu 20.04 and Red Hat 8.
PLATFORMS: Final = ("x86_64-manylinux_2_28", LINUX_ARM, "aarch64-apple-darwin", "x86_64-apple-darwin")
MACOS_VERSION: Final = "13.0"
RESOLVE_TIMEOUT_S: Final = 120

FROM_SOURCE: Final[Mapping[str, str]] = MappingProxyType({LINUX_ARM: "faust-streaming"})
"""By platform. faust-streaming publishes no wheel for Linux on ARM. Its build tries to compile four modules and goes
on in plain Python without a compiler (6 s); its hot loops are not those of our worker (ADR 0001)."""


class Target(NamedTuple):
    """A machine that the project promises to run on."""

    python: str
    platform: str


def main() -> int:
    argparse.ArgumentParser(prog="python -m ops.wheels", description=(__doc__ or "").partition(":")[0]).parse_args()
    uv = Path(sys.executable).with_name("uv")
    if not uv.exists():
        print(f"uv is missing beside {sys.executable}: `python3 dev.py test` installs it.", file=sys.stderr)
        return 2
    wanted = [(lock, Target(*pair)) for lock in LOCKS for pair in product(PYTHONS, PLATFORMS)]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        faults = list(threads.map(lambda each: wheels_fault(uv, ROOT / each[0], each[1]), wanted))
    for (lock, target), fault in zip(wanted, faults, strict=True):
        if fault is not None:
            print(f"{lock}, Python {target.python}, {target.platform}: {fault}")
    if any(faults):
        return 1
    print(f"{', '.join(LOCKS)}: wheels alone for Python {', '.join(PYTHONS)} on {', '.join(PLATFORMS)}")
    for platform, package in FROM_SOURCE.items():
        print(f"built from source, as it must be: {package} on {platform}")
    return 0


def wheels_fault(uv: Path, lock: Path, target: Target) -> str | None:
    """The reason, in uv's words, why the lock file can't be installed there from wheels; None where it can."""
    refusal = resolution_refusal(uv, lock, target)
    excepted = FROM_SOURCE.get(target.platform)
    if excepted is None:
        return refusal
    if refusal is None:
        return f"{excepted} has a wheel by now: take it out of FROM_SOURCE"
    return resolution_refusal(uv, lock, target, from_source=excepted)


def resolution_refusal(uv: Path, lock: Path, target: Target, *, from_source: str | None = None) -> str | None:
    """uv's last words where the lock file, every hash checked, can't be installed from wheels but for from_source."""
    command = [str(uv), "pip", "install", "--dry-run", "--require-hashes", "--only-binary", ":all:"]
    if from_source is not None:
        command += ["--no-binary", from_source]
    command += ["--python-version", target.python, "--python-platform", target.platform]
    # A folder that isn't there: what is installed here has no say in what is missing there.
    command += ["--target", str(ROOT / "var" / "wheels"), "--requirement", str(lock)]
    done = subprocess.run(  # noqa: S603 - the command is ours
        command,
        capture_output=True,
        text=True,
        timeout=RESOLVE_TIMEOUT_S,
        env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": MACOS_VERSION},
    )
    return None if done.returncode == 0 else " ".join(done.stderr.split())


if __name__ == "__main__":
    sys.exit(main())
