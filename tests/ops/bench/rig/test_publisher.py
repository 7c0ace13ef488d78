"""Whatever becomes of its client, a bench's publisher delivers every record, and in order."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaException

from ops.bench.rig.publisher import Publisher
from ops.bench.rig.topics_io import Outbound
from ops.bench.rig.waiting import wait_until
from ops.stack.embedded import EmbeddedStack
from pipeline.io.kafka import known_brokers
from pipeline.io.kafka.known_brokers import LOOKS_WITHOUT_MAX, KnownBrokers
from pipeline.io.kafka.log_reader import LogReader
from tests.servers import unused_prefix

NO_BROKER = json.dumps({"brokers": {"coordinator": {"source": "logical"}}})
COUNT = 30
WAIT_S = 120.0


def record(number: int) -> Outbound:
    return Outbound(b"key", str(number).encode(), 0)


def forget(publisher: Publisher) -> None:
    """Have the client know no broker any more, as librdkafka's own statistics would say it."""
    for _ in range(LOOKS_WITHOUT_MAX + 1):
        publisher._brokers.look(NO_BROKER)
    publisher.serve(0)


@pytest.fixture
def own_stack(tmp_path: Path) -> Iterator[EmbeddedStack]:
    with EmbeddedStack(tmp_path / "stack") as stack:
        yield stack


def values_of(stack: EmbeddedStack, topic: str) -> list[int]:
    with LogReader(stack.bootstrap_servers, "test", {}) as log:
        return [int(each.value) for each in log.read_all(topic)]


def test_what_a_client_that_forgot_its_broker_still_had_another_publishes_in_order(own_stack: EmbeddedStack) -> None:
    publisher = Publisher(own_stack.bootstrap_servers, renewals_max=2)
    for number in range(10):
        publisher.publish("t", record(number))
    publisher.flush()
    own_stack.broker.pause()
    for number in range(10, 20):
        publisher.publish("t", record(number))
    forget(publisher)
    publisher.publish("t", record(20))
    forget(publisher)
    own_stack.broker.resume()
    for number in range(21, COUNT):
        publisher.publish("t", record(number))
    publisher.flush()
    values = values_of(own_stack, "t")
    assert list(range(COUNT)) == list(dict.fromkeys(values)), "some may stand twice, none is missing or too early"
    assert list(range(10)) == values[:10]
    assert not set(range(10)) & set(values[10:]), "what was acknowledged isn't published again"
    assert 2 == publisher.renewals


def test_a_publisher_that_may_not_renew_its_client_again_fails(stack: EmbeddedStack) -> None:
    publisher = Publisher(stack.bootstrap_servers, renewals_max=1)
    forget(publisher)
    with pytest.raises(KafkaException, match="2 clients have forgotten every broker"):
        forget(publisher)
    with pytest.raises(AssertionError, match="transaction"):
        Publisher(stack.bootstrap_servers, transactional_id="t", renewals_max=1)


def test_a_client_that_knows_its_broker_is_looked_at_and_kept(
    stack: EmbeddedStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []

    class Looking(KnownBrokers):
        def look(self, statistics: str) -> None:
            looks.append(statistics)
            super().look(statistics)

    monkeypatch.setattr(known_brokers, "LOOK_MS", 20)
    monkeypatch.setattr("ops.bench.rig.publisher.KnownBrokers", Looking)
    publisher, topic = Publisher(stack.bootstrap_servers, renewals_max=1), f"{unused_prefix()}t"
    publisher.publish(topic, record(0))
    publisher.flush()
    enough = 2 * LOOKS_WITHOUT_MAX + 1
    wait_until(lambda: len(looks) > enough, WAIT_S, "looks", meanwhile=lambda: publisher.serve(0.05), every_s=0.01)
    publisher.publish(topic, record(1))
    publisher.flush()
    assert 0 == publisher.renewals
    assert [0, 1] == values_of(stack, topic)
