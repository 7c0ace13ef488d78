"""A transaction that somebody leaves open on the broker: who is told, and when."""

from __future__ import annotations

import pytest

from pipeline.domain.alert import Alert
from pipeline.domain.log import TopicPartition
from pipeline.io.kafka.log_reader import Extent
from pipeline.reconcile.held_watch_service import HELD_S, LOOK_S, TOLD_AGAIN_S, HeldWatch
from tests.records import NOON_MS

DECISIONS = "decisions.v1"


class Broker:
    """The ends of two partitions: of what is committed, and of what was written."""

    def __init__(self) -> None:
        self.committed, self.written, self.now_s = {0: 10, 1: 10}, {0: 10, 1: 10}, 100.0
        self.told: list[Alert] = []
        self.watch = HeldWatch(self, [DECISIONS], self.told.extend, lambda: NOON_MS, lambda: self.now_s)

    def extents(self, topic: str) -> dict[int, Extent]:
        assert topic == DECISIONS
        return {partition: Extent(0, end) for partition, end in self.committed.items()}

    def uncommitted_ends(self, topic: str) -> dict[int, int]:
        assert topic == DECISIONS
        return self.written

    def wait(self, seconds: float) -> list[TopicPartition]:
        self.now_s += seconds
        return self.watch.step()


@pytest.fixture
def broker() -> Broker:
    broker = Broker()
    assert broker.watch.step() == []
    return broker


def test_partition_that_no_reader_gets_past_is_told_after_a_minute(broker: Broker) -> None:
    broker.written = {0: 10, 1: 12}
    assert broker.wait(LOOK_S) == []
    broker.written = {0: 10, 1: 4_000}  # the rest of the world goes on writing behind it
    assert broker.wait(HELD_S - 1) == []
    assert broker.wait(LOOK_S) == [TopicPartition(DECISIONS, 1)]
    [alert] = broker.told
    assert (alert.evidence["partition"], alert.evidence["offset"]) == ("1", "10")
    assert "holds partition 1 of decisions.v1 at offset 10" in alert.summary


def test_partition_whose_readers_get_on_is_not_held(broker: Broker) -> None:
    """However many transactions are open at each look."""
    for turn in range(1, 40):
        broker.committed, broker.written = {0: 10 * turn, 1: 10}, {0: 10 * turn + 5, 1: 10}
        assert broker.wait(LOOK_S) == []
    assert broker.told == []


def test_one_transaction_after_the_other_is_told_again_and_an_end_tells_of_the_next(broker: Broker) -> None:
    broker.written = {0: 12, 1: 10}
    broker.wait(LOOK_S)
    assert broker.wait(HELD_S) == [TopicPartition(DECISIONS, 0)]
    assert [broker.wait(LOOK_S) for _ in range(9)] == [[]] * 9
    assert broker.wait(TOLD_AGAIN_S) == [TopicPartition(DECISIONS, 0)]
    broker.committed = {0: 12, 1: 10}
    assert broker.wait(LOOK_S) == []
    broker.written = {0: 20, 1: 10}
    broker.wait(LOOK_S)
    assert broker.wait(HELD_S) == [TopicPartition(DECISIONS, 0)]
    assert [alert.evidence["offset"] for alert in broker.told] == ["10", "10", "12"]


def test_broker_is_asked_now_and_then(broker: Broker) -> None:
    broker.written = {0: 12, 1: 10}
    broker.wait(LOOK_S)
    broker.now_s += HELD_S
    assert broker.watch.step() != []
    broker.written.clear()
    broker.committed.clear()
    assert broker.wait(LOOK_S - 1) == []
    assert broker.wait(1) == []
