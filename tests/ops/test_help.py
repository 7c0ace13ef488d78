"""Every command that is built on argparse can print its help, whose texts argparse formats with the % operator."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ops.bench.__main__ import BENCHES

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "ops/bench/afterlife/crashing_executor.py": ["ops.bench.afterlife.crashing_executor"],
    "ops/bench/hostile/machine_pauses.py": ["ops.bench.hostile.machine_pauses"],
    "ops/bench/hostile/traffic.py": ["ops.bench.hostile.traffic"],
    "ops/bench/loss/crashing_worker.py": ["ops.bench.loss.crashing_worker"],
    "ops/bench/production/container.py": ["ops.bench.production.container"],
    "ops/bench/speed/bare_transport.py": ["ops.bench.speed.bare_transport"],
    "ops/bench/speed/flat_cases.py": ["ops.bench.speed.flat_cases"],
    "ops/bench/speed/latency.py": ["ops.bench.speed.latency"],
    "ops/bench/speed/plain_faust.py": ["ops.bench.speed.plain_faust"],
    "ops/bench/speed/trace_steps.py": ["ops.bench.speed.trace_steps"],
    "ops/drills/faulty_worker.py": ["ops.drills.faulty_worker"],
    "ops/processes/tied.py": ["ops.processes.tied"],
    "ops/stack/mock_broker.py": ["ops.stack.mock_broker"],
    "models/evaluate/__main__.py": ["models.evaluate"],
    "models/train/train.py": ["models.train.train"],
    "ops/access/catalogue.py": ["ops.access.catalogue"],
    "ops/bench/__main__.py": ["ops.bench"],
    "ops/bench/production/stage.py": ["ops.bench.production.stage"],
    "ops/bench/speed/escalations.py": ["ops.bench.speed.escalations"],
    "ops/bench/speed/handbook_features.py": ["ops.bench.speed.handbook_features"],
    "ops/bench/speed/turns.py": ["ops.bench.speed.turns"],
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


def test_no_module_that_can_be_started_is_left_out() -> None:
    """A module that begins its work when it is asked for its help is found by whoever looks what it is."""
    modules = [path for part in ("models", "ops", "pipeline", "schemas") for path in (ROOT / part).rglob("*.py")]
    started = {str(path.relative_to(ROOT)) for path in modules if _can_be_started(path)}
    by_others = {"ops/stack/embedded.py", "ops/stack/real.py"} - set(COMMANDS)  # by ops/stack/foreground.py's parser
    assert sorted(COMMANDS) == sorted(started - by_others - {"ops/cli.py", "ops/processes/arguments.py"})


@pytest.mark.parametrize(
    "module", ["ops.bench.speed.latency", "ops.bench.loss.crashing_worker", "ops.drills.faulty_worker"]
)
def test_arguments_that_are_none_end_in_usage(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "nonsense"], cwd=ROOT, capture_output=True, text=True, timeout=HELP_S_MAX
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
    assert "Traceback" not in done.stderr


def _can_be_started(path: Path) -> bool:
    text = path.read_text()
    return "ArgumentParser(" in text or '__name__ == "__main__"' in text or path.name == "__main__.py"


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
