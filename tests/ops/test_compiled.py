"""The compiled hot path decides as the interpreted one does, to the byte (I3, ADR 0005)."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ops.compiled import compiled_tree

SCRIPT = Path(__file__).with_name("compiled_decisions.py")


def told(python_path: str) -> list[str]:
    command = [sys.executable, "-P", str(SCRIPT)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": python_path}
    )
    return done.stdout.split()


@pytest.mark.real
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("gcc") is None, reason="no C compiler")
def test_i3_compiled_and_interpreted_decisions_are_the_same_bytes() -> None:
    interpreted, compiled = told(""), told(str(compiled_tree(print)))
    assert ("py", "so") == (interpreted[0], compiled[0])
    assert int(interpreted[1]) > 1_900
    assert interpreted[1:] == compiled[1:]


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("another", 2)])
def test_the_script_says_what_it_is_before_it_decides_anything(argument: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-P", str(SCRIPT), argument], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert "usage: " in done.stdout + done.stderr
    assert not done.stdout.startswith(("py ", "so "))
