"""Everything that a payment passes through, as processes to kill: worker, executors, audit, rail, and their servers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psycopg

from ops.bench.afterlife.execution_rig import executor_process, settled_offsets, url_of
from ops.bench.afterlife.traffic import Echo, Feed, Thread, twice
from ops.bench.audit.rig import audit_process, prepare_database
from ops.bench.rig.stored import record_count
from ops.bench.rig.topics_io import Outbound, committed_counts, prepare_topics
from ops.bench.rig.worker_process import worker_process
from ops.rail.misbehaviour import Misbehaviour
from ops.rail.process import rail_process, rail_url
from ops.stack.processes import ServerFailed, ServerProcess, free_port
from ops.stack.real import RealStack
from pipeline.io.kafka.positioned_log import BROKER_TIMEOUT_S

SLOTS: Final = (0, 1)
SETTLE_S: Final = 600.0
POLL_S: Final = 0.5
SAMPLE_S: Final = 4.0
RESTARTS_MAX: Final = 60
"""Of processes that ended by themselves, in one bench: more is one that can't live."""
CRASH_S: Final = 40.0
"""For an executor to reach the boundary that it is to crash at."""
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
"""One request in seven fails one way or another, one in ten is carried out twice."""


class AfterlifeRig:
    def __init__(self, directory: Path, stack: RealStack, records: list[Outbound], rate_per_s: int) -> None:
        self.stack, self.directory, servers = stack, directory, stack.bootstrap_servers
        port = free_port()
        self.rail_address = rail_url(port)
        self.worker = worker_process(directory, servers, stack.redis_url)
        self.rail = rail_process(directory / "rail", port, MISBEHAVIOUR)
        self.executors = {slot: self.executor(slot) for slot in SLOTS}
        self.audit = audit_process(stack, directory)
        self.feed = Feed(servers, "transactions.v1", twice(records), rate_per_s)
        self.echo = Echo(servers, "decisions.v1")
        self.sampler = Sampler(stack.database_url)
        self.gave_up = 0  # processes that ended by themselves and were started again

    def executor(self, slot: int, crash_step: str | None = None) -> ServerProcess:
        servers, database = self.stack.bootstrap_servers, self.stack.database_url
        if crash_step is None:
            return executor_process(self.directory, servers, database, self.rail_address, slot=slot)
        return executor_process(
            self.directory,
            servers,
            database,
            self.rail_address,
            slot=slot,
            module="ops.bench.afterlife.crashing_executor",
            arguments=(crash_step,),
        )

    @property
    def processes(self) -> dict[str, ServerProcess]:
        """All that a supervisor keeps running."""
        executors = {f"executor {slot}": process for slot, process in self.executors.items()}
        return {"worker": self.worker, "rail": self.rail, "audit": self.audit, **executors}

    def supervise(self) -> None:
        for thread in (self.feed.thread, self.echo.thread, self.sampler.thread):
            thread.check()
        for process in self.processes.values():
            if not process.is_running:
                self.gave_up += 1
                assert self.gave_up <= RESTARTS_MAX, "processes keep ending; see their logs"
                with contextlib.suppress(ServerFailed):  # the next call tries again
                    process.start()

    def wait_until(self, is_done: Callable[[], bool], deadline_s: float, what: str) -> None:
        deadline = time.monotonic() + deadline_s
        while not is_done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} took more than {deadline_s:.0f} s")
            self.supervise()
            time.sleep(POLL_S)

    def settle(self) -> None:
        """Returns once everything published is decided, echoed, executed, announced, audited, and out of doubt."""
        servers = self.stack.bootstrap_servers
        self.wait_until(lambda: not self.feed.thread.is_alive, SETTLE_S, "publishing")
        in_log = record_count(servers, "transactions.v1")
        self.wait_until(
            lambda: committed_counts(servers, "fraud-decide", "transactions.v1") >= in_log, SETTLE_S, "deciding"
        )
        self.wait_until(Still(self._positions, self.echo), SETTLE_S, "executing and auditing")
        self.wait_until(lambda: not self._doubtful(), SETTLE_S, "getting out of doubt")

    def reconcile(self) -> tuple[bool, list[str]]:
        """`fraud reconcile check` over everything: whether it found nothing missing, and the lines that it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "ops.cli", "reconcile", "check", "--json"],
            env={
                **os.environ,
                "FRAUD_BOOTSTRAP_SERVERS": self.stack.bootstrap_servers,
                "FRAUD_DATABASE_URL": url_of(self.stack.database_url, "fraud_reconcile"),
            },
            capture_output=True,
            text=True,
            timeout=SETTLE_S,
            check=False,
        )
        return done.returncode == 0, [*done.stdout.splitlines(), *done.stderr.splitlines()]

    def _positions(self) -> tuple[dict[int, int], bool]:
        """How far executors are, and whether audit is as far."""
        executed = settled_offsets(self.stack.database_url)
        try:
            with psycopg.connect(self.stack.database_url, connect_timeout=2) as connection:
                rows = connection.execute(
                    "SELECT partition, next_offset FROM control.consumer_position"
                    " WHERE consumer = 'audit' AND topic = 'decisions.v1'"
                ).fetchall()
                return executed, dict(rows) == executed
        except psycopg.OperationalError:
            return executed, False

    def _doubtful(self) -> int:
        with psycopg.connect(self.stack.database_url, connect_timeout=2) as connection:
            row = connection.execute(
                "SELECT count(*) FROM ledger.execution_state"
                " WHERE state IN ('SUBMITTED', 'IN_DOUBT', 'RECALLING', 'RECALL_IN_DOUBT') OR state IS NULL"
            ).fetchone()
            assert row is not None
            return int(row[0])


class Still:
    """True once positions have not moved for LOOKS looks, audit and executors agree, and nothing is to be echoed."""

    LOOKS: Final = int(BROKER_TIMEOUT_S / POLL_S)

    def __init__(self, positions: Callable[[], tuple[dict[int, int], bool]], echo: Echo) -> None:
        self._positions, self._echo = positions, echo
        self._last: dict[int, int] = {}
        self._looks = 0

    def __call__(self) -> bool:
        executed, is_audited = self._positions()
        is_same = bool(executed) and executed == self._last and is_audited and self._echo.is_idle
        self._looks, self._last = self._looks + 1 if is_same else 0, executed
        return self._looks >= self.LOOKS


class Sampler:
    """Looks, again and again while everything runs, whether all accounts sum to zero and none is overdrawn."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self.samples = 0
        self.wrong: list[str] = []
        self.thread = Thread("sampler", self._run)

    def _run(self) -> None:
        while not self.thread.stopping.wait(SAMPLE_S):
            with contextlib.suppress(psycopg.OperationalError):  # the server is away: that is one of the faults
                self._sample()

    def _sample(self) -> None:
        """One snapshot. The sums are taken entry by entry, not by the ledger's own views of them."""
        with psycopg.connect(self._database_url, connect_timeout=2) as connection:
            rows = connection.execute(
                "WITH entry AS (SELECT currency, amount_minor FROM ledger.posting UNION ALL"
                " SELECT currency, -amount_minor FROM ledger.posting)"
                " SELECT currency, sum(amount_minor) FROM entry GROUP BY currency"
            ).fetchall()
            overdrawn = connection.execute(
                "WITH change AS (SELECT source_account_id AS account_id, currency, -amount_minor AS amount_minor"
                " FROM ledger.posting UNION ALL SELECT destination_account_id, currency, amount_minor"
                " FROM ledger.posting)"
                " SELECT account_id, currency FROM change WHERE account_id <> '/funding'"
                " GROUP BY account_id, currency HAVING sum(amount_minor) < 0"
            ).fetchall()
        self.samples += 1
        self.wrong += [f"{currency} sums to {total}" for currency, total in rows if total]
        self.wrong += [f"{account_id} is below zero in {currency}" for account_id, currency in overdrawn]


@contextmanager
def open_rig(
    directory: Path, records: list[Outbound], rate_per_s: int, fill: Callable[[str], None]
) -> Iterator[AfterlifeRig]:
    """`fill`: opens accounts, given the database's address. Everything is ended on leaving."""
    with RealStack(directory / "stack", with_postgres=True) as stack:
        prepare_topics(stack.bootstrap_servers, "")
        prepare_database(stack, directory)
        fill(stack.database_url)
        rig = AfterlifeRig(directory, stack, records, rate_per_s)
        threads = (rig.feed.thread, rig.echo.thread, rig.sampler.thread)
        try:
            for process in rig.processes.values():
                process.start()
            for thread in threads:
                thread.start()
            yield rig
        finally:
            for thread in threads:
                thread.stopping.set()
            for process in rig.processes.values():
                process.stop()
