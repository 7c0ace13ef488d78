"""Decisions under a good seal, read back from their sources: what a stolen signing key can write is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from ops.stack.embedded import EmbeddedStack
from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.domain.alert import Alert, Severity
from pipeline.domain.decision import StoredDecision
from pipeline.domain.log import Header, Source
from pipeline.domain.payment import Transaction
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import connect
from pipeline.keys.key_sets import KeyUse
from pipeline.reconcile import source_watch_service
from pipeline.reconcile.comparison_store import Topics
from pipeline.reconcile.finding_store import Findings
from pipeline.reconcile.gaps import GapKind
from pipeline.reconcile.source_watch_service import SourceWatch
from pipeline.replay.regimes import FeedsFault, RegimeOf
from pipeline.replay.verify import Check, verify
from tests.archive import CLOSED, Archive, payment, stored
from tests.records import NOON_MS
from tests.seals.given import Writers, sealed
from tests.servers import unused_prefix, url_as

WIRE = WireFormat()
WAIT_S = 120.0
KINDS = Callable[[list[bytes]], list[GapKind]]


class World:
    """Payments on one partition, their decisions, and the workers' commits, all as they are when nobody cheats."""

    def __init__(self, stack: EmbeddedStack, database_url: str, folder: Path) -> None:
        self.servers, self.prefix, self.archive = stack.bootstrap_servers, unused_prefix(), Archive(folder)
        names = ("transactions.v1", "decisions.v1", "transactions.dead.v1")
        self.topics = Topics(*(self.prefix + name for name in names))
        self.writers = Writers(self.topics.decisions)
        self.connection = connect(url_as(database_url, "fraud_reconcile"), "test")
        self.log = LogReader(self.servers, "fraud-reconcile", {}, is_expiry_expected=True)
        self._producer = Producer({"bootstrap.servers": self.servers, "log_level": 2})
        for topic in (*self.topics, f"{self.prefix}alerts.v1"):
            self._producer.list_topics(topic, timeout=WAIT_S)  # the mock broker makes it
        self.payments: list[Transaction] = []
        self.watch = self.begun_again()

    def begun_again(self) -> SourceWatch:
        appender = Appender(self.servers, "test", {})
        return SourceWatch(
            self.log,
            WIRE,
            self.topics,
            f"{self.prefix}fraud-decide",
            self.writers.check(),
            lambda: self.archive.regime_of,
            Findings(AlertPublisher(appender.append, WIRE, f"{self.prefix}alerts.v1")),
            lambda: NOON_MS,
        )

    def pay(self, count: int) -> None:
        made = [payment(len(self.payments) + number) for number in range(count)]
        self.payments += made
        for each in made:
            self._append(self.topics.intake, each.account_id.encode(), WIRE.encode_transaction(each), None)

    def decision(self, number: int, at: int | None = None, paid: Transaction | None = None, **state: int) -> bytes:
        """About the payment of that number; at: the source that it names."""
        source = Source(0, number if at is None else at, NOON_MS)
        return self.archive.values([paid or self.payments[number]], [CLOSED], [source], **state)[0]

    def decide(self, *values: bytes) -> None:
        """As a worker does, or whoever has all of its keys."""
        for value in values:
            key = stored(value).decision.account_id.encode()
            [record] = sealed(self.writers.sealer(KeyUse.DECISIONS), value, key=key)
            self._append(self.topics.decisions, key, value, record.headers)

    def append(self, value: bytes, headers: list[Header] | None = None) -> None:
        self._append(self.topics.decisions, b"key", value, headers)

    def commit(self, end: int) -> None:
        settings = {"bootstrap.servers": self.servers, "group.id": f"{self.prefix}fraud-decide", "log_level": 2}
        with closing(Consumer({**settings, "enable.auto.commit": False})) as consumer:
            consumer.commit(offsets=[TopicPartition(self.topics.intake, 0, end)], asynchronous=False)

    def found(self) -> list[tuple[GapKind, int]]:
        return [(gap.kind, gap.first_offset) for gap in self.watch.step(self.connection)]

    def alerts(self) -> list[Alert]:
        read = (WIRE.decode_alert(record.value) for record in self.log.read_all(f"{self.prefix}alerts.v1"))
        return [alert for alert in read if isinstance(alert, Alert)]

    def close(self) -> None:
        self.connection.close()
        self.log.close()

    def _append(self, topic: str, key: bytes, value: bytes, headers: list[Header] | None) -> None:
        self._producer.produce(topic, value, key, 0, timestamp=NOON_MS, headers=headers)
        assert 0 == self._producer.flush(WAIT_S)


@pytest.fixture
def world(stack: EmbeddedStack, database_url: str, tmp_path: Path) -> Iterator[World]:
    """Ten payments, of which eight are decided."""
    with closing(World(stack, database_url, tmp_path)) as world:
        world.pay(10)
        world.decide(*(world.decision(number) for number in range(8)))
        world.commit(8)
        yield world


def test_honest_decisions_and_their_copies_are_accused_of_nothing(world: World) -> None:
    assert [] == world.found()
    world.decide(world.decision(3), world.decision(7))
    assert [] == world.found()
    world.watch = world.begun_again()
    world.decide(world.decision(5), world.decision(8))
    world.commit(9)
    assert [] == world.found()


def _to_a_stranger(world: World) -> bytes:
    return world.decision(8, paid=world.payments[8]._replace(beneficiary_account_id="GB29-STRANGER"))


def _of_more_money(world: World) -> bytes:
    return world.decision(8, paid=world.payments[8]._replace(amount_minor=4_900_000))


def _of_an_invented_payment(world: World) -> bytes:
    return world.decision(8, at=1_000_000, paid=payment(99))


def _of_another_partition(world: World) -> bytes:
    return world.archive.values([world.payments[8]], [CLOSED], [Source(1, 8, NOON_MS)])[0]


def _at_another_time(world: World) -> bytes:
    return world.archive.values([world.payments[8]], [CLOSED], [Source(0, 8, NOON_MS - 1)])[0]


@pytest.mark.parametrize(
    "forge",
    [_to_a_stranger, _of_more_money, _of_an_invented_payment, _of_another_partition, _at_another_time],
    ids=lambda forge: forge.__name__.strip("_"),
)
def test_a_decision_on_what_is_not_at_its_source_is_found(world: World, forge: Callable[[World], bytes]) -> None:
    world.decide(forge(world))
    world.commit(9)
    found = world.found()
    assert (GapKind.SOURCE_DIFFERS, 8) in found
    assert {8} == {offset for _, offset in found}
    told = world.alerts()
    assert {("DECISION_UNFOUNDED", Severity.CRITICAL)} == {(alert.code, alert.severity) for alert in told}
    world.decide(world.decision(8), world.decision(9))  # and the honest ones behind it are accused of nothing
    world.commit(10)
    assert [] == world.found()


def test_a_second_decision_on_a_payment_is_found_whichever_came_first(world: World) -> None:
    quiet, noisy = world.decision(8), world.decision(8, ip_fraud_reports=3)
    assert quiet != noisy
    world.decide(quiet, noisy)
    world.commit(9)
    assert [(GapKind.DECIDED_TWICE, 9)] == world.found()


def test_a_second_decision_on_a_payment_from_before_a_restart_is_found(world: World) -> None:
    assert [] == world.found()
    world.watch = world.begun_again()
    world.decide(world.decision(2, ip_fraud_reports=3))
    assert [(GapKind.DECIDED_TWICE, 8)] == world.found()


def test_a_decision_on_what_the_workers_had_passed_is_found(world: World) -> None:
    """A payment that became a dead letter."""
    world.decide(world.decision(9))
    world.commit(10)
    assert [] == world.found()
    world.decide(world.decision(8))
    assert [(GapKind.DECIDED_LATE, 9)] == world.found()


def test_a_decision_that_does_not_follow_from_its_snapshot_is_found(world: World) -> None:
    value = world.decision(8)
    summary = stored(value).decision.summary.encode()
    world.decide(value.replace(summary, summary[:-1] + b"!"))
    world.commit(9)
    assert [(GapKind.DECIDED_OTHERWISE, 8)] == world.found()


def test_a_decision_under_a_policy_that_nobody_knows_is_found(world: World) -> None:
    value = world.decision(8)
    world.decide(value.replace(stored(value).decision.policy_hash, bytes(range(32))))
    world.commit(9)
    assert [(GapKind.NOT_VERIFIED, 8)] == world.found()


def test_a_decision_that_makes_our_code_fail_is_found_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the key writes what they like; it must not keep the watch from looking."""

    def failing(decisions: Sequence[StoredDecision], regime_of: RegimeOf, feeds_fault: FeedsFault) -> list[Check]:
        if any(each.decision.source_offset == 8 for each in decisions):
            raise ZeroDivisionError
        return verify(decisions, regime_of, feeds_fault)

    monkeypatch.setattr(source_watch_service, "verify", failing)
    world.decide(world.decision(8), world.decision(9))
    world.commit(10)
    assert [(GapKind.NOT_VERIFIED, 8)] == world.found()


def test_a_decision_that_no_worker_committed_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.decide(world.decision(8))
    assert [] == world.found()
    assert world.connection.execute(
        "SELECT next_offset FROM control.consumer_position WHERE consumer = 'reconcile-source'"
    ).fetchall() == [(8,)], "a restart looks at it again"
    monkeypatch.setattr(source_watch_service, "COMMIT_GRACE_S", 0.0)
    world.watch = world.begun_again()
    assert [(GapKind.UNCOMMITTED, 8)] == world.found()
    assert [] == world.found()
    world.commit(9)
    world.watch = world.begun_again()
    assert [] == world.found()


def test_records_that_nobody_proves_to_have_written_are_named(world: World) -> None:
    world.append(world.decision(8))
    world.append(b"garbage")
    gaps = world.watch.step(world.connection)
    assert [(GapKind.UNPROVED, 8, 9, 2)] == [(gap.kind, gap.first_offset, gap.last_offset, gap.records) for gap in gaps]
    assert {"RECORD_UNPROVED"} == {alert.code for alert in world.alerts()}
    kinds = world.connection.execute("SELECT kind, event FROM control.reconciliation_gap").fetchall()
    assert [("UNPROVED", "OPENED")] == kinds


def test_what_was_found_is_told_again_under_the_same_id_after_a_crash(world: World) -> None:
    world.decide(_of_more_money(world))
    world.commit(9)
    first = world.watch._tell(world.connection, world.watch.step(world.connection))
    assert first
    assert 1 == len({alert.alert_id for alert in world.alerts() if "SOURCE_DIFFERS" in alert.summary})
