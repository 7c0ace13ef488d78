"""Payments made to hurt, on the real stack, beside ordinary ones.

Each attack of ops.bench.hostile.attacks has topics, a worker and an empty Redis of its own. It is offered at up to
`rate` payments a second beside `ordinary_rate` ordinary payments a second, whose latency counts from when each should
have been sent until its committed decision can be read. Scripts are judged by Redis' own SLOWLOG. A worker that ends is
started again, and counted; an attack that nothing commits any more is stuck, and the next one begins.

A burst comes in two ways. At `rate`, its payments have one event time, and ordinary payments are judged beside it as
beside every attack. At once, it is written as fast as the broker takes it, onto the partitions that ordinary payments
use too; they queue behind it, and how long they do follows from the burst's size. So their latency is shown and not
judged then, and the rate at which all of it is drained is compared with that of as many ordinary payments, at once too.

What Redis holds is told before, at its most, after, and after the expiry of every key that expires. That is brought
about by deleting those keys, because no clock of Redis can be moved; keys without an expiry stay. Three kinds of them
do by design and are told apart: the buckets of ids, whose size is bounded together; what accounts ever paid; and the
answers about payments whose commit no later call has told Redis of, which at rest are those of the last batches.

SLOWLOG's times hold whatever else the core did meanwhile. So a process that does nothing but look at the clock runs
beside each attack, and its pauses say how much of a script's time may be the machine's.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import redis
from confluent_kafka import Consumer, TopicPartition

from ops.bench.hostile.attacks import ATTACKS, ORDINARY_BURST, QUICK, Sizes, phases_of
from ops.bench.hostile.machine_pauses import MachinePauses
from ops.bench.hostile.redis_watch import RedisWatch
from ops.bench.rig.services import worker_process
from ops.bench.rig.supervision import Supervisor, running
from ops.bench.rig.topics_io import REQUEST_TIMEOUT_S, committed_counts, partitions_of, prepare_topics
from ops.compiled import compiled_tree_or_none, python_path
from ops.processes.servers import ServerProcess
from ops.stack.real import RealStack
from pipeline.io.kafka.transaction_log import BATCHES_AHEAD_MAX
from pipeline.io.settings import Settings
from pipeline.state.requests import ACCOUNT_ROW_LENGTH, SHARED_ROW_LENGTH

PARTITIONS: Final = 4
BATCH_RECORDS_MAX: Final = Settings.model_fields["batch_records_max"].default
WARM_S: Final = 20.0
REST_S: Final = 5.0
"""Shortest time of a phase, so that ordinary payments show what the next batches wait for."""
QUICK_WARM_S: Final = 4.0
QUICK_REST_S: Final = 1.5
STUCK_S: Final = 90.0
QUICK_STUCK_S: Final = 120.0
"""Longest time without a commit while records wait."""
POLL_S: Final = 0.5
RESTARTS_MAX: Final = 1_000
ENDING_S: Final = 300.0
LAG_S: Final = 1
"""Seconds of what is offered that must wait at both ends of a stretch that counts as draining: where less does, the
offer limits what is committed, and not the worker."""
GOAL: Final = {"script_p99.9_ms": 10, "script_longest_ms": 50, "ordinary_p99_ms": 150, "drain_of_ordinary": 0.7}
MEMORY_LEFT_MAX: Final = 256 * 1024
"""Bytes that may be left after expiry beside what is told apart: positions, the breaker's totals, and scripts."""
BATCHES_HELD_MAX: Final = BATCHES_AHEAD_MAX + 1
"""Batches of a partition whose answers are held: those under way, and the one that was committed as the last was asked
for."""
ID_BYTES_MAX: Final = 64
IDS_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes that the buckets of ids may hold for each payment, and for themselves. Old ids go as new ones come, so those of
the largest week stay where nothing follows it."""
ANSWERS_BYTES_MAX: Final = (
    PARTITIONS * BATCHES_HELD_MAX * BATCH_RECORDS_MAX * 8 * (ACCOUNT_ROW_LENGTH + SHARED_ROW_LENGTH)
)
"""Bytes of answers about all partitions' held batches, were each as large as may be and of one partition."""

Figures = dict[str, Any]


def run(
    say: Callable[[str], None], folder: Path, *, is_quick: bool, sizes: Mapping[str, int] = MappingProxyType({})
) -> dict[str, object]:
    chosen = (QUICK if is_quick else Sizes()).changed(dict(sizes))
    tree = compiled_tree_or_none(say)
    figures: dict[str, Figures] = {}
    with RealStack(folder / "stack") as stack:
        for name in ATTACKS:
            figures[name] = _Attack(say, folder, stack, name, chosen, python_path(tree), is_quick).carry_out()
            say(f"{name}: {figures[name]}")
    peaceful = figures[ORDINARY_BURST]["drained_per_s"]
    faults = {name: faults for name, each in figures.items() if (faults := _faults(each, peaceful, is_quick))}
    return {
        "ok": not faults,
        "compiled": tree is not None,
        "sizes": asdict(chosen),
        "attacks": figures,
        "goal": GOAL,
        "faults": faults,
    }


def _faults(figures: Figures, peaceful_per_s: float | None, is_quick: bool) -> list[str]:
    """Return what falls short. A quick run's times and shares say nothing: few payments pass, beside a cold broker."""
    faults = []
    if figures["is_stuck"]:
        faults.append(f"stuck with {figures['left']:,} records left")
    if figures["restarts"]:
        faults.append(f"{figures['restarts']} restarts")
    scripts, ordinary, memory = figures["scripts"], figures["ordinary_ms"], figures["redis_bytes"]
    if ordinary["measured"] != figures["ordinary"] or ordinary["again"]:
        faults.append(
            f"of {figures['ordinary']:,} ordinary payments {ordinary['measured']:,} were decided,"
            f" {ordinary['again']:,} again"
        )
    if is_quick:
        return faults
    if scripts["p99.9_ms"] > GOAL["script_p99.9_ms"]:
        faults.append(f"scripts: the 99.9th percentile is {scripts['p99.9_ms']} ms")
    if scripts["longest_ms"] > GOAL["script_longest_ms"]:
        faults.append(f"scripts: the longest took {scripts['longest_ms']} ms")
    if not figures["is_at_once"] and (not ordinary["measured"] or ordinary["p99"] > GOAL["ordinary_p99_ms"]):
        faults.append(f"ordinary payments: p99 is {ordinary.get('p99', 'unknown')} ms")
    drained = figures["drained_per_s"]
    if drained and peaceful_per_s and drained < GOAL["drain_of_ordinary"] * peaceful_per_s:
        faults.append(f"drained at {drained / peaceful_per_s:.2f} of the rate of ordinary payments")
    kept = memory["kept"]
    if kept["other"] > MEMORY_LEFT_MAX:
        faults.append(f"Redis keeps {kept['other']:,} bytes after expiry")
    if kept["answers"] > ANSWERS_BYTES_MAX:
        faults.append(f"Redis keeps {kept['answers']:,} bytes of answers")
    if kept["ids"] > IDS_BYTES_MAX + ID_BYTES_MAX * figures["decisions"]:
        faults.append(f"Redis keeps {kept['ids']:,} bytes of ids after expiry")
    return faults


class _Attack:
    """One attack, with topics and a worker of its own."""

    def __init__(
        self,
        say: Callable[[str], None],
        folder: Path,
        stack: RealStack,
        name: str,
        sizes: Sizes,
        environment: Mapping[str, str],
        is_quick: bool,
    ) -> None:
        self._say, self._folder, self._stack, self._name, self._sizes = say, folder, stack, name, sizes
        self._prefix, self._group = f"{name}.", f"{name}-hostile"
        self._warm_s, self._rest_s = (QUICK_WARM_S, QUICK_REST_S) if is_quick else (WARM_S, REST_S)
        self._stuck_s = QUICK_STUCK_S if is_quick else STUCK_S
        self._watch = RedisWatch(stack.redis_url)
        self._worker = worker_process(
            folder,
            stack.bootstrap_servers,
            stack.redis_url,
            name=name,
            page="/ready",
            environment={
                "FRAUD_TOPIC_PREFIX": self._prefix,
                "FRAUD_STATE_PREFIX": name,
                "FRAUD_CONSUMER_GROUP": self._group,
                **environment,
            },
        )

    def carry_out(self) -> Figures:
        self._say(f"{self._name}: begins")
        prepare_topics(self._stack.bootstrap_servers, self._prefix, PARTITIONS)
        with redis.Redis.from_url(self._stack.redis_url) as client:
            client.flushall()
        with running(self._worker):
            before = self._watch.memory_bytes()
            self._watch.start()
            with MachinePauses() as pauses:
                figures = self._offered()
            self._watch.stop()
            figures["machine_pauses_ms"] = pauses.figures
            after = self._watch.memory_bytes()
            figures["scripts"] = self._watch.scripts()
        kept = self._watch.expire()
        figures["redis_bytes"] = {
            "before": before,
            "peak": self._watch.memory_peak,
            "after": after,
            "after_expiry": self._watch.memory_bytes(),
            "kept": kept,
        }
        self._watch.close()
        return figures

    def _offered(self) -> Figures:
        """Offer everything beside a reader of decisions, and follow the group until nothing is left or it is stuck."""
        sizes = json.dumps(asdict(self._sizes))
        reader = self._child("read", stdin=subprocess.PIPE)
        generator = self._child("generate", self._name, sizes, str(self._warm_s), str(self._rest_s))
        progress = _Progress(
            self._stack.bootstrap_servers,
            self._group,
            f"{self._prefix}transactions.v1",
            LAG_S * (self._sizes.rate + self._sizes.ordinary_rate),
        )
        supervisor = Supervisor(RESTARTS_MAX)
        try:
            is_stuck = self._followed(generator, self._worker, progress, supervisor)
            offered = json.loads(_answer(generator))
            read = json.loads(_answer(reader, f"{offered['first_counted']}\n"))
        finally:
            progress.close()
            for child in (reader, generator):
                child.kill()
        return {
            **offered["sent"],
            "is_at_once": any(phase.is_at_once for phase in phases_of(self._name, self._sizes)),
            "decisions": read.pop("decisions"),
            "left": progress.left,
            "is_stuck": is_stuck,
            "restarts": supervisor.restarts,
            "ordinary_ms": read,
            "drained_per_s": progress.drained_per_s(),
        }

    def _followed(
        self, generator: subprocess.Popen[str], worker: ServerProcess, progress: _Progress, supervisor: Supervisor
    ) -> bool:
        while generator.poll() is None or progress.left:
            supervisor.look_after([worker])
            progress.look()
            if progress.silent_s() > self._stuck_s:
                self._say(f"{self._name}: nothing was committed for {self._stuck_s:.0f} s, {progress.left:,} are left")
                generator.wait(ENDING_S + _seconds_offered(self._name, self._sizes, self._warm_s, self._rest_s))
                progress.look()
                return bool(progress.left)
            time.sleep(POLL_S)
        return False

    def _child(self, role: str, *arguments: str, stdin: int | None = None) -> subprocess.Popen[str]:
        servers = self._stack.bootstrap_servers
        command = [sys.executable, "-m", "ops.bench.hostile.traffic", role, servers, self._prefix, *arguments]
        with (self._folder / f"{self._name}-{role}.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - the command is ours
                command, stdin=stdin, stdout=subprocess.PIPE, stderr=log, text=True
            )


def _seconds_offered(name: str, sizes: Sizes, warm_s: float, rest_s: float) -> float:
    """How long an attack is offered at most, by its rates."""
    return warm_s + sum(rest_s + phase.payments / sizes.rate for phase in phases_of(name, sizes))


def _answer(child: subprocess.Popen[str], said: str | None = None) -> str:
    out, _ = child.communicate(said, timeout=ENDING_S)
    if child.returncode != 0:
        raise RuntimeError(f"a child of the bench of hostile payments ended with {child.returncode}; see its log")
    return out


class _Progress:
    """How much of a topic a group has committed, followed over time."""

    def __init__(self, servers: str, group: str, topic: str, lag_min: int) -> None:
        self._servers, self._group, self._topic, self._lag_min = servers, group, topic, lag_min
        self._reader = Consumer({"bootstrap.servers": servers, "group.id": "hostile-ends", "enable.auto.commit": False})
        self._partitions: Sequence[int] = partitions_of(self._reader, topic)
        self._samples: list[tuple[float, int, int]] = []  # time, committed, end
        self._moved_s = time.monotonic()
        self.left = 0

    def look(self) -> None:
        committed, end = committed_counts(self._servers, self._group, self._topic), self._end()
        now_s = time.monotonic()
        if committed == end or not self._samples or committed > self._samples[-1][1]:
            self._moved_s = now_s
        self._samples.append((now_s, committed, end))
        self.left = end - committed

    def silent_s(self) -> float:
        """Return for how long nothing was committed although records waited."""
        return time.monotonic() - self._moved_s

    def drained_per_s(self) -> int | None:
        """Return what was committed a second while `lag_min` records or more waited; None where they hardly did."""
        seconds, drained = 0.0, 0
        for (start_s, before, end_before), (stop_s, after, end_after) in zip(
            self._samples, self._samples[1:], strict=False
        ):
            if min(end_before - before, end_after - after) >= self._lag_min:
                seconds, drained = seconds + stop_s - start_s, drained + after - before
        return round(drained / seconds) if seconds >= 2 * POLL_S else None

    def close(self) -> None:
        self._reader.close()

    def _end(self) -> int:
        places = [TopicPartition(self._topic, partition) for partition in self._partitions]
        extents = [self._reader.get_watermark_offsets(place, timeout=REQUEST_TIMEOUT_S) for place in places]
        return sum(high for _, high in extents)
