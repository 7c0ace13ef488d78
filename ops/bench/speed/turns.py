"""A bench of another checkout and of this one, in turns on one machine, and how their figures differ.

`python -m ops.bench.speed.turns CHECKOUT NAME [--rounds N] [--quick]` runs `python -m ops.bench NAME` in that checkout
and in this one, one after the other, N times. It ends stdout with one JSON object: for each figure that both print,
what each run of either gave, and by how many percent this checkout's median is above the other's. Runs of one kind
show how noisy the machine is, so read a difference beside them. The other checkout needs an environment of its own, as
`python3 dev.py test --version` makes it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from ops.bench.rig.commands import completed, with_settings

BENCH_S_MAX: Final = 3_600
ROUNDS: Final = 3
HERE: Final = Path(__file__).resolve().parents[3]


class Side(NamedTuple):
    """A checkout, and the Python that runs what is in it."""

    name: str
    folder: Path
    python: Path


class BenchFailed(Exception):
    """A bench ended without figures."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m ops.bench.speed.turns", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkout", type=Path, help="the other checkout, with an environment in its .venv")
    parser.add_argument("name", help="the bench, as `python -m ops.bench` knows it")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"runs of each checkout ({ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="run the bench's small form")
    chosen = parser.parse_args(arguments)
    other = chosen.checkout.resolve()
    python = other / ".venv" / "bin" / "python"
    if not python.exists():
        parser.error(f"{other} has no environment; make one by `python3 dev.py test --version` there")
    if chosen.rounds < 1:
        parser.error("there must be at least one round")
    sides = (Side("before", other, python), Side("after", HERE, Path(sys.executable)))
    try:
        runs = in_turns(sides, chosen.name, chosen.rounds, is_quick=chosen.quick)
    except BenchFailed as failed:
        print(failed, file=sys.stderr)
        return 1
    print(json.dumps({"bench": chosen.name, "rounds": chosen.rounds, "figures": compared(*runs)}, indent=2))
    return 0


def in_turns(
    sides: tuple[Side, Side], name: str, rounds: int, *, is_quick: bool
) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
    """Return the figures of each run, by side. Raises BenchFailed."""
    runs: tuple[list[dict[str, float]], list[dict[str, float]]] = ([], [])
    for number in range(1, rounds + 1):
        for side, its_runs in zip(sides, runs, strict=True):
            print(f"round {number} of {rounds}: {name} of {side.name}, {side.folder}", file=sys.stderr, flush=True)
            its_runs.append(figures_of(_document(side, name, is_quick=is_quick)))
    return runs


def compared(before: Sequence[Mapping[str, float]], after: Sequence[Mapping[str, float]]) -> dict[str, dict[str, Any]]:
    """Compare the figures that every run of both sides has; a change from nothing has no percentage."""
    both = [name for name in before[0] if all(name in run for run in (*before, *after))]
    return {name: _compared([run[name] for run in before], [run[name] for run in after]) for name in both}


def figures_of(document: Any, name: str = "") -> dict[str, float]:
    """Return the numbers of a JSON document, each by its path; yes and no are no numbers."""
    if isinstance(document, Mapping):
        parts: list[tuple[str, Any]] = list(document.items())
    elif isinstance(document, list):
        parts = [(str(place), part) for place, part in enumerate(document)]
    else:
        is_number = isinstance(document, int | float) and not isinstance(document, bool)
        return {name: document} if is_number else {}
    figures: dict[str, float] = {}
    for part_name, part in parts:
        figures |= figures_of(part, f"{name}.{part_name}" if name else part_name)
    return figures


def _compared(before: list[float], after: list[float]) -> dict[str, Any]:
    base = statistics.median(before)
    change = None if not base else round((statistics.median(after) / base - 1) * 100, 1)
    return {"before": before, "after": after, "change_percent": change}


def _document(side: Side, name: str, *, is_quick: bool) -> Any:
    """Run the bench once; one that missed its goal ends with 1 and has figures all the same."""
    command = [str(side.python), "-P", "-m", "ops.bench", name, *(["--quick"] if is_quick else [])]
    # Each side imports what stands in its own folder, whatever this process was told to import.
    environment = with_settings({"PYTHONPATH": str(side.folder)})
    log = HERE / "var" / "bench" / "turns.log"
    done = completed(command, log, timeout_s=BENCH_S_MAX, environment=environment, folder=side.folder)
    try:
        document = json.loads(done.stdout[done.stdout.index("{") :])
    except ValueError:
        raise BenchFailed(f"{name} of {side.folder} ended with {done.returncode} without figures: {log}") from None
    if "error" in document:  # of what broke off, some figures are there and the rest are not
        raise BenchFailed(f"{name} of {side.folder} broke off: {document['error']}")
    return document


if __name__ == "__main__":
    sys.exit(main())
