"""Servers with workers and traffic, which a bench breaks and checks again and again."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ops.bench.loss.checker import Checker, Report
from ops.bench.loss.groups import partitions_held
from ops.bench.rig.evidence import whole_lines
from ops.bench.rig.feeder import Feeder, Recovery, Watcher, known_records
from ops.bench.rig.services import kill_kept, worker_process
from ops.bench.rig.stored import record_count
from ops.bench.rig.supervision import Supervisor, stop_all
from ops.bench.rig.topics_io import committed_counts, prepare_topics
from ops.bench.rig.waiting import GROUP, wait_committed
from ops.processes.servers import ServerProcess
from ops.stack.real import RealStack
from pipeline.io.settings import Settings

PARTITIONS: Final = 4
SETTLE_S: Final = 400.0
RECOVERY_S: Final = 300.0
"""A bound of the bench, not a goal: on a machine that is shared with ten others a start alone may take a minute."""
NEW_READER_S: Final = 30.0
START_S: Final = 180.0
POLL_S: Final = 0.1
BROKER_STOP_S: Final = 120.0
"""Limit of an orderly stop on a starved machine. A broker that was killed after 20 s of it came back without a payment
that the publisher held for acknowledged; producers' sequences don't survive a kill where records are of last year."""
COORDINATOR_S: Final = 60.0
COORDINATORS_LOST_MAX: Final = 2
RESTARTS_MAX: Final = 20
"""Most restarts, in one bench, of keepers that gave up by themselves. If more are needed, the worker can't live."""


class DecidingRig:
    """Workers and traffic on servers that run, opened by `with deciding(rig):`.

    Its slots are those that a supervisor would keep filled.
    """

    def __init__(
        self,
        directory: Path,
        bootstrap_servers: str,
        redis_url: str,
        rate_per_s: int,
        seed: int,
        *,
        partitions: int = PARTITIONS,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Make the rig on topics that exist. environment: of its workers, beside what the rig sets."""
        self.directory, self.bootstrap_servers, self.redis_url = directory, bootstrap_servers, redis_url
        self.partitions, self._environment = partitions, environment
        self.policy_path = directory / "policy.toml"
        policy = Settings().policy_path
        self.policy_path.write_bytes(policy.read_bytes())
        self.checker = Checker(bootstrap_servers, "", [policy])
        records = known_records(seed)
        self.feeder = Feeder(directory, bootstrap_servers, "transactions.v1", records, rate_per_s)
        self.watcher = Watcher(bootstrap_servers, "decisions.v1")
        self.workers: dict[int, ServerProcess] = {}
        self.unseen = 0  # offsets of transactions.v1 that hold no committed record: what was aborted, and its markers
        self.keepers = Supervisor(RESTARTS_MAX, START_S)

    @property
    def environment(self) -> dict[str, str]:
        return {"FRAUD_POLICY_PATH": str(self.policy_path), **self._environment}

    def start_worker(self, slot: int) -> ServerProcess:
        """Start the worker of a slot, and wait until it is live."""
        if slot not in self.workers:
            servers = self.bootstrap_servers, self.redis_url
            self.workers[slot] = worker_process(
                self.directory, *servers, slot=slot, options=("--keep",), environment=self.environment
            )
        self.workers[slot].start(deadline_s=START_S)
        return self.workers[slot]

    def crashing_worker(self, step: str) -> ServerProcess:
        """Make a worker for slot 0 that crashes; it isn't started yet.

        It counts as live at once, because it may crash before its pages answer. Its keeper replaces it by a sound one.
        """
        name = step.replace(" ", "-")
        return worker_process(
            self.directory,
            self.bootstrap_servers,
            self.redis_url,
            name=f"worker-that-crashes-{name}",
            command=("ops.bench.loss.crashing_worker", step, str(self.directory / f"crashed-{name}")),
            page=None,
            environment=self.environment,
        )

    def kill_worker(self, slot: int) -> None:
        """Send kill -9 to the process that decides; its keeper fills the slot again."""
        self.supervise()
        kill_kept(self.workers[slot])

    def followed(self, worker: ServerProcess) -> int:
        """Count how often a keeper had to replace its worker, according to its log."""
        return worker.log_path.read_text().count('"event": "worker_followed"') if worker.log_path.exists() else 0

    def ended_by_themselves(self) -> Counter[str]:
        """Count the reasons why workers ended that nobody had killed, according to their own logs."""
        lines = (line for log in self.directory.glob("worker-*.log") for line in whole_lines(log))
        ends = (json.loads(line) for line in lines if '"event": "worker_ended"' in line)
        return Counter(end["why"] for end in ends)

    def supervise(self) -> None:
        """Start keepers that gave up again, as their supervisor does."""
        self.keepers.look_after(self.workers.values())

    def recovery(self, fault_ms: float, partitions: Sequence[int] | None = None) -> Recovery:
        """Wait until decisions flow again on `partitions`, by default on all; raise TimeoutError when they don't."""
        partitions = range(self.partitions) if partitions is None else partitions
        deadline = time.monotonic() + RECOVERY_S
        while time.monotonic() < deadline:
            if (recovery := self.watcher.recovery(fault_ms, partitions, 1.0)) is not None:
                return recovery
            self.supervise()
        raise TimeoutError(
            f"no decisions on some of the partitions {list(partitions)} {RECOVERY_S:.0f} s after the fault;"
            f" a new reader {'finds some on all' if self._is_recovered(fault_ms, partitions) else 'finds none either'}"
        )

    def _is_recovered(self, fault_ms: float, partitions: Sequence[int]) -> bool:
        """Return whether a new reader finds decisions: then the bench's own reader stood still, and not the workers."""
        watcher = Watcher(self.bootstrap_servers, "decisions.v1")
        watcher.start()
        try:
            return watcher.recovery(fault_ms, partitions, NEW_READER_S) is not None
        finally:
            watcher.stop()

    def settle(self) -> Report:
        """Stop the traffic, wait until every record is committed, check, and let the traffic flow again."""
        published = self.feeder.pause()
        # A broker that is killed may forget which batches of a producer it has; then the log holds some twice.
        in_log = record_count(self.bootstrap_servers, "transactions.v1")
        assert in_log >= published, f"{published} were published, {in_log} are in the log"
        what = "committing what was published"
        wait_committed(self.bootstrap_servers, in_log, SETTLE_S, what, every_s=POLL_S, meanwhile=self.supervise)
        report = self.checker.check()
        committed = in_log - self.unseen
        assert report.transactions == committed, f"{committed} are in the log, {report.transactions} were checked"
        self.feeder.resume()
        return report

    def partitions_held(self, slot: int) -> int:
        """Count the partitions that the group's coordinator has given to a slot."""
        return partitions_held(self.bootstrap_servers, GROUP, slot)

    def committed(self) -> int:
        return committed_counts(self.bootstrap_servers, GROUP, "transactions.v1")


class Rig(DecidingRig):
    """The rig on the real stack, opened by `with open_rig(...) as rig:`."""

    def __init__(
        self, directory: Path, stack: RealStack, rate_per_s: int, seed: int, *, redis_url: str | None = None
    ) -> None:
        """Make the rig. redis_url: of servers for the state other than the stack's."""
        super().__init__(directory, stack.bootstrap_servers, redis_url or stack.redis_url, rate_per_s, seed)
        self.stack = stack
        self.coordinators_lost_max = COORDINATORS_LOST_MAX
        self.coordinators_lost = 0  # brokers that were started again because their group coordinator got lost

    def stop_broker(self) -> None:
        self.stack.broker.stop(grace_s=BROKER_STOP_S)

    def start_broker(self) -> float:
        """Start the broker, wait until it knows the workers' group again, and return when it was back, in milliseconds.

        Kafka 4.1 may start with a group coordinator that lost track of its own log ("out of sync with the underlying
        log" in the broker's log) and answers NOT_COORDINATOR from then on, about once in 30 starts on a busy machine.
        No client can help that. Elsewhere another broker takes over; a single one must be started once more.
        """
        self.stack.broker.start(deadline_s=START_S)
        back_ms, deadline = now_ms(), time.monotonic() + COORDINATOR_S
        while self.committed() == 0:
            if time.monotonic() > deadline:
                self.coordinators_lost += 1
                assert self.coordinators_lost <= self.coordinators_lost_max, (
                    "the broker's group coordinator never answers"
                )
                self.stop_broker()
                self.stack.broker.start(deadline_s=START_S)
                deadline = time.monotonic() + COORDINATOR_S
            time.sleep(POLL_S)
        return back_ms


@contextlib.contextmanager
def open_rig(directory: Path, *, rate_per_s: int, seed: int, redis_url: str | None = None) -> Iterator[Rig]:
    """Open the real stack with one worker in slot 0 and traffic flowing; end everything on leaving.

    redis_url: of servers for the state other than the stack's.
    """
    with RealStack(directory / "stack") as stack:
        prepare_topics(stack.bootstrap_servers, "", PARTITIONS)
        rig = Rig(directory, stack, rate_per_s, seed, redis_url=redis_url)
        with deciding(rig):
            yield rig


@contextlib.contextmanager
def deciding(rig: DecidingRig, *, workers: int = 1) -> Iterator[None]:
    """Start workers, in slots from 0 on, and then the traffic; end all workers and the traffic on leaving."""
    rig.watcher.start()
    try:
        for slot in range(workers):
            rig.start_worker(slot)
        rig.feeder.start()
        rig.recovery(0)
        yield
    finally:
        rig.feeder.abandon()
        rig.watcher.stop()
        stop_all(rig.workers.values())


def now_ms() -> float:
    return time.time() * 1000
