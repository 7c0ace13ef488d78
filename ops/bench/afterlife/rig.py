"""The processes that a payment passes through and a bench kills: worker, executors, audit, rail, and their servers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from ops.bench.afterlife.traffic import Echo, twice
from ops.bench.rig.commands import completed, with_settings
from ops.bench.rig.database import Sampler, positions, prepare_database, settled_offsets
from ops.bench.rig.feeder import Feeder
from ops.bench.rig.services import audit_process, executor_process, url_of, worker_process
from ops.bench.rig.stored import record_count
from ops.bench.rig.supervision import Supervisor, stop_all
from ops.bench.rig.topics_io import Outbound, prepare_topics
from ops.bench.rig.waiting import wait_committed, wait_until
from ops.processes.servers import ServerProcess, free_port
from ops.rail.misbehaviour import Misbehaviour
from ops.rail.process import rail_process, rail_url
from ops.stack.real import RealStack
from pipeline.io.kafka.client import ANSWER_S

SLOTS: Final = (0, 1)
SETTLE_S: Final = 600.0
POLL_S: Final = 0.5
RESTARTS_MAX: Final = 60
"""Most restarts, in one bench, of processes that ended by themselves. A process that needs more can't live."""
CRASH_S: Final = 120.0
"""Time for an executor to reach the boundary that it is to crash at."""
MISBEHAVIOUR: Final = Misbehaviour(
    seed=20_264,
    slow_share=0.02,
    slow_ms=2_500,
    error_before_share=0.03,
    partial_share=0.03,
    error_after_share=0.03,
    lost_reply_share=0.03,
    duplicate_share=0.1,
    refused_share=0.002,
    recall_refused_share=0.02,
)
"""Misbehaviour of the rail: one request in seven fails one way or another, one in ten is carried out twice."""


class AfterlifeRig:
    def __init__(self, directory: Path, stack: RealStack, records: list[Outbound], rate_per_s: int) -> None:
        self.stack, self.directory, servers = stack, directory, stack.bootstrap_servers
        port = free_port()
        self.rail_address = rail_url(port)
        self.worker = worker_process(directory, servers, stack.redis_url)
        self.rail = rail_process(directory / "rail", port, MISBEHAVIOUR)
        self.executors = {slot: self.executor(slot) for slot in SLOTS}
        self.audit = audit_process(stack, directory)
        self.feeder = Feeder(directory, servers, "transactions.v1", twice(records), rate_per_s)
        self.echo = Echo(servers, "decisions.v1")
        self.sampler = Sampler(stack.database_url)
        self.supervisor = Supervisor(RESTARTS_MAX)

    def executor(self, slot: int, crash_step: str | None = None) -> ServerProcess:
        where = self.directory, self.stack.bootstrap_servers, self.stack.database_url, self.rail_address
        if crash_step is None:
            return executor_process(*where, slot=slot)
        return executor_process(*where, slot=slot, command=("ops.bench.afterlife.crashing_executor", crash_step))

    @property
    def processes(self) -> dict[str, ServerProcess]:
        """Return all processes that a supervisor keeps running."""
        executors = {f"executor {slot}": process for slot, process in self.executors.items()}
        return {"worker": self.worker, "rail": self.rail, "audit": self.audit, **executors}

    def supervise(self) -> None:
        for each in (self.feeder, self.echo.thread, self.sampler.thread):
            each.check()
        self.supervisor.look_after(self.processes.values())

    def settle(self) -> None:
        """Wait until everything published is decided, echoed, executed, announced, audited, and out of doubt."""
        servers = self.stack.bootstrap_servers
        self._wait_until(lambda: self.feeder.has_ended, "publishing")
        in_log = record_count(servers, "transactions.v1")
        wait_committed(servers, in_log, SETTLE_S, "deciding", every_s=POLL_S, meanwhile=self.supervise)
        self.come_to_rest()

    def come_to_rest(self) -> None:
        """Wait until every decision is echoed, executed, announced, audited, and out of doubt."""
        self._wait_until(Still(self.positions, self.echo), "executing and auditing")
        self._wait_until(lambda: not self._doubtful(), "getting out of doubt")

    def reconcile(self) -> tuple[bool, list[str]]:
        """Run `fraud reconcile check` over everything; return whether nothing is missing, and the lines it printed."""
        settings = {
            "FRAUD_BOOTSTRAP_SERVERS": self.stack.bootstrap_servers,
            "FRAUD_DATABASE_URL": url_of(self.stack.database_url, "fraud_reconcile"),
        }
        command = [sys.executable, "-m", "ops.cli", "reconcile", "check", "--json"]
        log_path = self.directory / "reconcile.log"
        done = completed(command, log_path, timeout_s=SETTLE_S, environment=with_settings(settings))
        return done.returncode == 0, [*done.stdout.splitlines(), *done.stderr.splitlines()]

    def _wait_until(self, is_done: Callable[[], bool], what: str) -> None:
        wait_until(is_done, SETTLE_S, what, every_s=POLL_S, meanwhile=self.supervise)

    def positions(self) -> tuple[dict[int, int], bool]:
        """Return how far the executors are, and whether the audit service is as far."""
        executed = settled_offsets(self.stack.database_url)
        return executed, positions(self.stack.database_url, "audit") == executed

    def _doubtful(self) -> int:
        with psycopg.connect(self.stack.database_url, connect_timeout=2) as connection:
            [(count,)] = connection.execute(
                "SELECT count(*) FROM ledger.execution_state"
                " WHERE state IS NULL OR state IN ('SUBMITTED', 'IN_DOUBT', 'RECALLING', 'RECALL_IN_DOUBT',"
                " 'PART_RECALLING', 'PART_RECALL_IN_DOUBT')"
            ).fetchall()
            return int(count)


class Still:
    """True once positions have not moved for LOOKS looks, audit and executors agree, and nothing is to be echoed."""

    LOOKS: Final = int(ANSWER_S / POLL_S)

    def __init__(self, positions: Callable[[], tuple[dict[int, int], bool]], echo: Echo) -> None:
        self._positions, self._echo = positions, echo
        self._last: dict[int, int] = {}
        self._looks = 0

    def __call__(self) -> bool:
        executed, is_audited = self._positions()
        is_same = bool(executed) and executed == self._last and is_audited and self._echo.is_idle
        self._looks, self._last = self._looks + 1 if is_same else 0, executed
        return self._looks >= self.LOOKS


@contextmanager
def open_rig(
    directory: Path, records: list[Outbound], rate_per_s: int, fill: Callable[[str], None]
) -> Iterator[AfterlifeRig]:
    """Open a rig, and end everything on leaving. `fill` opens accounts, given the database's address."""
    with RealStack(directory / "stack", with_postgres=True) as stack:
        prepare_topics(stack.bootstrap_servers, "")
        prepare_database(stack, directory)
        fill(stack.database_url)
        rig = AfterlifeRig(directory, stack, records, rate_per_s)
        threads = (rig.echo.thread, rig.sampler.thread)
        try:
            for process in rig.processes.values():
                process.start()
            for each in (rig.feeder, *threads):
                each.start()
            yield rig
        finally:
            rig.feeder.abandon()
            for thread in threads:
                thread.stopping.set()
            stop_all(rig.processes.values())
