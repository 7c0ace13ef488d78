"""Labels held against decisions, as they arrive: what was caught, missed, and stopped in vain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from confluent_kafka import Producer
from prometheus_client import REGISTRY

from ops.stack.embedded import EmbeddedStack
from pipeline.domain.context import Label
from pipeline.domain.decision import Outcome
from pipeline.domain.log import Presented, Unproved
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, connect
from pipeline.reconcile import label_watch_service
from pipeline.reconcile.label_watch_service import EARLY_MS, LabelWatch, OncePassedOver
from pipeline.reconcile.labelled import LabelVerdict, verdict_of
from pipeline.reconcile.metrics import PassedOver
from tests.archive import payment
from tests.audit.logs import WIRE
from tests.reconcile.desk import COUNT, Desk
from tests.records import NOON_MS
from tests.servers import unused_prefix, url_as

_O, _V = Outcome, LabelVerdict


@pytest.mark.parametrize(
    ("is_fraud", "decided", "reviewed", "verdict"),
    [
        (True, _O.BLOCK, None, _V.CAUGHT),
        (True, _O.ALLOW, None, _V.MISSED),
        (True, _O.ESCALATE, None, _V.CAUGHT),
        (True, _O.ESCALATE, _O.BLOCK, _V.CAUGHT),
        (True, _O.ESCALATE, _O.ALLOW, _V.MISSED),
        (False, _O.ALLOW, None, _V.RIGHTLY_ALLOWED),
        (False, _O.BLOCK, None, _V.FALSE_POSITIVE),
        (False, _O.ESCALATE, None, _V.FALSE_POSITIVE),
        (False, _O.ESCALATE, _O.ALLOW, _V.FALSE_POSITIVE),
        (True, None, None, _V.UNMATCHED),
        (False, None, None, _V.UNMATCHED),
        (True, None, _O.BLOCK, _V.UNMATCHED),
    ],
)
def test_a_label_has_one_verdict(is_fraud: bool, decided, reviewed, verdict: LabelVerdict) -> None:
    assert verdict_of(is_fraud, decided, reviewed) is verdict


class World:
    """Decisions in the audit log, and labels.v1 under a prefix of its own."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.now_ms = desk, NOON_MS + 10 * EARLY_MS
        self.topic = f"{desk.prefix}labels.v1"
        self.producer = Producer({"bootstrap.servers": desk.stack.bootstrap_servers, "log_level": 2})
        self.producer.list_topics(self.topic, timeout=120)  # the mock broker makes it
        self.reader = LogReader(desk.stack.bootstrap_servers, "fraud-reconcile", {}, is_expiry_expected=True)
        self.connection: Connection = connect(url_as(desk.database_url, "fraud_reconcile"), "test")
        self.watch = self.begun_again()

    def begun_again(self) -> LabelWatch:
        return LabelWatch(self.reader, WIRE, self.topic, lambda: self.now_ms, OncePassedOver())

    def publish(self, *values: bytes) -> None:
        for value in values:
            self.producer.produce(self.topic, value, b"payee", 0, timestamp=NOON_MS)
        assert self.producer.flush(120) == 0

    def label(self, number: int, *, fraud: bool) -> bytes:
        """Of the payment that decision `number` is about."""
        paid = payment(number)
        ids = paid.transaction_id, paid.account_id, paid.beneficiary_account_id
        return WIRE.encode(Label(*ids, paid.event_time_ms, fraud, NOON_MS, "an analyst"))

    def counted(self, *values: bytes) -> dict[str, int]:
        """The rise of each verdict that publishing these brings."""
        before = self.totals()
        self.publish(*values)
        self.watch.step(self.connection)
        return {verdict: rise for verdict, total in self.totals().items() if (rise := total - before[verdict])}

    def totals(self) -> dict[str, int]:
        return {
            verdict: int(
                sum(
                    REGISTRY.get_sample_value("fraud_labels_total", {"verdict": verdict, "outcome": outcome}) or 0
                    for outcome in (*Outcome, "none")
                )
            )
            for verdict in LabelVerdict
        }


@pytest.fixture
def world(stack: EmbeddedStack, database_url: str, rail_address: str, tmp_path) -> Iterator[World]:
    desk = Desk(stack, database_url, rail_address, tmp_path, unused_prefix())
    desk.fill()
    made = World(desk)
    with closing(desk), closing(made.connection), closing(made.reader):
        yield made


def outcomes(world: World) -> dict[str, str]:
    rows = world.connection.execute("SELECT transaction_id, decision FROM audit.ai_decision_log").fetchall()
    return dict(rows)


def test_labels_are_counted_by_what_they_make_of_the_decision(world: World) -> None:
    decided = outcomes(world)
    numbers = range(COUNT)
    expected: dict[str, int] = {}
    for number in numbers:
        verdict = verdict_of(number % 2 == 0, Outcome(decided[payment(number).transaction_id]), None)
        expected[verdict] = expected.get(verdict, 0) + 1
    found = world.counted(*(world.label(number, fraud=number % 2 == 0) for number in numbers))
    assert expected == found
    amounts = sum(
        REGISTRY.get_sample_value("fraud_labelled_amount_minor_total", {"verdict": verdict, "currency": "GBP"}) or 0
        for verdict in LabelVerdict
    )
    assert amounts >= sum(payment(number).amount_minor for number in numbers)


def test_a_label_is_counted_once_however_often_it_comes_and_whoever_reads_it(world: World) -> None:
    label = world.label(3, fraud=True)
    assert 1 == sum(world.counted(label, label).values())
    assert {} == world.counted(label)
    world.watch = world.begun_again()
    assert {} == world.counted(), "the position is stored"


def test_a_label_ahead_of_its_decision_waits_and_is_unmatched_in_the_end(world: World) -> None:
    world.now_ms = NOON_MS + EARLY_MS - 1
    early, known = world.label(COUNT + 1, fraud=True), world.label(4, fraud=True)
    assert {} == world.counted(early, known), "what stands behind waits, too"
    world.now_ms += 1
    found = world.counted()
    assert (1, 2) == (found[LabelVerdict.UNMATCHED], sum(found.values()))


def test_a_failed_transaction_counts_nothing_and_forgets_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publish(world.label(5, fraud=False))
    before = world.totals()
    with monkeypatch.context() as patched:
        patched.setattr(label_watch_service, "CONSUMER", "audit-labels")  # which this role may not move
        world.watch = world.begun_again()
    with pytest.raises(Exception, match=r"(?i)row-level security|refused|Insufficient"):
        world.watch.step(world.connection)
    assert before == world.totals()
    world.watch = world.begun_again()
    assert 1 == sum(world.counted().values())


def passed_over(cause: PassedOver) -> float:
    return REGISTRY.get_sample_value("fraud_labels_passed_over_total", {"cause": cause}) or 0


def test_what_is_no_label_is_passed_over_and_counted_once_however_often_it_is_read(world: World) -> None:
    before = passed_over(PassedOver.UNREADABLE)
    assert {} == world.counted(b"garbage")
    assert 1 == sum(world.counted(world.label(6, fraud=False)).values())
    world.now_ms = NOON_MS + EARLY_MS - 1
    for _ in range(3):
        assert {} == world.counted(), "nothing new has come"
    world.publish(world.label(COUNT + 1, fraud=True), b"rubbish")
    for _ in range(3):
        world.watch.step(world.connection)  # the first waits, and what stands behind it is read each time
    assert 2 == passed_over(PassedOver.UNREADABLE) - before


def test_a_label_that_nobody_proves_is_counted_once_however_often_it_is_read() -> None:
    before, counting = passed_over(PassedOver.UNPROVED), OncePassedOver()
    prove = counting.counting(lambda each: None if each.seal else Unproved(each.partition, each.offset, b"", "", None))
    for offset in (3, 4, 3, 4, 5):
        assert prove(Presented("labels.v1", 0, offset, 0, True, None, b"", None)) is not None
    assert prove(Presented("labels.v1", 1, 9, 0, True, None, b"", b"a seal")) is None
    assert prove(Presented("labels.v1", 1, 3, 0, True, None, b"", None)) is not None
    assert 4 == passed_over(PassedOver.UNPROVED) - before
