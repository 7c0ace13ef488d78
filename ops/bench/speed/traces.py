"""The cost of traces: the worker on the real stack, with and without them, in turns on the same payments.

A turn is four runs. The payments of two bear no header, and those of the other two a `traceparent` that asks for
nothing, as where publishers trace. Of each pair one traces, with the settings' defaults and a collector that takes
everything, and one does not. What counts is the CPU of the worker's process a decision, since the machine's two cores
are shared with broker, Redis and the collector; throughput stands beside it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from ops.bench.rig.collector import Collector, running_collector
from ops.bench.rig.commands import completed, with_settings
from ops.bench.speed.throughput import WORKER, Case, measured
from ops.compiled import compiled_tree_or_none, python_path
from ops.stack.real import RealStack
from pipeline.domain.log import TRACE_HEADER, Header
from pipeline.traces.context import TraceContext

TURNS: Final = 4
QUICK_TURNS: Final = 2
RECORDS: Final = 200_000
WARM_RECORDS: Final = 20_000
COST_PERCENT_MAX: Final = 3.0
STEPS_S_MAX: Final = 300
QUIET: Final = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", False)


class Kind(NamedTuple):
    name: str
    is_traced: bool
    headers: list[Header] | None


KINDS: Final = (
    Kind("plain_off", False, None),
    Kind("plain_on", True, None),
    Kind("carried_off", False, [(TRACE_HEADER, QUIET.header)]),
    Kind("carried_on", True, [(TRACE_HEADER, QUIET.header)]),
)


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    turns, records = (QUICK_TURNS, RECORDS // 4) if is_quick else (TURNS, RECORDS)
    found: dict[str, list[dict[str, float]]] = {kind.name: [] for kind in KINDS}
    tree = compiled_tree_or_none(say)
    with running_collector() as collector, RealStack(folder / "stack") as stack:
        for turn in range(turns):
            for kind in KINDS if turn % 2 else KINDS[::-1]:  # so that none always comes first
                case = Case(f"{kind.name}_{turn}", WORKER.module, min(WARM_RECORDS, records // 5), records)
                environment = _environment(collector) if kind.is_traced else {}
                result = measured(say, folder, stack, case, tree, environment=environment, headers=kind.headers)
                found[kind.name].append(result)
                say(f"{case.name}: {result}")
        spans, requests = len(collector.spans), collector.requests
        steps = _steps(folder, stack, collector, tree)
    costs = {kind: _cost(found, kind) for kind in ("plain", "carried")}
    alone_us = _medians(found["plain_off"])["process_cpu_us"]
    added = {kind: round(100 * sum(each.values()) / alone_us, 2) for kind, each in steps.items()}
    return {
        "compiled": tree is not None,
        "turns": turns,
        **{name: _medians(results) for name, results in found.items()},
        **{f"{kind}_cost": cost for kind, cost in costs.items()},
        "spans_received": spans,
        "requests_received": requests,
        "added_us": steps,
        "added_percent": added,
        "goal": {"added_percent_max": COST_PERCENT_MAX},
        "reached": added["plain"] <= COST_PERCENT_MAX,
        "ok": spans > 0,
    }


def _steps(folder: Path, stack: RealStack, collector: Collector, tree: Path | None) -> dict[str, dict[str, float]]:
    """Take the steps on the topics of the first turn, by kind of payments."""
    topics = {kind: f"{kind}_off_0." for kind in ("plain", "carried")}
    module = ("ops.bench.speed.trace_steps", stack.bootstrap_servers, collector.address, *topics.values())
    command, environment = [sys.executable, "-P", "-m", *module], with_settings(python_path(tree))
    done = completed(command, folder / "steps.log", timeout_s=STEPS_S_MAX, environment=environment)
    if done.returncode:
        raise RuntimeError(f"taking the steps ended with {done.returncode}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {kind: found[topic] for kind, topic in topics.items()}


def _environment(collector: Collector) -> dict[str, str]:
    return {"FRAUD_OTLP_ENDPOINT": collector.address}


def _medians(results: list[dict[str, float]]) -> dict[str, float]:
    return {name: median(result[name] for result in results) for name in ("decisions_per_s", "process_cpu_us")}


def _cost(found: dict[str, list[dict[str, float]]], kind: str) -> dict[str, float]:
    """Compare turn by turn, since the machine's speed drifts from one to the next."""
    pairs = list(zip(found[f"{kind}_off"], found[f"{kind}_on"], strict=True))
    cpu = median(on["process_cpu_us"] / off["process_cpu_us"] for off, on in pairs)
    speed = median(on["decisions_per_s"] / off["decisions_per_s"] for off, on in pairs)
    return {"cpu_percent": round(100 * (cpu - 1), 1), "throughput_percent": round(100 * (1 - speed), 1)}
