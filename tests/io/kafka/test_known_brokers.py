"""A broker that its controller has fenced says that there is no broker: readers ask again, or are given up."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, TopicPartition

from ops.bench.rig.waiting import wait_until
from pipeline.domain.log import Outgoing
from pipeline.io.kafka import appender, client, known_brokers
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.client import BrokerAway, BrokerFailed
from pipeline.io.kafka.known_brokers import LOOKS_WITHOUT_MAX, KnownBrokers
from tests.io.kafka.fenced_broker import TOPIC, FencedBroker

ANSWER_S = 120.0
ReaderAt = Callable[..., tuple[Consumer, KnownBrokers]]


def statistics(*sources: str) -> str:
    return json.dumps({"brokers": {f"{source}/{place}": {"source": source} for place, source in enumerate(sources)}})


@pytest.mark.parametrize("sources", [("configured",), ("learned", "logical"), ("internal", "learned")])
def test_a_client_with_a_broker_goes_on(sources: tuple[str, ...]) -> None:
    brokers = KnownBrokers()
    for _ in range(2 * LOOKS_WITHOUT_MAX):
        brokers.look(statistics(*sources))
    brokers.check()


def test_a_client_that_only_knows_coordinators_is_given_up_after_some_looks() -> None:
    brokers = KnownBrokers()
    for _ in range(LOOKS_WITHOUT_MAX):
        brokers.look(statistics("internal", "logical"))
    brokers.check()
    brokers.look(statistics())
    with pytest.raises(BrokerFailed, match="forgotten every broker"):
        brokers.check()


def test_a_broker_that_comes_back_in_time_is_enough() -> None:
    brokers = KnownBrokers()
    for sources in [()] * LOOKS_WITHOUT_MAX + [("learned",)] + [()] * LOOKS_WITHOUT_MAX:
        brokers.look(statistics(*sources))
    brokers.check()


@pytest.fixture
def broker() -> Iterator[FencedBroker]:
    with FencedBroker() as broker:
        yield broker


@pytest.fixture
def reader_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Consumer, KnownBrokers]]]:
    """Make readers of the fenced broker's topic, as the readers of the pipeline are made, that look often."""
    monkeypatch.setattr(known_brokers, "LOOK_MS", 50)
    made: list[Consumer] = []

    def make(broker: FencedBroker, **options: str) -> tuple[Consumer, KnownBrokers]:
        brokers = KnownBrokers()
        tuning = {"topic.metadata.refresh.interval.ms": 50}
        reader = Consumer({**client.reader_options(broker.address, "g", options, tuning), **brokers.options})
        made.append(reader)
        reader.assign([TopicPartition(TOPIC, 0, 0)])
        return reader, brokers

    yield make
    for reader in made:
        reader.close()


def forget(broker: FencedBroker, reader: Consumer) -> None:
    """Let the reader learn the broker, and then that there is none."""
    wait_until(lambda: reader.poll(0.05) is None and TOPIC in reader.list_topics(TOPIC).topics, ANSWER_S, "an answer")
    broker.is_fenced = True
    wait_until(lambda: broker.fenced_answers > 0, ANSWER_S, "a question while fenced", meanwhile=lambda: poll(reader))
    broker.is_fenced = False


def poll(reader: Consumer) -> None:
    reader.poll(0.05)


def is_given_up(brokers: KnownBrokers) -> bool:
    try:
        brokers.check()
    except BrokerFailed:
        return True
    return False


def test_a_reader_that_was_told_of_no_broker_asks_again(broker: FencedBroker, reader_at: ReaderAt) -> None:
    reader, brokers = reader_at(broker)
    forget(broker, reader)
    broker.answers = 0
    wait_until(lambda: broker.answers > 0, ANSWER_S, "another question", meanwhile=lambda: poll(reader))
    assert not is_given_up(brokers)


def test_a_reader_that_never_asks_again_is_given_up(broker: FencedBroker, reader_at: ReaderAt) -> None:
    reader, brokers = reader_at(broker, **{"metadata.recovery.strategy": "none"})
    forget(broker, reader)
    wait_until(lambda: is_given_up(brokers), ANSWER_S, "giving the reader up", meanwhile=lambda: poll(reader))


def test_a_writer_is_made_anew_after_what_it_could_not_deliver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appender, "DELIVERY_S", 0.2)
    writer = Appender("127.0.0.1:1", "writer", {})
    before = writer._producer
    with pytest.raises(BrokerAway):
        writer.append([Outgoing("t", b"key", b"value")])
    assert writer._producer is not before
