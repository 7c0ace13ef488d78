"""Decisions a second on the real stack: the transport alone, the worker and a plain Faust agent, one after another.

Each reads the same payments from a topic of its own that was filled before. Some pass unmeasured. Then time and
committed records are counted until half of the topic is through, or for 40 s, together with the CPU time of the
process, of Redis and of the broker. All three run with the hot path compiled, as the container image has it, where a C
compiler is found; the worker also runs as plain Python. The Faust agent asks Redis through redis-py, and a second time
as the worker does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from ops.bench.rig.payments import payments
from ops.bench.rig.publisher import publish
from ops.bench.rig.services import worker_process
from ops.bench.rig.supervision import running
from ops.bench.rig.topics_io import committed_counts, prepare_topics
from ops.bench.rig.waiting import wait_until
from ops.compiled import compiled_tree_or_none, python_path
from ops.processes.servers import ServerProcess, process_cpu_seconds
from ops.stack.real import RealStack
from pipeline.domain.log import Header
from pipeline.io.avro.wire import WireFormat

SECONDS_MAX = 300
MEASURED_S_MAX = 40
ASK_EVERY_S = 1.0
"""Interval of questions for committed offsets. An answer costs the broker CPU, which counts as the measured case's."""


class Case(NamedTuple):
    name: str
    module: str | None  # None for the worker itself
    warm_records: int  # records that pass before the measurement starts
    records: int
    is_compiled: bool = True


PLAIN_FAUST = "ops.bench.speed.plain_faust"
WITH_WORKER_CLIENT = "plain_faust_worker_client"
"""Name of the case, and so of the consumer group, in which the plain agent asks Redis as the worker does."""
WORKER = Case("worker", None, 40_000, 400_000)
TRANSPORT = Case("transport", "ops.bench.speed.bare_transport", 60_000, 800_000)
CASES = (
    # It comes first, so that the broker is warm by the others; until then it takes twice as much of the two cores.
    Case("worker_interpreted", None, 40_000, 200_000, is_compiled=False),
    TRANSPORT,
    WORKER,
    Case("plain_faust", PLAIN_FAUST, 300, 20_000),
    Case(WITH_WORKER_CLIENT, PLAIN_FAUST, 300, 20_000),
)


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    results: dict[str, dict[str, float]] = {}
    tree = compiled_tree_or_none(say)
    with RealStack(folder / "stack") as stack:
        for case in CASES:
            records = case.records // 5 if is_quick else case.records
            case_tree = tree if case.is_compiled else None
            results[case.name] = measured(say, folder, stack, case._replace(records=records), case_tree)
            say(f"{case.name}: {results[case.name]}")
    worker, faust, bare = (results[name]["decisions_per_s"] for name in ("worker", "plain_faust", "transport"))
    ratios = {"worker_to_plain_faust": round(worker / faust, 1), "worker_to_transport": round(worker / bare, 3)}
    goal = {
        "worker_to_plain_faust_min": 25,
        "worker_to_transport_min": 0.4,
        "worker_cpu_us_max": 60,
        "redis_cpu_us_max": 40,
    }
    is_reached = (
        ratios["worker_to_plain_faust"] >= goal["worker_to_plain_faust_min"]
        and ratios["worker_to_transport"] >= goal["worker_to_transport_min"]
        and results["worker"]["process_cpu_us"] <= goal["worker_cpu_us_max"]
        and results["worker"]["redis_cpu_us"] <= goal["redis_cpu_us_max"]
    )
    return {"compiled": tree is not None, **results, **ratios, "goal": goal, "reached": is_reached}


def measured(
    say: Callable[[str], None],
    directory: Path,
    stack: RealStack,
    case: Case,
    tree: Path | None,
    *,
    environment: Mapping[str, str] = MappingProxyType({}),
    headers: list[Header] | None = None,
) -> dict[str, float]:
    """Publish, have the case decide, and return its figures. headers: of each payment; environment: of the process."""
    prefix, records = f"{case.name}.", case.records
    prepare_topics(stack.bootstrap_servers, prefix)
    wire = WireFormat()
    say(f"{case.name}: publishing {records:,} payments")
    paid = (payment._replace(headers=headers) for payment in payments(wire, records))
    publish(stack.bootstrap_servers, f"{prefix}transactions.v1", paid)
    process = case_process(directory, stack, case, tree, environment)
    group = f"{case.name}-plain" if case.module == PLAIN_FAUST else case.name

    def committed() -> int:
        return committed_counts(stack.bootstrap_servers, group, f"{prefix}transactions.v1")

    with running(process):
        wait_until(lambda: committed() >= min(case.warm_records, records // 5), SECONDS_MAX, "warming up")
        pids = {"process": process.pid, "redis": stack.redis.pid, "broker": stack.broker.pid}
        first, started = committed(), time.monotonic()
        before = {name: process_cpu_seconds(pid) for name, pid in pids.items()}
        ends = started + MEASURED_S_MAX
        wait_until(
            # A consumer that commits in long strides may have passed half of the records when the measuring begins.
            lambda: committed() >= max(records // 2, first + 1) or time.monotonic() > ends,
            SECONDS_MAX,
            case.name,
            every_s=ASK_EVERY_S,
        )
        now = committed()
        if now == first:
            raise RuntimeError(f"{case.name}: nothing was committed in {MEASURED_S_MAX:.0f} s")
        if now >= records:
            raise RuntimeError(f"{case.name}: {records:,} records are too few, the topic ended while it was measured")
        seconds, done = time.monotonic() - started, now - first
        spent = {name: process_cpu_seconds(pid) - before[name] for name, pid in pids.items()}
    cpu = {f"{name}_cpu_us": round(value / done * 1e6, 1) for name, value in spent.items()}
    return {"decisions_per_s": round(done / seconds), "measured": done, **cpu}


def case_process(
    directory: Path,
    stack: RealStack,
    case: Case,
    tree: Path | None,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> ServerProcess:
    """Make the process of a case, not started yet; its topics have the case's name and a dot in front."""
    environment = {
        "FRAUD_TOPIC_PREFIX": f"{case.name}.",
        "FRAUD_STATE_PREFIX": case.name,
        "FRAUD_CONSUMER_GROUP": case.name,
        **python_path(tree),
        **settings,
    }
    command = ("ops.cli", "worker", "run") if case.module is None else (case.module,)
    return worker_process(
        directory,
        stack.bootstrap_servers,
        stack.redis_url,
        name=case.name,
        command=command,
        page=None if case.module == TRANSPORT.module else "/live",
        environment=environment,
    )
