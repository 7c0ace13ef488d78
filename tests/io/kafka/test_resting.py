"""A reader asks the broker for nothing between its readings: one that is kept for months would ask all the time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Producer

from pipeline.io.kafka.log_reader import LogReader

TOPIC, COUNT = "kept.v1", 3


@pytest.fixture
def reader() -> Iterator[LogReader]:
    """Of a topic with COUNT records, on the library's own broker for tests."""
    producer = Producer({"bootstrap.servers": "none:1", "test.mock.num.brokers": 1, "log_level": 0})
    [broker] = producer.list_topics(timeout=120).brokers.values()
    for number in range(COUNT):
        producer.produce(TOPIC, b"%d" % number, b"key", 0)
    assert producer.flush(120) == 0
    with LogReader(f"{broker.host}:{broker.port}", "test", {}) as reader:
        yield reader


def values(reader: LogReader, first: int, end: int | None, records_max: int = 10) -> list[bytes | None]:
    return list(reader.read_range(TOPIC, 0, first, end, records_max, lambda record: record.value).taken)


@pytest.mark.parametrize("end", [None, COUNT])
def test_a_range_that_was_read_to_its_end_is_fetched_no_more(reader: LogReader, end: int | None) -> None:
    assert values(reader, 0, end) == [b"0", b"1", b"2"]
    assert reader._consumer.assignment() == []
    assert values(reader, 1, end) == [b"1", b"2"]


def test_a_range_in_the_middle_ends_before_what_follows(reader: LogReader) -> None:
    assert values(reader, 0, 2) == [b"0", b"1"]
    assert reader._consumer.assignment() == []


def test_a_range_that_goes_on_is_held(reader: LogReader) -> None:
    assert values(reader, 0, None, records_max=2) == [b"0", b"1"]
    assert [place.partition for place in reader._consumer.assignment()] == [0]
    assert values(reader, 2, None, records_max=2) == [b"2"]
    assert reader._consumer.assignment() == []


def test_a_topic_that_was_read_whole_is_fetched_no_more(reader: LogReader) -> None:
    assert [record.value for record in reader.read_all(TOPIC, [0])] == [b"0", b"1", b"2"]
    assert reader._consumer.assignment() == []
