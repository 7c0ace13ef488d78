"""The same log gives the same bytes, across batch sizes, restarts, hash seeds, slots and partitions.

Every run reads the same payments, byte for byte and with the same timestamps, from topics of its own and keeps state of
its own. With one partition, decisions must be equal in every byte except `decided_at_ms`. With four partitions and two
workers, the features that several accounts share depend on the order in which partitions were read. There, account
features must be equal, and every decision must follow from its own snapshot.

In the last runs an executor tells what became of the decisions, at once or late. Which outcomes a decision had taken in
then differs from run to run, and is recorded with it: computed anew from the two logs by that, its account features
must be the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

from ops.bench.loss.checker import Checker
from ops.bench.loss.groups import partitions_held
from ops.bench.loss.late_executor import LateExecutor, recompute
from ops.bench.rig.feeder import known_records
from ops.bench.rig.publisher import publish
from ops.bench.rig.services import worker_process
from ops.bench.rig.stored import Tail, decision_of, without_wall_clock
from ops.bench.rig.supervision import running
from ops.bench.rig.topics_io import Outbound, prepare_topics
from ops.bench.rig.verified import stored_decisions, verified
from ops.bench.rig.waiting import wait_committed, wait_until
from ops.processes.servers import ServerProcess
from ops.stack.real import RealStack
from pipeline.decide.app import RegimeSource
from pipeline.decide.batch import Judge, TopicNames
from pipeline.domain.features import ACCOUNT_STATE
from pipeline.io.avro.wire import WireFormat
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.io.settings import Settings
from pipeline.replay.verify import Result

SEED: Final = 77
RECORDS: Final = 16_000
RECORDS_IN_SINGLE_BATCHES: Final = 2_000
"""Records that the run with batches of 1 reads: only the log's first part, as each costs a transaction of 5 ms."""
SECONDS_MAX: Final = 300
VERIFIED_MINIMUM: Final = 100_000
NO_TOPICS: Final = TopicNames("", "")


class Variant(NamedTuple):
    name: str
    batch_records_max: int = 500
    hash_seed: str = "0"
    slots: tuple[int, ...] = (0,)
    partitions: int = 1
    records: int = RECORDS
    restarts: int = 0
    outcomes_held_back: int | None = None  # by the executor, in decisions; None where nothing is executed


PARTS: Final = 16
"""Parts of the log that are published one after the other where outcomes are to come in between."""
HELD_BACK: Final = 3_000
"""Decisions by which the late executor lags: a fifth of the log, more than a day of its event time."""
VARIANTS: Final = (
    Variant("batches of 500"),  # the reference for the others
    Variant("batches of 7", batch_records_max=7),
    Variant("batches of 1", batch_records_max=1, records=RECORDS_IN_SINGLE_BATCHES),
    Variant("restarted on the way", restarts=2),
    Variant("hash seed 1", hash_seed="1"),
    Variant("hash seed random", hash_seed="random"),
    Variant("slot 7", slots=(7,)),
    Variant("4 partitions, 2 workers", slots=(0, 1), partitions=4),
    Variant("executor at once", batch_records_max=100, outcomes_held_back=0),
    Variant("executor late", batch_records_max=100, outcomes_held_back=HELD_BACK),
    Variant("executor late, restarted", batch_records_max=100, restarts=2, outcomes_held_back=HELD_BACK),
    Variant("executor late, 2 workers", slots=(0, 1), partitions=4, outcomes_held_back=HELD_BACK),
)


class Stored(NamedTuple):
    offset: int
    bytes_without_wall_clock: bytes
    account_features: tuple[int, ...]


Decisions = dict[str, Stored]
"""Decisions by transaction id."""


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    share = 10 if is_quick else 1
    results: dict[str, object] = {}
    is_same, checks = True, Counter[str]()
    reference: Decisions = {}
    with RealStack(folder / "stack") as stack:
        for number, variant in enumerate(VARIANTS):
            _run_variant(stack, folder, f"v{number}.", _shortened(variant, share))
            decisions = _decisions(stack.bootstrap_servers, f"v{number}.")
            reference = reference or decisions
            differing, positions = _compared(stack, f"v{number}.", variant, reference, decisions)
            results_of_run = verified(list(stored_decisions(stack.bootstrap_servers, f"v{number}.")))
            report = Checker(stack.bootstrap_servers, f"v{number}.", [Settings().policy_path]).check()
            checks += results_of_run
            is_same = is_same and not differing and report.is_whole and set(results_of_run) == {Result.IDENTICAL}
            results[variant.name] = {
                "decisions": len(decisions),
                "outcomes_positions": positions,
                "differing": len(differing),
                "first_differing": differing[:3],
                "verify": dict(results_of_run),
                "breaker_states": dict(report.breaker_states),
                "violations": dict(report.violations),
            }
            say(f"{variant.name}: {results[variant.name]}")
    is_enough = is_quick or checks.total() >= VERIFIED_MINIMUM
    return {"ok": is_same and is_enough, "verified": checks.total(), "verify": dict(checks), "runs": results}


def _shortened(variant: Variant, share: int) -> Variant:
    held_back = variant.outcomes_held_back
    return variant._replace(
        records=variant.records // share, outcomes_held_back=None if held_back is None else held_back // share
    )


def _compared(
    stack: RealStack, prefix: str, variant: Variant, reference: Decisions, decisions: Decisions
) -> tuple[list[str], int]:
    """Return the ids of decisions that differ, and how many positions of outcomes there were.

    Where outcomes come in meanwhile, a decision is compared with what its recorded position says it should have been.
    """
    if variant.outcomes_held_back is None:
        return _differing(reference, decisions, is_one_partition=variant.partitions == 1), 1
    partitioning = Partitioning(Partitioner.CRC32, variant.partitions)
    judge = Judge(RegimeSource(Settings()).current, WireFormat(), NO_TOPICS, "determinism", partitioning.of)
    recomputed = recompute(stack.bootstrap_servers, prefix, judge)
    assert recomputed.decisions == len(decisions), "each decision is recomputed"
    assert recomputed.positions > variant.partitions, "outcomes came in between"
    return recomputed.differing, recomputed.positions


def _run_variant(stack: RealStack, directory: Path, prefix: str, variant: Variant) -> None:
    """Publish the log, have it decided, and wait until all of it is committed."""
    servers = stack.bootstrap_servers
    prepare_topics(servers, prefix, variant.partitions)
    workers = [_worker(stack, directory, prefix, variant, slot) for slot in variant.slots]
    held_back = variant.outcomes_held_back
    with ExitStack() as executing:
        if held_back is not None:
            executing.enter_context(LateExecutor(servers, prefix, held_back))
            _decide_in_parts(servers, prefix, variant, workers)
        else:
            _decide(servers, prefix, variant, workers)


def _decide(servers: str, prefix: str, variant: Variant, workers: Sequence[ServerProcess]) -> None:
    topic = f"{prefix}transactions.v1"
    if len(workers) > 1:
        with running(*workers):
            _wait_until_shared(servers, prefix, variant.slots)
            _wait_until_committed(servers, prefix, publish(servers, topic, _log(variant.records)))
        return
    published = publish(servers, topic, _log(variant.records))
    with running(*workers):  # only now, when the whole log waits, so that batches are as large as they may be
        for number in range(variant.restarts):
            _wait_until_committed(servers, prefix, published * (number + 1) // (variant.restarts + 1))
            workers[0].kill()
            workers[0].start()
        _wait_until_committed(servers, prefix, published)


def _decide_in_parts(servers: str, prefix: str, variant: Variant, workers: Sequence[ServerProcess]) -> None:
    """Publish each part of the log once the one before is decided, so that its outcomes come in between."""
    log, size, published = _log(variant.records), variant.records // PARTS, 0
    restarted = {PARTS * (number + 1) // (variant.restarts + 1) for number in range(variant.restarts)}
    with running(*workers):
        _wait_until_shared(servers, prefix, variant.slots)
        for part in range(PARTS):
            if part in restarted:
                workers[0].kill()
                workers[0].start()
            published += publish(servers, f"{prefix}transactions.v1", islice(log, size))
            _wait_until_committed(servers, prefix, published)


def _wait_until_shared(servers: str, prefix: str, slots: tuple[int, ...]) -> None:
    """Wait until every worker has partitions; one alone would be done before the other has started."""
    wait_until(lambda: all(partitions_held(servers, prefix, slot) for slot in slots), SECONDS_MAX, "sharing partitions")


def _wait_until_committed(servers: str, prefix: str, count: int) -> None:
    what = f"deciding on {count} records"
    wait_committed(servers, count, SECONDS_MAX, what, prefix=prefix, group=prefix, every_s=0.02)


def _log(records: int) -> Iterator[Outbound]:
    """Yield the records of the log, duplicates, conflicts and garbage included."""
    return islice(known_records(SEED), records)


def _worker(stack: RealStack, directory: Path, prefix: str, variant: Variant, slot: int) -> ServerProcess:
    environment = {
        "FRAUD_TOPIC_PREFIX": prefix,
        "FRAUD_STATE_PREFIX": prefix,
        "FRAUD_CONSUMER_GROUP": prefix,
        "FRAUD_BATCH_RECORDS_MAX": str(variant.batch_records_max),
        "PYTHONHASHSEED": variant.hash_seed,
    }
    servers = stack.bootstrap_servers, stack.redis_url
    # It has a keeper, because on a starved machine a worker may be ended for standing still, and the run must go on.
    name = f"worker-{prefix.rstrip('.')}"
    return worker_process(directory, *servers, slot=slot, name=name, options=("--keep",), environment=environment)


def _decisions(bootstrap_servers: str, prefix: str) -> Decisions:
    decisions: Decisions = {}
    for found in Tail(bootstrap_servers, f"{prefix}decisions.v1").news():
        decision = decision_of(found.key, found.value)
        account = tuple(decision.features[name] for name in ACCOUNT_STATE)
        stored = Stored(decision.position.offset, without_wall_clock(found.value), account)
        decisions[decision.fields["decision_id"]] = stored
    return decisions


def _differing(reference: Decisions, decisions: Decisions, *, is_one_partition: bool) -> list[str]:
    """Return the ids whose decisions differ, or that only one of the two has, as far as both read the log."""
    if not is_one_partition:
        equal = {name for name, d in decisions.items() if d.account_features == _features_of(reference.get(name))}
        return sorted((reference.keys() | decisions.keys()) - equal)
    end = max(decision.offset for decision in decisions.values())
    expected = {name: decision for name, decision in reference.items() if decision.offset <= end}
    return sorted(name for name in expected.keys() | decisions.keys() if expected.get(name) != decisions.get(name))


def _features_of(decision: Stored | None) -> tuple[int, ...] | None:
    return None if decision is None else decision.account_features
