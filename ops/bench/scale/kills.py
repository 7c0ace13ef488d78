"""Kill -9 of each kind of process while three workers decide, and what the independent checker finds after each.

Every kill strikes a whole cluster in full flow. Decisions must flow again on every partition without the process that
was killed, unless it is a worker that its keeper or its supervisor replaces. Then it is started again, the traffic
pauses until everything is committed, and the checker reads the new records. In the end the account features of every
decision are computed anew from the log, by the reference that has no servers.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ops.bench.loss.late_executor import recompute
from ops.bench.loss.rig import DecidingRig, deciding, now_ms
from ops.bench.rig.feeder import Recovery
from ops.bench.rig.topics_io import prepare_topics
from ops.bench.rig.verified import stored_decisions, verified
from ops.bench.rig.waiting import GROUP, wait_until
from ops.bench.scale.servers import BROKERS, START_S, Servers
from ops.processes.servers import ServerProcess
from pipeline.decide.batch import Judge, TopicNames
from pipeline.decide.regime_files import RegimeSource
from pipeline.io.avro.wire import WireFormat
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.io.settings import Settings
from pipeline.replay.verify import Result
from pipeline.state.requests import Keys

WORKERS: Final = 3
RATE_PER_S: Final = 100
SEED: Final = 20_263
SHARED_S: Final = 300.0
KILLED_SLOT: Final = 1


class Kill(NamedTuple):
    name: str
    strike: Callable[[DecidingRig, Servers], Recovery]
    is_quick: bool = False  # whether the quick form has it


def run_kills(
    say: Callable[[str], None],
    folder: Path,
    servers: Servers,
    environment: Mapping[str, str],
    *,
    partitions: int,
    shards: int,
    is_quick: bool,
) -> dict[str, object]:
    """Kill one process after the other. environment: of the workers, beside what is set here."""
    prepare_topics(servers.bootstrap_servers, "", partitions, replication_factor=BROKERS)
    rig = DecidingRig(
        folder,
        servers.bootstrap_servers,
        servers.redis.url,
        RATE_PER_S,
        SEED,
        partitions=partitions,
        environment={"FRAUD_STATE_SHARDS": str(shards), **environment},
    )
    with deciding(rig, workers=WORKERS):
        each = {kill.name: _struck(say, rig, servers, kill) for kill in kills(shards) if kill.is_quick or not is_quick}
        published = rig.feeder.stop()
    report = rig.checker.check()
    results = verified(list(stored_decisions(servers.bootstrap_servers, "")))
    recomputed = recompute(servers.bootstrap_servers, "", _judge(partitions))
    return {
        "ok": report.is_whole and set(results) == {Result.IDENTICAL} and not recomputed.differing,
        "published": published,
        "decisions": report.decisions,
        "duplicates": report.duplicates,
        "verify": dict(results),
        "account_features_differing": len(recomputed.differing),
        "violations": dict(report.violations),
        "first_violations": [str(violation) for violation in report.first_violations],
        "recovery_s": each,
        "workers_that_ended_by_themselves": dict(rig.ended_by_themselves()),
    }


def kills(shards: int) -> Sequence[Kill]:
    """Return the kills, in the order in which they strike."""
    keys = Keys(Settings().state_prefix, shards)
    shared, accounts = keys.shared_progress(0, 0), keys.account_progress(0)
    transactional_id = f"{GROUP}-{KILLED_SLOT}"
    return (
        Kill("a worker, which its keeper replaces", _worker),
        Kill("a keeper, whose worker ends with it", _keeper),
        Kill("a worker with its keeper", _worker_with_keeper, is_quick=True),
        Kill("the broker that coordinates the group", _broker(lambda s: s.group_coordinator(GROUP)), is_quick=True),
        Kill(
            "the broker that coordinates transactions", _broker(lambda s: s.transaction_coordinator(transactional_id))
        ),
        Kill("the broker that leads the controllers", _broker(Servers.controller)),
        Kill("the broker that leads a partition", _broker(lambda s: s.leader("transactions.v1", 0))),
        Kill(
            "the Redis master of what all partitions share", _redis(lambda s: s.redis.master_of(shared)), is_quick=True
        ),
        Kill("the Redis master of a partition's accounts", _redis(lambda s: s.redis.master_of(accounts))),
        Kill("a Redis replica", _redis(lambda s: s.redis.replicas_of(s.redis.master_of(shared))[0])),
    )


def _struck(say: Callable[[str], None], rig: DecidingRig, servers: Servers, kill: Kill) -> Recovery:
    """Return how long decisions took to flow again; the rig's checker keeps what it finds."""
    _wait_until_all_decide(rig)
    recovery = kill.strike(rig, servers)
    servers.wait_until_whole()
    report = rig.settle()
    speed = f"first {recovery.first_s:.2f} s, all {recovery.all_partitions_s:.2f} s"
    say(f"kill -9 of {kill.name}: {speed}, violations so far: {dict(report.violations) or 'none'}")
    return recovery


def _wait_until_all_decide(rig: DecidingRig) -> None:
    """Wait until every worker has partitions and every partition decides, so that the kill strikes a full flow."""
    wait_until(
        lambda: all(map(rig.partitions_held, rig.workers)), SHARED_S, "sharing the partitions", meanwhile=rig.supervise
    )
    rig.recovery(now_ms())


def _worker(rig: DecidingRig, _: Servers) -> Recovery:
    rig.kill_worker(KILLED_SLOT)
    return rig.recovery(now_ms())


def _keeper(rig: DecidingRig, _: Servers) -> Recovery:
    """Kill the keeper alone; whoever supervises it starts another."""
    os.kill(rig.workers[KILLED_SLOT].pid, signal.SIGKILL)
    return rig.recovery(now_ms())


def _worker_with_keeper(rig: DecidingRig, _: Servers) -> Recovery:
    """Kill both, as when their machine is lost, and let the others take over before they come back."""
    worker = rig.workers.pop(KILLED_SLOT)
    recovery = _without(rig, worker)
    rig.workers[KILLED_SLOT] = worker
    return recovery


def _broker(which: Callable[[Servers], int]) -> Callable[[DecidingRig, Servers], Recovery]:
    return lambda rig, servers: _without(rig, servers.brokers[which(servers)])


def _redis(which: Callable[[Servers], int]) -> Callable[[DecidingRig, Servers], Recovery]:
    return lambda rig, servers: _without(rig, servers.redis.servers[which(servers)])


def _without(rig: DecidingRig, victim: ServerProcess) -> Recovery:
    victim.kill()
    recovery = rig.recovery(now_ms())
    victim.start(deadline_s=START_S)
    return recovery


def _judge(partitions: int) -> Judge:
    partitioning = Partitioning(Partitioner.CRC32, partitions)
    return Judge(RegimeSource(Settings()).current, WireFormat(), TopicNames("", ""), "scale", partitioning.of)
