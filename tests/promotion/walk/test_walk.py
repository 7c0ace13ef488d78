"""A version's way to the gate, as docs/models.md has it: every command in its order, on servers, and a day that passes.

A gate that asks for a day in the shadow can't be walked in a test by the clock that there is. So every process is given
one that a file moves (moved_clock.c); all else is what a person has.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WALK_S = 1_500
PAGE_BYTES = 4_096


@pytest.mark.nightly
@pytest.mark.timeout(WALK_S + 60)
@pytest.mark.skipif(shutil.which("gcc") is None or sys.platform != "linux", reason="the clock is moved by C, on Linux")
def test_a_version_is_trained_signed_tried_reviewed_and_checked_by_commands_alone(
    tmp_path: Path,
) -> None:
    library, moved = tmp_path / "moved_clock.so", tmp_path / "moved"
    source = Path(__file__).with_name("moved_clock.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"], check=True, timeout=60)
    moved.write_bytes(bytes(PAGE_BYTES))
    folder = tmp_path / "bank"
    folder.mkdir()
    unset = {name: value for name, value in os.environ.items() if not name.startswith("FRAUD_")}
    environment = {**unset, "LD_PRELOAD": str(library), "MOVED_CLOCK_FILE": str(moved), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.promotion.walk.walking", str(folder)]
    walked = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=WALK_S, check=False
    )
    assert walked.returncode == 0, (walked.stdout + walked.stderr)[-8_000:]
