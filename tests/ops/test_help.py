"""Every command that is built on argparse can print its help, whose texts argparse formats with the % operator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ops.bench.__main__ import BENCHES

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "models/evaluate/__main__.py": ["models.evaluate"],
    "models/train/train.py": ["models.train.train"],
    "ops/access/catalogue.py": ["ops.access.catalogue"],
    "ops/bench/__main__.py": ["ops.bench"],
    "ops/bench/production/stage.py": ["ops.bench.production.stage"],
    "ops/bench/speed/escalations.py": ["ops.bench.speed.escalations"],
    "ops/bench/speed/handbook_features.py": ["ops.bench.speed.handbook_features"],
    "ops/monitoring/__main__.py": ["ops.monitoring"],
    "ops/rail/__main__.py": ["ops.rail"],
    "ops/release/promise.py": ["ops.release.promise"],
    "ops/stack/foreground.py": ["ops.stack.embedded", "ops.stack.real"],
    "ops/structure/__main__.py": ["ops.structure"],
    "ops/verifier/__main__.py": ["ops.verifier", "ops.verifier log", "ops.verifier proof"],
    "ops/wheels.py": ["ops.wheels"],
}
"""The commands of each module that makes a parser: the name of a module, then maybe that of a task."""
HELP_S_MAX = 300
"""Time limit of one command. Some import what models are trained with, which takes a minute on a busy machine."""


@pytest.mark.parametrize("command", [command for commands in COMMANDS.values() for command in commands])
def test_a_command_prints_its_help(command: str) -> None:
    assert help_of(command).startswith("usage: ")


def test_no_module_that_makes_a_parser_is_left_out() -> None:
    modules = [path for part in ("models", "ops", "pipeline", "schemas") for path in (ROOT / part).rglob("*.py")]
    making = {str(path.relative_to(ROOT)) for path in modules if "ArgumentParser(" in path.read_text()}
    assert sorted(COMMANDS) == sorted(making)


def test_the_help_of_the_benches_says_of_each_what_it_does() -> None:
    told = "".join(help_of("ops.bench").split())
    assert [name for name, bench in BENCHES.items() if "".join(f"{name}: {bench.what}".split()) not in told] == []


def help_of(command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command.split(), "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=HELP_S_MAX,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
