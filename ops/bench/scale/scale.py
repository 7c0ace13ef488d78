"""One, two and three workers on three brokers and a Redis Cluster of three masters, and the loss of any one process.

Every run reads the same payments from topics of its own. The reference is one worker on one Redis server. Account
features must be the reference's, every decision must follow from its own snapshot, and the independent checker must
find nothing lost and nothing decided twice (I1, I2). Then, under traffic, each kind of process is killed once with
three workers: a worker, a broker, a master. CPU a decision is measured over the second half of the log.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from ops.bench.loss.checker import Checker
from ops.bench.loss.groups import partitions_held
from ops.bench.rig.payments import payments
from ops.bench.rig.publisher import publish
from ops.bench.rig.services import worker_process
from ops.bench.rig.stored import Tail, decision_of
from ops.bench.rig.supervision import running, stop_all
from ops.bench.rig.topics_io import committed_counts, prepare_topics
from ops.bench.rig.waiting import wait_until
from ops.compiled import compiled_tree_or_none, python_path
from ops.processes.servers import LOOPBACK, ServerProcess, free_port, process_cpu_seconds
from ops.stack.kafka.broker import Node, kafka_cluster
from ops.stack.redis_cluster import RedisCluster, running_cluster
from ops.stack.redis_server import Persistence, redis_server, redis_url, system_executable
from pipeline.domain.decision import StoredDecision
from pipeline.domain.features import ACCOUNT_STATE
from pipeline.io.avro.wire import WireFormat
from pipeline.io.settings import Settings
from pipeline.replay.archive_files import RegimeArchive
from pipeline.replay.verify import Result, verify

PARTITIONS: Final = 6
SHARDS: Final = 3
RECORDS: Final = 120_000
RECORDS_UNDER_FAULTS: Final = 60_000
SECONDS_MAX: Final = 600.0
START_S: Final = 180.0
PROCESS_CPU_RATIO_MAX: Final = 1.15
REDIS_CPU_RATIO_MAX: Final = 1.20


class Backend(NamedTuple):
    """A Redis that holds the state: its address, its shards, and the processes whose CPU it takes."""

    url: str
    shards: int
    servers: Callable[[], Sequence[ServerProcess]]


class Cost(NamedTuple):
    decisions_per_s: int
    process_cpu_us: float
    redis_cpu_us: float
    broker_cpu_us: float


class Scene(NamedTuple):
    directory: Path
    bootstrap_servers: str
    brokers: Sequence[ServerProcess]
    tree: Path | None


Features = dict[str, tuple[int, ...]]
"""Account features by transaction id."""


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    records = RECORDS // 10 if is_quick else RECORDS
    tree = compiled_tree_or_none(say)
    results: dict[str, dict[str, object]] = {}
    costs: dict[int, Cost] = {}
    with _brokers(folder) as scene, _cluster(folder) as cluster, _single(folder) as single:
        scene = scene._replace(tree=tree)
        one = Backend(redis_url(single[1]), 1, lambda: [single[0]])
        three = Backend(cluster.url, SHARDS, lambda: list(cluster.servers.values()))
        cost = _measured(say, scene, one, "reference.", 1, records)
        reference = _account_features(scene, "reference.")
        results["reference"] = {**cost._asdict(), **_checked(scene, "reference.", reference)}
        for workers in (1, 2, 3):
            prefix, name = f"{workers}-workers.", f"{workers} workers"
            costs[workers] = _measured(say, scene, three, prefix, workers, records)
            results[name] = {**costs[workers]._asdict(), **_checked(scene, prefix, reference)}
            say(f"{name}: {results[name]}")
        survived = _faults(say, scene, three, cluster, RECORDS_UNDER_FAULTS // 10 if is_quick else RECORDS_UNDER_FAULTS)
    ratios = {
        "process_cpu_ratio": round(costs[3].process_cpu_us / costs[1].process_cpu_us, 3),
        "redis_cpu_ratio": round(costs[3].redis_cpu_us / costs[1].redis_cpu_us, 3),
    }
    is_cheap = ratios["process_cpu_ratio"] <= PROCESS_CPU_RATIO_MAX and ratios["redis_cpu_ratio"] <= REDIS_CPU_RATIO_MAX
    goal = {"process_cpu_ratio_max": PROCESS_CPU_RATIO_MAX, "redis_cpu_ratio_max": REDIS_CPU_RATIO_MAX}
    is_whole = all(result["ok"] for result in results.values()) and not any(survived.values())
    return {
        "ok": is_whole,
        "compiled": tree is not None,
        **results,
        "violations_after_kill_of": survived,
        **ratios,
        "goal": goal,
        "reached": is_cheap,
    }


@contextmanager
def _brokers(folder: Path) -> Iterator[Scene]:
    nodes = [Node(number, free_port(), free_port()) for number in (1, 2, 3)]
    brokers = kafka_cluster(folder / "kafka", nodes)
    try:
        # None answers alone: the first two are started together.
        for broker in brokers:
            broker.launch()
        for broker in brokers:
            broker.wait_ready(deadline_s=START_S)
        yield Scene(folder, ",".join(f"{LOOPBACK}:{node.port}" for node in nodes), brokers, None)
    finally:
        stop_all(brokers)


def _cluster(folder: Path) -> AbstractContextManager[RedisCluster]:
    executable, durable = system_executable(), Persistence.APPEND_EVERY_SECOND
    return running_cluster(executable, folder / "cluster", replicas=1, persistence=durable)


@contextmanager
def _single(folder: Path) -> Iterator[tuple[ServerProcess, int]]:
    port = free_port()
    server = redis_server(system_executable(), folder / "single", port, persistence=Persistence.APPEND_EVERY_SECOND)
    with running(server):
        yield server, port


def _measured(
    say: Callable[[str], None], scene: Scene, backend: Backend, prefix: str, workers: int, records: int
) -> Cost:
    """Decide `records` payments with some workers; measure the second half of them."""
    say(f"{prefix} publishing {records:,} payments")
    prepare_topics(scene.bootstrap_servers, prefix, PARTITIONS, replication_factor=len(scene.brokers))
    publish(scene.bootstrap_servers, f"{prefix}transactions.v1", payments(WireFormat(), records))
    processes = [_worker(scene, backend, prefix, slot) for slot in range(workers)]

    def committed() -> int:
        return committed_counts(scene.bootstrap_servers, prefix, f"{prefix}transactions.v1")

    def spent() -> list[float]:
        return [
            sum(process_cpu_seconds(server.pid) for server in servers)
            for servers in (processes, backend.servers(), scene.brokers)
        ]

    with running(*processes):
        wait_until(lambda: committed() >= records // 2, SECONDS_MAX, "the first half")
        _wait_until_shared(scene, prefix, workers)
        first, before, started_s = committed(), spent(), time.monotonic()
        wait_until(lambda: committed() >= records, SECONDS_MAX, "the second half")
        done, seconds = records - first, time.monotonic() - started_s
        cpu = [after - earlier for after, earlier in zip(spent(), before, strict=True)]
    return Cost(round(done / seconds), *(round(each / done * 1e6, 1) for each in cpu))


def _faults(
    say: Callable[[str], None], scene: Scene, backend: Backend, cluster: RedisCluster, records: int
) -> dict[str, dict[str, int]]:
    """Kill one process of each kind while three workers decide; return the violations after each."""
    kinds: Mapping[str, Callable[[list[ServerProcess]], ServerProcess]] = {
        "worker": lambda workers: workers[1],
        "broker": lambda _: scene.brokers[1],
        "redis master": lambda _: cluster.servers[cluster.masters[1]],
    }
    found: dict[str, dict[str, int]] = {}
    for number, (name, victim_of) in enumerate(kinds.items()):
        prefix = f"kill-{number}."
        prepare_topics(scene.bootstrap_servers, prefix, PARTITIONS, replication_factor=len(scene.brokers))
        publish(scene.bootstrap_servers, f"{prefix}transactions.v1", payments(WireFormat(), records))
        workers = [_worker(scene, backend, prefix, slot, ("--keep",)) for slot in range(3)]

        def committed(prefix: str = prefix) -> int:
            return committed_counts(scene.bootstrap_servers, prefix, f"{prefix}transactions.v1")

        with running(*workers):
            wait_until(lambda: committed() >= records // 4, SECONDS_MAX, "the first quarter")
            victim = victim_of(workers)
            victim.kill()
            say(f"killed: {victim.name}")
            wait_until(lambda: committed() >= records, SECONDS_MAX, f"deciding on after the kill of a {name}")
            victim.start(deadline_s=START_S)
        checker = Checker(scene.bootstrap_servers, prefix, [Settings().policy_path])
        report = checker.check()
        found[name] = dict(report.violations)
        say(f"{name}: {report.decisions:,} decisions, violations {found[name] or 'none'}")
    return found


def _worker(scene: Scene, backend: Backend, prefix: str, slot: int, options: Sequence[str] = ()) -> ServerProcess:
    environment = {
        "FRAUD_TOPIC_PREFIX": prefix,
        "FRAUD_STATE_PREFIX": prefix.rstrip("."),
        "FRAUD_STATE_SHARDS": str(backend.shards),
        "FRAUD_CONSUMER_GROUP": prefix,
        **python_path(scene.tree),
    }
    name = f"worker-{prefix.rstrip('.')}"
    return worker_process(
        scene.directory,
        scene.bootstrap_servers,
        backend.url,
        slot=slot,
        name=name,
        options=options,
        environment=environment,
    )


def _wait_until_shared(scene: Scene, prefix: str, workers: int) -> None:
    wait_until(
        lambda: all(partitions_held(scene.bootstrap_servers, prefix, slot) for slot in range(workers)),
        SECONDS_MAX,
        "sharing the partitions",
    )


def _checked(scene: Scene, prefix: str, reference: Features) -> dict[str, object]:
    """Check one run: its decisions, and its account features against the reference's."""
    features = _account_features(scene, prefix)
    archive = RegimeArchive(Settings().policy_archive, Settings().model_registry)
    checks = Counter(check.result for check in verify(list(_stored(scene, prefix)), archive.regime_of))
    report = Checker(scene.bootstrap_servers, prefix, [Settings().policy_path]).check()
    differing = sum(1 for name, row in reference.items() if features.get(name) != row)
    return {
        "ok": report.is_whole and set(checks) == {Result.IDENTICAL} and differing == 0,
        "decisions": report.decisions,
        "verify": dict(checks),
        "violations": dict(report.violations),
        "account_features_differing": differing,
    }


def _account_features(scene: Scene, prefix: str) -> Features:
    found: Features = {}
    for record in Tail(scene.bootstrap_servers, f"{prefix}decisions.v1").news():
        decision = decision_of(record.key, record.value)
        found[decision.fields["transaction_id"]] = tuple(decision.features[name] for name in ACCOUNT_STATE)
    return found


def _stored(scene: Scene, prefix: str) -> Iterator[StoredDecision]:
    wire = WireFormat()
    for record in Tail(scene.bootstrap_servers, f"{prefix}decisions.v1").news():
        stored = wire.decode_stored_decision(record.value)
        assert isinstance(stored, StoredDecision), stored
        yield stored
