"""A stack, workers and traffic, to break and to check again and again."""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from ops.bench.loss.checker import Checker, Report
from ops.bench.loss.groups import partitions_held
from ops.bench.rig.feeder import Feeder, Recovery, Watcher, known_records
from ops.bench.rig.services import kept, worker_process
from ops.bench.rig.stored import record_count
from ops.bench.rig.supervision import Supervisor, stop_all
from ops.bench.rig.topics_io import committed_counts, prepare_topics
from ops.bench.rig.waiting import GROUP, wait_committed
from ops.processes.servers import ServerProcess
from ops.stack.real import RealStack
from pipeline.io.settings import Settings

PARTITIONS: Final = 4
SETTLE_S: Final = 240.0
RECOVERY_S: Final = 180.0
"""Bounds of a bench, not goals: on a machine that is shared with ten others a start alone may take a minute."""
START_S: Final = 180.0
POLL_S: Final = 0.1
COORDINATOR_S: Final = 25.0
COORDINATORS_LOST_MAX: Final = 2
RESTARTS_MAX: Final = 20
"""Of keepers that gave up by themselves, in one bench: more is a worker that can't live."""


class Rig:
    """`with open_rig(...) as rig:`; slots are the worker places that a supervisor would keep filled."""

    def __init__(self, directory: Path, stack: RealStack, rate_per_s: int, seed: int) -> None:
        self.stack, self.directory = stack, directory
        self.policy_path = directory / "policy.toml"
        policy = Settings().policy_path
        self.policy_path.write_bytes(policy.read_bytes())
        self.checker = Checker(stack.bootstrap_servers, "", [policy])
        records = known_records(seed)
        self.feeder = Feeder(directory, stack.bootstrap_servers, "transactions.v1", records, rate_per_s)
        self.watcher = Watcher(stack.bootstrap_servers, "decisions.v1")
        self.workers: dict[int, ServerProcess] = {}
        self.coordinators_lost = 0  # brokers that were started again because their group coordinator was lost
        self.keepers = Supervisor(RESTARTS_MAX, START_S)

    @property
    def environment(self) -> dict[str, str]:
        return {"FRAUD_POLICY_PATH": str(self.policy_path)}

    def start_worker(self, slot: int) -> ServerProcess:
        """Returns once it is live."""
        if slot not in self.workers:
            servers = self.stack.bootstrap_servers, self.stack.redis_url
            self.workers[slot] = worker_process(
                self.directory, *servers, slot=slot, options=("--keep",), environment=self.environment
            )
        self.workers[slot].start(deadline_s=START_S)
        return self.workers[slot]

    def retire_worker(self, slot: int) -> None:
        self.workers.pop(slot).stop()

    def crashing_worker(self, step: str) -> ServerProcess:
        """In slot 0; not started yet. It is live at once: it may crash before its pages answer. Its keeper replaces it
        by a sound one."""
        name = step.replace(" ", "-")
        return worker_process(
            self.directory,
            self.stack.bootstrap_servers,
            self.stack.redis_url,
            name=f"worker-that-crashes-{name}",
            command=("ops.bench.loss.crashing_worker", step, str(self.directory / f"crashed-{name}")),
            page=None,
            environment=self.environment,
        )

    def kill_worker(self, slot: int) -> None:
        """kill -9 of the process that decides; its keeper fills the slot again."""
        worker = kept(self.workers[slot])
        worker.kill()
        worker.wait()

    def followed(self, worker: ServerProcess) -> int:
        """How often a keeper had to follow its worker by another, by its log."""
        return worker.log_path.read_text().count('"event": "worker_followed"') if worker.log_path.exists() else 0

    def start_broker(self) -> float:
        """Returns once it knows the group of the workers again: when it was back, in milliseconds.

        Kafka 4.1 may start with a group coordinator that lost track of its own log ("out of sync with the underlying
        log" in the broker's log) and answers NOT_COORDINATOR from then on, about once in 30 starts on a busy machine.
        No client can help that; elsewhere another broker takes over, a single one must be started once more.
        """
        self.stack.broker.start(deadline_s=START_S)
        back_ms, deadline = now_ms(), time.monotonic() + COORDINATOR_S
        while self.committed() == 0:
            if time.monotonic() > deadline:
                self.coordinators_lost += 1
                assert self.coordinators_lost <= COORDINATORS_LOST_MAX, "the broker's group coordinator never answers"
                self.stack.broker.stop()
                self.stack.broker.start(deadline_s=START_S)
                deadline = time.monotonic() + COORDINATOR_S
            time.sleep(POLL_S)
        return back_ms

    def ended_by_themselves(self) -> Counter[str]:
        """Why workers ended that nobody had killed, by their own logs."""
        lines = (line for log in self.directory.glob("worker-*.log") for line in log.read_text().splitlines())
        ends = (json.loads(line) for line in lines if '"event": "worker_ended"' in line)
        return Counter(end["why"] for end in ends)

    def supervise(self) -> None:
        """Starts keepers again that gave up, as what keeps them does."""
        self.keepers.look_after(self.workers.values())

    def recovery(self, fault_ms: float, partitions: Sequence[int] = range(PARTITIONS)) -> Recovery:
        """Waits until decisions flow again on `partitions`; raises TimeoutError when they don't."""
        deadline = time.monotonic() + RECOVERY_S
        while time.monotonic() < deadline:
            if (recovery := self.watcher.recovery(fault_ms, partitions, 1.0)) is not None:
                return recovery
            self.supervise()
        raise TimeoutError(
            f"no decisions on some of the partitions {list(partitions)} {RECOVERY_S:.0f} s after the fault"
        )

    def settle(self) -> Report:
        """Stops the traffic, waits until every record is committed, checks, and lets the traffic flow again."""
        published = self.feeder.pause()
        # A broker that is killed may forget which batches of a producer it has: then the log holds some twice.
        in_log = record_count(self.stack.bootstrap_servers, "transactions.v1")
        assert in_log >= published, f"{published} were published, {in_log} are in the log"
        what = "committing what was published"
        wait_committed(self.stack.bootstrap_servers, in_log, SETTLE_S, what, every_s=POLL_S, meanwhile=self.supervise)
        report = self.checker.check()
        assert report.transactions == in_log, f"{in_log} are in the log, {report.transactions} were checked"
        self.feeder.resume()
        return report

    def partitions_held(self, slot: int) -> int:
        """How many partitions the group's coordinator has given to a slot."""
        return partitions_held(self.stack.bootstrap_servers, GROUP, slot)

    def committed(self) -> int:
        return committed_counts(self.stack.bootstrap_servers, GROUP, "transactions.v1")


@contextlib.contextmanager
def open_rig(directory: Path, *, rate_per_s: int, seed: int) -> Iterator[Rig]:
    """The real stack with one worker in slot 0 and traffic flowing; everything is ended on leaving."""
    with RealStack(directory / "stack") as stack:
        prepare_topics(stack.bootstrap_servers, "", PARTITIONS)
        rig = Rig(directory, stack, rate_per_s, seed)
        rig.watcher.start()
        try:
            rig.start_worker(0)
            rig.feeder.start()
            rig.recovery(0)
            yield rig
        finally:
            rig.feeder.abandon()
            rig.watcher.stop()
            stop_all(rig.workers.values())


def now_ms() -> float:
    return time.time() * 1000
