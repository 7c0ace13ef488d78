"""What a bench asks a broker that its controller has fenced."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from confluent_kafka import Consumer

from ops.bench.rig import topics_io
from ops.bench.rig.topics_io import committed_counts, partitions_of
from ops.bench.rig.waiting import wait_until
from tests.io.kafka.fenced_broker import TOPIC, FencedBroker

WAIT_S = 120.0


@pytest.fixture
def broker() -> Iterator[FencedBroker]:
    with FencedBroker() as broker:
        broker.is_fenced = True
        yield broker


@pytest.fixture
def client(broker: FencedBroker) -> Iterator[Consumer]:
    client = Consumer({"bootstrap.servers": broker.address, "group.id": "g", "log_level": 2})
    yield client
    client.close()


def test_partitions_without_a_leader_are_waited_for(broker: FencedBroker, client: Consumer) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(partitions_of, client, TOPIC)
        wait_until(lambda: broker.fenced_answers > 2, WAIT_S, "questions while fenced")
        assert not asked.done()
        broker.is_fenced = False
        assert [0] == asked.result(WAIT_S)


def test_they_are_waited_for_within_a_bound(client: Consumer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topics_io, "LED_S", 0.2)
    with pytest.raises(TimeoutError, match="had no leader"):
        partitions_of(client, TOPIC)


def test_nothing_is_known_to_be_committed_meanwhile(broker: FencedBroker) -> None:
    assert 0 == committed_counts(broker.address, "g", TOPIC)
