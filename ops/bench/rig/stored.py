"""Reading of published and written records, with fastavro and the .avsc files alone."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from fastavro import parse_schema, schemaless_reader, schemaless_writer

import schemas
from ops.bench.rig.topics_io import partitions_of

BROKER_TIMEOUT_S: Final = 60.0
RECORDS_A_READ: Final = 5_000
_SINGLE_OBJECT: Final = b"\xc3\x01"
_HEADER_BYTES: Final = {True: 10, False: 5}  # True: single-object encoding; False: Confluent framing


class IntakePosition(NamedTuple):
    """The position of a payment on transactions.v1."""

    partition: int
    offset: int


class Found(NamedTuple):
    partition: int
    offset: int
    key: bytes
    value: bytes


class Payment(NamedTuple):
    body: bytes  # without framing
    fields: Mapping[str, Any] | None  # None where the bytes are no payment

    @property
    def digest(self) -> bytes | None:
        return None if self.fields is None else payment_digest(self.fields)


class Decision(NamedTuple):
    key: bytes
    position: IntakePosition
    fields: Mapping[str, Any]  # all but the snapshot
    snapshot: bytes
    payment: Mapping[str, Any]
    payment_body: bytes
    features: Mapping[str, int]


class Letter(NamedTuple):
    position: IntakePosition
    source_topic: str
    code: str
    payload_sha256: bytes


class Tail:
    """The committed records of a topic, each of which is handed out once."""

    def __init__(self, bootstrap_servers: str, topic: str) -> None:
        self._bootstrap_servers, self._topic = bootstrap_servers, topic
        self._next: dict[int, int] = {}

    def news(self) -> Iterator[Found]:
        """Yield the records committed since the last call, partition by partition.

        Raises TimeoutError and KafkaException.
        """
        consumer = Consumer(
            {
                "bootstrap.servers": self._bootstrap_servers,
                "group.id": "checker",  # the library asks for one; it is never joined
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 10,  # in each partition, one fetch that waits this long finds the end
                "log_level": 2,
            }
        )
        try:
            for partition in partitions_of(consumer, self._topic):
                yield from self._partition(consumer, partition)
        finally:
            consumer.close()

    def _partition(self, consumer: Consumer, partition: int) -> Iterator[Found]:
        consumer.assign([TopicPartition(self._topic, partition, self._next.get(partition, 0))])
        while True:
            messages = consumer.consume(1, BROKER_TIMEOUT_S)
            if not messages:
                raise TimeoutError(f"{self._topic} could not be read to its end")
            messages += consumer.consume(RECORDS_A_READ, 0)  # consume(n, t) waits for the whole of t unless n come
            for message in messages:
                error = message.error()
                if error is None:
                    found = _found(message)
                    self._next[partition] = found.offset + 1
                    yield found
                elif error.code() == KafkaError._PARTITION_EOF:
                    return
                elif not error.retriable():
                    raise KafkaException(error)


def record_count(bootstrap_servers: str, topic: str, isolation: str = "read_committed") -> int:
    """Count the records of a topic from which nothing was deleted and to which no transaction writes.

    isolation: by `read_uncommitted` the records of transactions that have no end yet count, too.
    """
    consumer = Consumer(
        {"bootstrap.servers": bootstrap_servers, "group.id": "checker", "isolation.level": isolation, "log_level": 2}
    )
    try:
        places = (TopicPartition(topic, partition) for partition in partitions_of(consumer, topic))
        ends = (consumer.get_watermark_offsets(place, timeout=BROKER_TIMEOUT_S) for place in places)
        return sum(end for _, end in ends)
    finally:
        consumer.close()


def payment_of(value: bytes) -> Payment:
    body = body_of(value)
    stream = io.BytesIO(body)
    try:
        fields = schemaless_reader(stream, _schema("transaction.v1"), None)
    except _UNREADABLE:
        return Payment(body, None)
    assert isinstance(fields, dict)
    return Payment(body, fields)


def payment_digest(fields: Mapping[str, Any]) -> bytes:
    """Return what makes a payment the same: the SHA-256 of its fields of the first schema with the segments sorted,
    then of what it has of later ones."""
    stream = io.BytesIO()
    in_order = {**fields, "segments": dict(sorted(fields["segments"].items()))}
    schemaless_writer(stream, _first_schema(), in_order)
    if fields["source_system"] is not None:
        schemaless_writer(stream, _PAIR, {"name": "source_system", "value": fields["source_system"]})
    return hashlib.sha256(stream.getvalue()).digest()


# fastavro raises these on bytes that are no payment, and nothing more is asked here.
_UNREADABLE: Final = (
    EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError, StopIteration, MemoryError, AssertionError,
)  # fmt: skip


def decision_of(key: bytes, value: bytes) -> Decision:
    """Read a decision. Raises AssertionError where the value is anything but one whole Decision."""
    body = body_of(value)
    assert body[:1] == b"\0", "the first branch of the union is Decision"
    stream = io.BytesIO(body)
    stream.seek(1)
    fields = schemaless_reader(stream, _decision_head(), None)
    begin = stream.tell()
    payment = schemaless_reader(stream, _schema("transaction.v1"), None)
    middle = stream.tell()
    features = schemaless_reader(stream, _features(), None)
    schemaless_reader(stream, parse_schema("long"), None)  # outcomes_position
    assert stream.tell() == len(body), "nothing follows a Decision"
    assert isinstance(fields, dict)
    assert isinstance(payment, dict)
    assert isinstance(features, dict)
    position = IntakePosition(fields["source_partition"], fields["source_offset"])
    return Decision(key, position, fields, body[begin:], payment, body[begin:middle], features)


def without_wall_clock(value: bytes) -> bytes:
    """Return a Decision's bytes without `decided_at_ms`, the one field that is no function of its input."""
    body = body_of(value)
    stream = io.BytesIO(body)
    stream.seek(1)
    schemaless_reader(stream, _fields_before_wall_clock(), None)
    begin = stream.tell()
    schemaless_reader(stream, parse_schema("long"), None)
    return body[:begin] + body[stream.tell() :]


def letter_of(value: bytes) -> Letter:
    fields = schemaless_reader(io.BytesIO(body_of(value)), _schema("dead_letter.v1"), None)
    assert isinstance(fields, dict)
    position = IntakePosition(fields["source_partition"], fields["source_offset"])
    return Letter(position, fields["source_topic"], fields["code"], fields["payload_sha256"])


def body_of(value: bytes) -> bytes:
    """Return the Avro encoding without its framing."""
    return value[_HEADER_BYTES[value[:2] == _SINGLE_OBJECT] :]


def _found(message: Message) -> Found:
    partition, offset, key, value = message.partition(), message.offset(), message.key(), message.value()
    assert partition is not None, "a record has a position"
    assert offset is not None, "a record has a position"
    assert not isinstance(key, str), "raw bytes were asked for"
    assert not isinstance(value, str), "raw bytes were asked for"
    return Found(partition, offset, key or b"", value or b"")


def _avsc(name: str) -> Any:
    return json.loads(Path(schemas.__path__[0], f"{name}.avsc").read_text(encoding="utf-8"))


_PAIR: Final = parse_schema(
    {
        "type": "record",
        "name": "Pair",
        "fields": [{"name": "name", "type": "string"}, {"name": "value", "type": "string"}],
    }
)


@lru_cache
def _first_schema() -> Any:
    path = Path(schemas.__file__).parent / "released" / "transaction.v1" / "1.avsc"
    return parse_schema(json.loads(path.read_text(encoding="utf-8")))


@lru_cache
def _schema(name: str) -> Any:
    return parse_schema(_avsc(name))


def _snapshot() -> Any:
    return next(field for field in _avsc("decision.v1")[0]["fields"] if field["name"] == "snapshot")["type"]


@lru_cache
def _features() -> Any:
    return parse_schema(next(field for field in _snapshot()["fields"] if field["name"] == "features")["type"])


@lru_cache
def _fields_before_wall_clock() -> Any:
    decision = _avsc("decision.v1")[0]
    names = [field["name"] for field in decision["fields"]]
    return parse_schema({**decision, "fields": decision["fields"][: names.index("decided_at_ms")]})


@lru_cache
def _decision_head() -> Any:
    decision = _avsc("decision.v1")[0]
    return parse_schema({**decision, "fields": [field for field in decision["fields"] if field["name"] != "snapshot"]})
