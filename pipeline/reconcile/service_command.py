"""`fraud reconcile check`: everything held against everything, once or without end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final, NamedTuple

import structlog

from pipeline.io import logs
from pipeline.io.avro.wire import WireFormat
from pipeline.io.health import health_pages
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, DatabaseRefused, DatabaseUnavailable, PositionMoved, connect
from pipeline.io.settings import Settings
from pipeline.reconcile import metrics
from pipeline.reconcile.comparison_store import Looked, Looking, Topics
from pipeline.reconcile.finding_store import Findings
from pipeline.reconcile.gaps import Gap
from pipeline.reconcile.service import CONSUMER, GROUP, Comparison, IntakeOf, Reconciler
from pipeline.terminal.failures import Failure, without_password
from pipeline.terminal.output import Output, coloured

LOOK_AGAIN_S: Final = 0.5
IDLE_S: Final = 1.0
HOLD_S: Final = 1.0
HOLDS_MAX: Final = 120
"""In a row: two minutes of a broker or a database that is away; a supervisor starts it again."""
_ONCE: Final = f"{CONSUMER}-once"
"""A consumer that has no positions, for a run that begins with the oldest records."""

log = structlog.get_logger("reconcile")


class Totals(NamedTuple):
    """Of one run."""

    taken_in: int = 0
    decisions: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    audited: int = 0
    executed: int = 0
    gaps: int = 0

    def plus(self, looked: Looked, gaps: int) -> Totals:
        added = (*looked[1:], gaps)
        return Totals(*(before + more for before, more in zip(self, added, strict=True)))


def reconcile_once(settings: Settings, wire: WireFormat, output: Output) -> bool:
    """From the oldest records that the topics hold to what is committed now; True when nothing is missing."""
    totals, never = Totals(), threading.Event()
    try:
        with _reconciler(settings, wire, is_stored=False) as reconciler, closing(_connect(settings)) as connection:
            while (stretch := reconciler.open(connection)) is not None:
                looked = _settled(reconciler, connection, stretch, settings.reconcile_grace_s, never)
                gaps = reconciler.close(connection, stretch, looked)
                totals = totals.plus(looked, len(gaps))
                for gap in gaps:
                    show_gap(output, gap)
    except BrokerFailed as error:
        raise Failure(f"{error}.", "Is the broker up, and may you read the topics and tell alerts?") from error
    except (DatabaseUnavailable, DatabaseRefused) as error:
        what = f"The database at {without_password(settings.database_url)} can't be used: {error}."
        raise Failure(what, "Is it up and migrated, and are you fraud_reconcile?") from error
    show_totals(output, totals)
    return totals.gaps == 0


def run_reconcile(settings: Settings, wire: WireFormat) -> None:
    """Until SIGTERM or SIGINT. Failure where it must give up its place."""
    logs.configure(settings.log_level)
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    try:
        with (
            _reconciler(settings, wire, is_stored=True) as reconciler,
            health_pages(settings.web_host, settings.web_port, lambda: True),
        ):
            _keep_running(settings, reconciler, stopping)
    except OSError as error:
        what = f"{settings.web_host}:{settings.web_port}, for the health pages, can't be had ({error.strerror})."
        raise Failure(what, "Set FRAUD_WEB_PORT or FRAUD_WEB_HOST to something free.") from error
    except PositionMoved as error:
        raise Failure(f"Another reconciliation is running: {error}.", "Let one run.") from error
    except (BrokerFailed, DatabaseUnavailable, DatabaseRefused) as error:
        raise Failure(f"Reconciliation gives up its place: {error}.", "Its log says more.") from error


def show_gap(output: Output, gap: Gap) -> None:
    offsets = f"{gap.first_offset}" if gap.records == 1 else f"{gap.first_offset} to {gap.last_offset}"
    place = f"{gap.topic}[{gap.partition}] {offsets}"
    line = f"{coloured('GAP', 'red', is_bold=True)} {gap.kind:<19} {place}, {gap.records:,} records, by {gap.side}"
    output.record({"gap": {**gap._asdict(), "side": gap.side}}, line)


def show_totals(output: Output, totals: Totals) -> None:
    colour = "red" if totals.gaps else "green"
    sums = f"{totals.decisions:,} decisions + {totals.dead_letters:,} dead letters + {totals.duplicates:,} duplicates"
    line = (
        f"{totals.taken_in:,} taken in = {sums}; {totals.audited:,} records audited, {totals.executed:,} executions; "
    )
    output.record(totals._asdict(), line + coloured(f"{totals.gaps:,} gaps", colour))


def _keep_running(settings: Settings, reconciler: Reconciler, stopping: threading.Event) -> None:
    holds = 0
    while not stopping.is_set():
        try:
            with closing(_connect(settings)) as connection:
                while not stopping.is_set():
                    _turn(settings, reconciler, connection, stopping)
                    holds = 0
        except (BrokerFailed, DatabaseUnavailable) as error:
            holds += 1
            if holds > HOLDS_MAX:
                raise
            reconciler.forget()
            metrics.HOLDS.labels(type(error).__name__).inc()
            log.warning("reconciliation_held", why=str(error))
            stopping.wait(HOLD_S)


def _turn(settings: Settings, reconciler: Reconciler, connection: Connection, stopping: threading.Event) -> None:
    for gap in reconciler.close_filled(connection):
        metrics.GAPS_CLOSED.labels(gap.kind).inc()
        log.info("gap_closed", **_fields(gap))
    stretch = reconciler.open(connection)
    if stretch is None:
        stopping.wait(IDLE_S)
        return
    looked = _settled(reconciler, connection, stretch, settings.reconcile_grace_s, stopping)
    if stopping.is_set() and looked.may_be_late:
        return  # what isn't over isn't judged
    for gap in reconciler.close(connection, stretch, looked):
        metrics.GAPS.labels(gap.kind).inc()
        log.error("gap_found", **_fields(gap))
    metrics.RECONCILED.inc(looked.taken_in)
    metrics.LAST_CLOSED.set_to_current_time()


def _settled(
    reconciler: Reconciler, connection: Connection, stretch: Comparison, grace_s: float, stopping: threading.Event
) -> Looked:
    """Looked at again until nothing in it may still be on its way, or its grace is over."""
    deadline = time.monotonic() + grace_s
    while True:
        looked = reconciler.look(connection, stretch)
        if not looked.may_be_late or time.monotonic() > deadline or stopping.wait(LOOK_AGAIN_S):
            return looked


def _fields(gap: Gap) -> dict[str, object]:
    return {**gap._asdict(), "side": gap.side}


def _connect(settings: Settings) -> Connection:
    return connect(settings.database_url, GROUP, patience_s=settings.database_patience_s)


@contextmanager
def _reconciler(settings: Settings, wire: WireFormat, *, is_stored: bool) -> Iterator[Reconciler]:
    names = ("transactions.v1", "decisions.v1", "transactions.dead.v1")
    topics = Topics(*map(settings.topic, names))
    appender = Appender(settings.bootstrap_servers, GROUP, settings.kafka_options)
    with LogReader(settings.bootstrap_servers, GROUP, settings.kafka_options) as log_reader:
        looking = Looking(wire, log_reader, topics, CONSUMER if is_stored else _ONCE)
        findings = Findings(wire, settings.topic("alerts.v1"), appender.append)
        intake = IntakeOf(topics, settings.consumer_group)
        yield Reconciler(log_reader, looking, findings, intake, _now_ms, is_stored=is_stored)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
