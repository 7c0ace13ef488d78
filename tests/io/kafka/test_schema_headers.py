"""The header that names a value's schema, as Confluent's serializers and anybody may write it, read by every reader."""

from __future__ import annotations

from contextlib import closing
from uuid import UUID

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.domain.payment import Decoded
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.batches import records_of
from pipeline.io.kafka.log_reader import LogReader
from tests.records import PAYMENT
from tests.servers import unused_prefix
from tests.traces.given import UPSTREAM

WAIT_S = 120.0
GUID = "89791762-2336-4186-9674-299b90a802e2"
WIRE = WireFormat(confluent_ids={"transaction.v1/2": [9, GUID]})
WHOLE = WireFormat().encode_transaction(PAYMENT)
BODY = WHOLE[10:]
NAME = "__value_schema_id"
BY_GUID, BY_ID = b"\x01" + UUID(GUID).bytes, b"\x00\x00\x00\x00\x09"
OTHERS = [("h", b"")] * 5_000
CASES: dict[str, tuple[bytes, list[tuple[str, bytes | None]] | None, RefusalCode | None]] = {
    "a GUID": (BODY, [(NAME, BY_GUID)], None),
    "an id": (BODY, [(NAME, BY_ID)], None),
    "the last of two counts": (BODY, [(NAME, b"\x01" + bytes(16)), (NAME, BY_GUID)], None),
    "among thousands": (BODY, [*OTHERS, ("traceparent", UPSTREAM.header), (NAME, BY_GUID)], None),
    "a GUID of nobody": (BODY, [(NAME, b"\x01" + bytes(16))], RefusalCode.SCHEMA_UNKNOWN),
    "an id of nobody": (BODY, [(NAME, bytes(5))], RefusalCode.SCHEMA_UNKNOWN),
    "no name in it": (BODY, [(NAME, b"")], RefusalCode.FRAMING_UNKNOWN),
    "cut": (BODY, [(NAME, BY_GUID[:-1])], RefusalCode.FRAMING_UNKNOWN),
    "without a value": (BODY, [(NAME, None)], RefusalCode.FRAMING_UNKNOWN),
    "another case": (BODY, [(NAME.upper(), BY_GUID)], RefusalCode.FRAMING_UNKNOWN),
    "of the key": (BODY, [("__key_schema_id", BY_GUID)], RefusalCode.FRAMING_UNKNOWN),
    "beside a value that names its own": (WHOLE, [(NAME, bytes(5))], None),
    "beside an id in the value": (BY_ID + BODY, [(NAME, BY_ID)], RefusalCode.DECODE_FAILED),
    "none": (BODY, None, RefusalCode.FRAMING_UNKNOWN),
}


@pytest.fixture(scope="module")
def topic(stack: EmbeddedStack) -> str:
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "log_level": 2})
    for value, headers, _ in CASES.values():
        producer.produce(f"{prefix}transactions.v1", value, b"k", 0, headers=headers)
    assert 0 == producer.flush(WAIT_S)
    return f"{prefix}transactions.v1"


def code_of(value: bytes | None) -> RefusalCode | None:
    found = WIRE.decode_transaction(value)
    if isinstance(found, Refusal):
        return found.code
    assert isinstance(found, Decoded)
    assert PAYMENT == found.transaction
    return None


def test_the_worker_reads_what_a_header_names(stack: EmbeddedStack, topic: str) -> None:
    options = {"bootstrap.servers": stack.bootstrap_servers, "group.id": "g", "auto.offset.reset": "earliest"}
    with closing(Consumer(options)) as consumer:
        consumer.assign([TopicPartition(topic, 0, 0)])
        messages = []
        while len(messages) < len(CASES):
            found = consumer.consume(len(CASES), WAIT_S)
            assert found, f"{len(messages)} records came"
            messages += [message for message in found if message.error() is None]
    records, traceparents = records_of(messages, is_traced=True)
    expected = {name: code for name, (_, _, code) in CASES.items()}
    assert expected == {name: code_of(record.value) for name, record in zip(CASES, records, strict=True)}
    assert [UPSTREAM.header] == list(traceparents.values())


def test_every_other_reader_does_and_keeps_no_thousands_of_headers(stack: EmbeddedStack, topic: str) -> None:
    with LogReader(stack.bootstrap_servers, "look", {}) as log:
        values = [record.value for record in log.read_all(topic)]
    expected = {name: code for name, (_, _, code) in CASES.items()}
    assert expected == {name: code_of(value) for name, value in zip(CASES, values, strict=True)}


def test_a_value_keeps_the_name_of_its_schema() -> None:
    """So what is put aside and published again, without its header, is read as it was."""
    assert code_of(BY_GUID + BODY) is None
