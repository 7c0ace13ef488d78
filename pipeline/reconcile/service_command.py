"""`fraud reconcile`: everything held against everything, once or without end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Final, NamedTuple, NoReturn

from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.decide.policy import PolicyRefused, parse_policy
from pipeline.domain.money import count_text
from pipeline.drills.objectives import EVERY_DAYS
from pipeline.drills.watch_service import DrillWatch
from pipeline.io.addresses import shown_address
from pipeline.io.avro.wire import WireFormat
from pipeline.io.clock import now_ms
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, DatabaseRefused, DatabaseUnavailable, Held, connect
from pipeline.io.runner import Terms, run_service
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeySetRefused
from pipeline.reconcile.comparison_store import Looked, Looking, Topics
from pipeline.reconcile.finding_store import Findings
from pipeline.reconcile.following_service import LOOK_AGAIN_S, Following
from pipeline.reconcile.gaps import Gap
from pipeline.reconcile.held_watch_service import HeldWatch
from pipeline.reconcile.label_watch_service import LabelWatch, OncePassedOver
from pipeline.reconcile.service import CONSUMER, GROUP, Comparison, IntakeOf, Reconciler
from pipeline.reconcile.source_watch_service import SourceWatch
from pipeline.reconcile.statement.statement_watch_service import StatementWatch
from pipeline.reconcile.told_watch_service import ToldWatch, UnprovedTold
from pipeline.replay.archive_files import archived_or_in_force
from pipeline.replay.feed_proof_files import feeds_fault_of
from pipeline.seals.label_files import label_proves
from pipeline.seals.seal_files import EXECUTIONS, execution_proves, letter_proves, seal_check
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output, coloured

_ONCE: Final = f"{CONSUMER}-once"
"""A consumer that has no positions, for a run that begins with the oldest records."""


class Totals(NamedTuple):
    """The sums of one run."""

    taken_in: int = 0
    decisions: int = 0
    dead_letters: int = 0
    duplicates: int = 0
    audited: int = 0
    executed: int = 0
    gaps: int = 0

    def plus(self, looked: Looked, gaps: int) -> Totals:
        return Totals(
            self.taken_in + looked.taken_in,
            self.decisions + looked.decisions,
            self.dead_letters + looked.dead_letters,
            self.duplicates + looked.duplicates,
            self.audited + looked.audited,
            self.executed + looked.executed,
            self.gaps + gaps,
        )


def reconcile_once(settings: Settings, wire: WireFormat, output: Output) -> bool:
    """From the oldest records that the topics hold to what is committed now; True when nothing is missing, and the
    workers' commits say what was taken in."""
    totals, uncommitted = Totals(), list[int]()
    try:
        with _reconciler(settings, wire, is_stored=False) as reconciler, closing(_connect(settings)) as connection:
            shown = set(_standing(reconciler, connection))
            totals = totals._replace(gaps=len(shown))
            for gap in sorted(shown):
                show_gap(output, gap)
            while (stretch := reconciler.open(connection)) is not None:
                looked = _settled(reconciler, connection, stretch, settings.reconcile_grace_s)
                gaps = [gap for gap in reconciler.close(connection, stretch, looked) if gap not in shown]
                totals = totals.plus(looked, len(gaps))
                for gap in gaps:
                    show_gap(output, gap)
            uncommitted = reconciler.uncommitted()
    except BrokerFailed as error:
        raise Failure(f"{error}.", "Is the broker up, and may you read the topics and tell alerts?") from error
    except (DatabaseUnavailable, DatabaseRefused) as error:
        what = f"The database at {shown_address(settings.database_url)} can't be used: {error}."
        raise Failure(what, "Is it up and migrated, and are you fraud_reconcile?") from error
    for partition in uncommitted:
        show_uncommitted(output, settings, partition)
    show_totals(output, totals)
    return totals.gaps == 0 and not uncommitted


def run_reconcile(settings: Settings, wire: WireFormat) -> NoReturn:
    """Run as a service (pipeline.io.runner)."""
    held = Held(partial(_connect, settings))
    with (
        _reconciler(settings, wire, is_stored=True) as reconciler,
        source_watch(settings, wire) as watch,
        label_watch(settings, wire) as labels,
        told_watch(settings, wire) as told,
        held_watch(settings, wire) as transactions,
    ):
        drills = drill_watch(settings, wire)
        statements = statement_watch(settings, wire)
        grace_s = settings.reconcile_grace_s
        following = Following(reconciler, watch, labels, told, drills, statements, transactions, held, grace_s)
        terms = Terms("reconcile", settings.reconcile_port, "FRAUD_RECONCILE_PORT", ending=(KeySetRefused,))
        run_service(following, settings, terms)


def show_gap(output: Output, gap: Gap) -> None:
    offsets = f"{gap.first_offset}" if gap.records == 1 else f"{gap.first_offset} to {gap.last_offset}"
    place = f"{gap.topic}[{gap.partition}] {offsets}"
    where = f"{place}, {count_text(gap.records, 'record')}, by {gap.side}"
    line = f"{coloured('GAP', 'red', is_bold=True)} {gap.kind:<19} {where}"
    output.record({"gap": {**gap._asdict(), "side": gap.side}}, line)


def show_uncommitted(output: Output, settings: Settings, partition: int) -> None:
    topic, group = settings.topic("transactions.v1"), settings.consumer_group
    why = f"decisions stand there, and {group} has committed nothing, so what was taken in is not known"
    line = f"{coloured('NOT KNOWN', 'red', is_bold=True)} {topic}[{partition}]: {why}"
    output.record({"unknown": {"topic": topic, "partition": partition, "group": group, "why": why}}, line)


def show_totals(output: Output, totals: Totals) -> None:
    colour = "red" if totals.gaps else "green"
    decisions, letters = count_text(totals.decisions, "decision"), count_text(totals.dead_letters, "dead letter")
    audited, executed = count_text(totals.audited, "record"), count_text(totals.executed, "execution")
    sums = f"{decisions} + {letters} + {count_text(totals.duplicates, 'duplicate')}"
    line = f"{totals.taken_in:,} taken in = {sums}; {audited} audited, {executed}; "
    output.record(totals._asdict(), line + coloured(f"{count_text(totals.gaps, 'gap')}", colour))


def _standing(reconciler: Reconciler, connection: Connection) -> Iterator[Gap]:
    """What is wrong whatever the topics hold: records put aside, holds that nothing frees, and postings."""
    yield from reconciler.name_quarantined(connection)
    yield from reconciler.name_stale_holds(connection)
    while (gaps := reconciler.sweep_ledger(connection)) is not None:
        yield from gaps


def _settled(reconciler: Reconciler, connection: Connection, stretch: Comparison, grace_s: float) -> Looked:
    """Looked at again until nothing in it may still be on its way, or its grace is over."""
    deadline = time.monotonic() + grace_s
    while True:
        looked = reconciler.look(connection, stretch)
        if not looked.may_be_late or time.monotonic() > deadline:
            return looked
        time.sleep(LOOK_AGAIN_S)


def _connect(settings: Settings) -> Connection:
    return connect(settings.database_url, GROUP)


@contextmanager
def source_watch(settings: Settings, wire: WireFormat) -> Iterator[SourceWatch]:
    """Make what reads decisions back, with clients of its own."""
    appender = Appender.of(settings, f"{GROUP}-source")
    with LogReader.of_service(settings, GROUP, is_expiry_expected=True) as log_reader:
        yield SourceWatch(
            log_reader,
            wire,
            _topics(settings),
            settings.consumer_group,
            seal_check(settings),
            partial(archived_or_in_force, settings),
            Findings(AlertPublisher(appender.append, wire, settings.topic("alerts.v1"))),
            now_ms,
            feeds_fault_of(settings),
        )


def statement_watch(settings: Settings, wire: WireFormat) -> StatementWatch:
    """Make the watch for statements of the rail that don't come."""
    publisher = AlertPublisher(Appender.of(settings, GROUP).append, wire, settings.topic("alerts.v1"))
    return StatementWatch(settings.rail_account, publisher.publish, now_ms)


def drill_watch(settings: Settings, wire: WireFormat) -> DrillWatch:
    """Make the watch for drills that are overdue, by the policy in force."""
    publisher = AlertPublisher(Appender.of(settings, GROUP).append, wire, settings.topic("alerts.v1"))
    return DrillWatch(publisher.publish, partial(_every_days, settings), now_ms)


def _every_days(settings: Settings) -> int:
    """Return how often drills are due by the policy; each quarter where it doesn't say, or can't be read."""
    try:
        policy = parse_policy(settings.policy_path.read_bytes())
    except (OSError, PolicyRefused):
        return EVERY_DAYS
    return EVERY_DAYS if policy.drills is None else policy.drills.every_days


@contextmanager
def label_watch(settings: Settings, wire: WireFormat) -> Iterator[LabelWatch]:
    """Make what counts labels, with a reader of its own."""
    passed_over = OncePassedOver()
    proves = {topic: passed_over.counting(prove) for topic, prove in label_proves(settings).items()}
    with LogReader.of_service(settings, GROUP, is_expiry_expected=True, proves=proves) as log_reader:
        yield LabelWatch(log_reader, wire, settings.topic("labels.v1"), now_ms, passed_over)


@contextmanager
def told_watch(settings: Settings, wire: WireFormat) -> Iterator[ToldWatch]:
    """Make what compares executions.v1 with the ledger, with a reader and an appender of its own."""
    publisher = AlertPublisher(Appender.of(settings, GROUP).append, wire, settings.topic("alerts.v1"))
    unproved = UnprovedTold()
    proves = {topic: unproved.noting(prove) for topic, prove in execution_proves(settings).items()}
    with LogReader.of_service(settings, GROUP, is_expiry_expected=True, proves=proves) as log_reader:
        yield ToldWatch(log_reader, wire, settings.topic(EXECUTIONS), publisher.publish, now_ms, unproved)


@contextmanager
def held_watch(settings: Settings, wire: WireFormat) -> Iterator[HeldWatch]:
    """Make what looks for transactions that are left open, with a reader of its own."""
    publisher = AlertPublisher(Appender.of(settings, GROUP).append, wire, settings.topic("alerts.v1"))
    with LogReader.of_service(settings, GROUP, is_expiry_expected=True) as log_reader:
        yield HeldWatch(log_reader, _topics(settings), publisher.publish, now_ms, time.monotonic)


def _topics(settings: Settings) -> Topics:
    return Topics(*map(settings.topic, ("transactions.v1", "decisions.v1", "transactions.dead.v1")))


@contextmanager
def _reconciler(settings: Settings, wire: WireFormat, *, is_stored: bool) -> Iterator[Reconciler]:
    topics = _topics(settings)
    appender = Appender.of(settings, GROUP)
    with LogReader.of_service(settings, GROUP, proves=letter_proves(settings)) as log_reader:
        looking = Looking(wire, log_reader, topics, CONSUMER if is_stored else _ONCE)
        findings = Findings(AlertPublisher(appender.append, wire, settings.topic("alerts.v1")))
        intake = IntakeOf(topics, settings.consumer_group)
        yield Reconciler(log_reader, looking, findings, intake, now_ms, is_stored=is_stored)
