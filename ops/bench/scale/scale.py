"""One, two and three workers on three brokers and a Redis Cluster of three masters, and the loss of any one process.

Some workers on a Redis are a constellation. Each reads the same payments from topics of its own; the reference is one
worker on one Redis server. Account features must be the reference's, every decision must follow from its own snapshot,
and the independent checker must find nothing lost and nothing decided twice (I1, I2). Then each kind of process is
killed under traffic (`kills`).

CPU a decision is measured between two moments at which a constellation has nothing to do: to workers that are warm, a
share of the log appears all at once, and they decide it. The constellations to be compared take turns, one and three
workers in the order of FULL, so that a machine that grows slower or busier meanwhile makes neither look dearer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from ops.bench.loss.checker import Checker
from ops.bench.loss.groups import partitions_held
from ops.bench.rig.payments import payments
from ops.bench.rig.publisher import appearing_at_once
from ops.bench.rig.services import worker_process
from ops.bench.rig.supervision import Supervisor, running, running_together
from ops.bench.rig.topics_io import Outbound, prepare_topics
from ops.bench.rig.verified import stored_decisions, verified
from ops.bench.rig.waiting import wait_committed, wait_until
from ops.bench.scale.kills import run_kills
from ops.bench.scale.servers import BROKERS, PERSISTENCE, START_S, Servers, running_servers
from ops.compiled import compiled_tree_or_none, python_path
from ops.processes.servers import ServerProcess, free_port, process_cpu_seconds
from ops.stack.redis_server import redis_server, redis_url, system_executable
from pipeline.domain.decision import Decision
from pipeline.domain.features import ACCOUNT_STATE, STATE_SLICE
from pipeline.io.avro.wire import WireFormat
from pipeline.io.settings import Settings
from pipeline.replay.verify import Result

PARTITIONS: Final = 6
SHARDS: Final = 3
WAIT_S: Final = 400.0
SECONDS_MAX: Final = 900.0
"""Time limit of the rounds: none begins later. Every wait in them, and in the kills, has a limit of its own."""
RESTARTS_MAX: Final = 3
"""Workers of a constellation that may end by themselves, as one does that a busy machine keeps from turning. What it
had taken of the CPU is missing from the figures then, and the answer says so."""
PROCESS_CPU_RATIO_MAX: Final = 1.15
REDIS_CPU_RATIO_MAX: Final = 1.20


class Backend(NamedTuple):
    """A Redis that holds the state: its address, its shards, and the processes whose CPU it takes."""

    url: str
    shards: int
    servers: Sequence[ServerProcess]


class Sizes(NamedTuple):
    """Sizes of a run. Each round decides `warm` payments unmeasured and then `measured` ones."""

    warm: int
    measured: int
    rounds: Sequence[int]  # workers of each round on the cluster
    reference_rounds: int

    @property
    def records(self) -> int:
        """Return the length of the log, which the reference reads to its end."""
        return (self.warm + self.measured) * self.reference_rounds

    def changed(self, sizes: Mapping[str, int]) -> Sizes:
        """Return these sizes with others for those that are named. Raises ValueError."""
        for name, size in sizes.items():
            if name not in ("warm", "measured") or size < PARTITIONS:
                raise ValueError(f"{name}={size} is no size of scale: warm or measured, from {PARTITIONS} on")
        return Sizes(sizes.get("warm", self.warm), sizes.get("measured", self.measured), *self[2:])


# One and three workers have the same mean place in the row of the rounds.
FULL: Final = Sizes(2_000, 20_000, (1, 3, 2, 3, 1), 2)
QUICK: Final = Sizes(600, 4_000, (1, 3), 1)


class Spent(NamedTuple):
    """Decisions, and what they took, in seconds."""

    decisions: int = 0
    seconds: float = 0.0
    process_s: float = 0.0
    redis_s: float = 0.0
    broker_s: float = 0.0

    def plus(self, other: Spent) -> Spent:
        return Spent(self.decisions + other.decisions, *(a + b for a, b in zip(self[1:], other[1:], strict=True)))

    def as_json(self) -> dict[str, object]:
        cpu = {"process": self.process_s, "redis": self.redis_s, "broker": self.broker_s}
        each = {f"{name}_cpu_us": round(value / self.decisions * 1e6, 1) for name, value in cpu.items()}
        return {"measured": self.decisions, "decisions_per_s": round(self.decisions / self.seconds), **each}


class Place(NamedTuple):
    """The place of a run: the folder of its logs, its servers, and the compiled hot path, if there is one."""

    folder: Path
    servers: Servers
    tree: Path | None


AccountFeatures = dict[str, tuple[int, ...]]
"""Account features by transaction id."""


def run(
    say: Callable[[str], None], folder: Path, *, is_quick: bool, sizes: Mapping[str, int] = MappingProxyType({})
) -> dict[str, object]:
    """Take the measurement. sizes: in payments, other than those of FULL or QUICK."""
    wanted = (QUICK if is_quick else FULL).changed(sizes)
    tree = compiled_tree_or_none(say)
    with running_servers(folder) as servers:
        place = Place(folder, servers, tree)
        reference, constellations = _measured(say, place, wanted)
        checked = _checked(say, reference, constellations)
        struck = run_kills(
            say, folder, servers, python_path(tree), partitions=PARTITIONS, shards=SHARDS, is_quick=is_quick
        )
    one, three = constellations[1].spent, constellations[3].spent
    process_ratio = three.process_s / three.decisions * one.decisions / one.process_s
    redis_ratio = three.redis_s / three.decisions * one.decisions / one.redis_s
    return {
        "ok": all(result["ok"] for result in checked.values()) and struck["ok"],
        "compiled": tree is not None,
        **checked,
        "kills": struck,
        "process_cpu_ratio": round(process_ratio, 3),
        "redis_cpu_ratio": round(redis_ratio, 3),
        "goal": {"process_cpu_ratio_max": PROCESS_CPU_RATIO_MAX, "redis_cpu_ratio_max": REDIS_CPU_RATIO_MAX},
        "reached": process_ratio <= PROCESS_CPU_RATIO_MAX and redis_ratio <= REDIS_CPU_RATIO_MAX,
    }


def _measured(say: Callable[[str], None], place: Place, sizes: Sizes) -> tuple[Constellation, dict[int, Constellation]]:
    """Have the reference and each constellation, by its workers, decide their rounds; compare nothing yet."""
    started_s, records = time.monotonic(), list(payments(WireFormat(), sizes.records))
    port = free_port()
    single = redis_server(system_executable(), place.folder / "single", port, persistence=PERSISTENCE)
    with running(single):
        reference = Constellation(place, "reference", 1, Backend(redis_url(port), 1, [single]))
        for _ in range(sizes.reference_rounds):
            say(f"{reference.name}: {reference.decide(records, sizes).as_json()}")
    three = Backend(place.servers.redis.url, SHARDS, list(place.servers.redis.servers.values()))
    constellations: dict[int, Constellation] = {}
    for workers in sizes.rounds:
        if time.monotonic() - started_s > SECONDS_MAX:
            raise TimeoutError(f"the rounds took more than {SECONDS_MAX:.0f} s")
        if workers not in constellations:
            constellations[workers] = Constellation(place, f"workers-{workers}", workers, three)
        say(f"{constellations[workers].name}: {constellations[workers].decide(records, sizes).as_json()}")
    return reference, constellations


class Constellation:
    """Some workers on a Redis, with topics, a group and a state of their own."""

    def __init__(self, place: Place, name: str, workers: int, backend: Backend) -> None:
        self.name, self.workers, self.spent = name, workers, Spent()
        self.prefix, self._topic = f"{name}.", f"{name}.transactions.v1"
        self._place, self._backend, self._published = place, backend, 0
        self._supervisor = Supervisor(RESTARTS_MAX, START_S)
        self._markers = 0  # offsets without a record that lie before the next share: an end of a transaction in each
        prepare_topics(self._bootstrap_servers, self.prefix, PARTITIONS, replication_factor=BROKERS)

    @property
    def _bootstrap_servers(self) -> str:
        return self._place.servers.bootstrap_servers

    def decide(self, records: Sequence[Outbound], sizes: Sizes) -> Spent:
        """Decide the next round of the log; return what its measured payments took."""
        workers = [self._worker(slot) for slot in range(self.workers)]
        warm_end = self._published + sizes.warm
        end = warm_end + sizes.measured
        with running_together(*workers, deadline_s=START_S):
            self._wait_until_shared(workers)
            self._spent_on(records[self._published : warm_end], workers)
            spent = self._spent_on(records[warm_end:end], workers)
        self.spent = self.spent.plus(spent)
        return spent

    def checked(self, reference: AccountFeatures | None = None) -> tuple[dict[str, object], AccountFeatures]:
        """Check all that was decided, its account features against the reference's; return what these are."""
        decisions = list(stored_decisions(self._bootstrap_servers, self.prefix))
        features = {each.decision.transaction_id: _account_features(each.decision) for each in decisions}
        results = verified(decisions)
        report = Checker(self._bootstrap_servers, self.prefix, [Settings().policy_path]).check()
        expected = features if reference is None else reference
        differing = sum(1 for name, row in features.items() if expected.get(name) != row)
        is_whole = report.is_whole and len(features) == report.transactions == self._published
        return {
            "ok": is_whole and set(results) == {Result.IDENTICAL} and not differing,
            **self.spent.as_json(),
            "decisions": report.decisions,
            "verify": dict(results),
            "violations": dict(report.violations),
            "first_violations": [str(violation) for violation in report.first_violations],
            "account_features_differing": differing,
            "workers_started_again": self._supervisor.restarts,
        }, features

    def _spent_on(self, records: Sequence[Outbound], workers: Sequence[ServerProcess]) -> Spent:
        """Return what deciding on the records takes, from the moment at which all of them appear."""
        servers, what = self._bootstrap_servers, f"{self.name} deciding on {len(records):,} payments"
        with appearing_at_once(servers, self._topic, records) as published:
            self._published += published
            before, started_s = self._cpu_s(workers), time.monotonic()
        end = self._published + self._markers
        wait_committed(
            servers,
            end,
            WAIT_S,
            what,
            prefix=self.prefix,
            group=self.name,
            meanwhile=lambda: self._supervisor.look_after(workers),
        )
        self._markers += PARTITIONS
        seconds, after = time.monotonic() - started_s, self._cpu_s(workers)
        return Spent(published, seconds, *(now - then for now, then in zip(after, before, strict=True)))

    def _wait_until_shared(self, workers: Sequence[ServerProcess]) -> None:
        def held(slot: int) -> int:
            return partitions_held(self._bootstrap_servers, self.name, slot)

        wait_until(
            lambda: all(held(slot) == PARTITIONS // self.workers for slot in range(self.workers)),
            WAIT_S,
            f"{self.name} sharing the partitions",
            meanwhile=lambda: self._supervisor.look_after(workers),
        )

    def _cpu_s(self, workers: Sequence[ServerProcess]) -> tuple[float, ...]:
        """Return the CPU seconds that the workers, Redis and the brokers have taken."""
        brokers = list(self._place.servers.brokers.values())
        return tuple(
            sum(process_cpu_seconds(each.pid) for each in processes)
            for processes in (workers, self._backend.servers, brokers)
        )

    def _worker(self, slot: int) -> ServerProcess:
        environment = {
            "FRAUD_TOPIC_PREFIX": self.prefix,
            "FRAUD_STATE_PREFIX": self.name,
            "FRAUD_STATE_SHARDS": str(self._backend.shards),
            "FRAUD_CONSUMER_GROUP": self.name,
            **python_path(self._place.tree),
        }
        return worker_process(
            self._place.folder,
            self._bootstrap_servers,
            self._backend.url,
            slot=slot,
            name=self.name,
            environment=environment,
        )


def _checked(
    say: Callable[[str], None], reference: Constellation, constellations: dict[int, Constellation]
) -> dict[str, dict[str, object]]:
    result, features = reference.checked()
    checked = {reference.name: result}
    for constellation in constellations.values():
        checked[constellation.name], _ = constellation.checked(features)
        say(f"{constellation.name}, checked: {json.dumps(checked[constellation.name])}")
    return checked


def _account_features(decision: Decision) -> tuple[int, ...]:
    return decision.snapshot.features[STATE_SLICE][: len(ACCOUNT_STATE)]
