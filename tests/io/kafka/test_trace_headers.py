"""The header about traces as anybody may write it: it is read or it is none, and the record is read either way."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.io.kafka.batches import records_of
from pipeline.io.kafka.log_reader import LogReader
from tests.servers import unused_prefix
from tests.traces.given import UPSTREAM

GOOD = UPSTREAM.header
WAIT_S = 120.0
HEADERS = {
    "none": (None, None),
    "one": ([("traceparent", GOOD)], GOOD),
    "beside others": ([("seal", b"\xff"), ("traceparent", GOOD), ("tracestate", b"a=b")], GOOD),
    "twice the same": ([("traceparent", GOOD), ("traceparent", GOOD)], None),
    "two of them": ([("traceparent", GOOD), ("traceparent", b"00")], None),
    "no value": ([("traceparent", None)], None),
    "empty": ([("traceparent", b"")], b""),
    "any bytes": ([("traceparent", bytes(range(256)))], bytes(range(256))),
    "another case": ([("Traceparent", GOOD), ("TRACEPARENT", GOOD)], None),
    "a megabyte of state": ([("traceparent", GOOD), ("tracestate", b"s" * 900_000)], GOOD),
    "a megabyte of context": ([("traceparent", b"0" * 900_000)], b"0" * 900_000),
    "ten thousand headers": ([("h", b"")] * 10_000 + [("traceparent", GOOD)], GOOD),
}


@pytest.fixture(scope="module")
def topic(stack: EmbeddedStack) -> str:
    """With one record for each of HEADERS, and a last one without, in one partition."""
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "message.max.bytes": 2_000_000, "log_level": 2})
    for name, (headers, _) in HEADERS.items():
        producer.produce(f"{prefix}transactions.v1", name.encode(), b"k", 0, headers=headers)
    assert 0 == producer.flush(WAIT_S)
    return f"{prefix}transactions.v1"


def test_a_header_is_read_once_or_not_at_all_and_every_record_is(stack: EmbeddedStack, topic: str) -> None:
    options = {"bootstrap.servers": stack.bootstrap_servers, "group.id": "g", "auto.offset.reset": "earliest"}
    with closing(Consumer(options)) as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        messages = []
        while len(messages) < len(HEADERS):
            found = consumer.consume(1, WAIT_S)
            assert found, f"{len(messages)} records came"
            messages += [message for message in found if message.error() is None]
    records, traceparents = records_of(messages, is_traced=True)
    assert list(HEADERS) == [record.value.decode() for record in records]
    expected = {name: header for name, (_, header) in HEADERS.items() if header is not None}
    assert expected == {
        record.value.decode(): traceparents[record.source] for record in records if record.source in traceparents
    }
    assert not any(message.headers() for message in messages), "what they took is given back"
    again, untraced = records_of(messages, is_traced=False)
    assert (records, {}) == (again, untraced)


def test_a_header_is_read_back_from_its_place(stack: EmbeddedStack, topic: str) -> None:
    with LogReader(stack.bootstrap_servers, "look", {}) as log:
        found = {name: log.traceparent_at(topic, 0, offset) for offset, name in enumerate(HEADERS)}
        assert {name: header for name, (_, header) in HEADERS.items()} == found
        assert log.traceparent_at(topic, 0, len(HEADERS)) is None
        assert log.traceparent_at(topic, 0, 10**12) is None


def test_a_name_that_nobody_can_read_ends_no_process_that_has_read_many(stack: EmbeddedStack) -> None:
    """The interpreter takes a faster path to a method that it has called a few times, without a look for errors."""
    topic = f"{unused_prefix()}transactions.v1"
    create_topics(stack.bootstrap_servers, prefix=topic.removesuffix("transactions.v1"))
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "log_level": 2})
    for number in range(100):
        producer.produce(topic, b"%d" % number, b"k", 0, headers=[("traceparent", GOOD)])
    assert 0 == producer.flush(WAIT_S)
    subprocess.run(
        [sys.executable, "-m", "tests.seals.raw_producer", stack.bootstrap_servers, topic, "0"],
        check=True,
        env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},
        timeout=WAIT_S,
    )
    with LogReader(stack.bootstrap_servers, "look", {}) as log:
        assert [GOOD] * 100 + [None] == [log.traceparent_at(topic, 0, offset) for offset in range(101)]
        assert [b"garbage"] == [record.value for record in log.read(topic, {0: 100})]
