"""Reading a topic from the position that the database holds, whatever Kafka believes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import pytest
from confluent_kafka import Producer

from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.domain.decision import Decision
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord, RecordUndecodable
from pipeline.domain.refusals import Refusal
from pipeline.io.kafka.positioned_log import PositionedLog, PositionMove, undecoded
from tests.audit.logs import WIRE, values
from tests.servers import SOON_FREE, unused_prefix

DEADLINE_S = 120.0
PARTITION = 2


@pytest.fixture
def topic(stack: EmbeddedStack) -> str:
    """With ten decisions in one partition."""
    prefix = unused_prefix()
    create_topics(stack.bootstrap_servers, prefix=prefix)
    send(stack, f"{prefix}decisions.v1", values(10))
    return f"{prefix}decisions.v1"


def send(stack: EmbeddedStack, topic: str, sent: Iterable[bytes]) -> None:
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "log_level": 2})
    for value in sent:
        producer.produce(topic, value, key=b"account", partition=PARTITION)
    assert 0 == producer.flush(DEADLINE_S)


Decode = Callable[[bytes | None], DecisionRecord | Refusal | None]


class Reading:
    """A log, and the position that a database would hold for it."""

    def __init__(
        self, stack: EmbeddedStack, topic: str, position: int = 0, decode: Decode = WIRE.decode_decision_record
    ) -> None:
        self.position, self.released = position, 0
        self.log = PositionedLog(
            stack.bootstrap_servers, topic, decode, f"group-{topic}", slot=0, positions=self._positions,
            options=SOON_FREE, release=self._release,
        )  # fmt: skip

    def records(self, count: int) -> list[LogRecord[DecisionRecord | None]]:
        """The next so many, stored as they come."""
        found: list[LogRecord[DecisionRecord | None]] = []
        deadline = time.monotonic() + DEADLINE_S
        while len(found) < count:
            assert time.monotonic() < deadline, f"{len(found)} of {count} records came"
            batch = self.log.read(count - len(found), 0.2)
            if batch.records:
                assert (PositionMove(PARTITION, self.position, batch.records[-1].offset + 1),) == tuple(batch.spans)
                self.position = batch.spans[0].after
            found += batch.records
        return found

    def _positions(self, partitions: Iterable[int]) -> dict[int, int]:
        return {partition: self.position if partition == PARTITION else 0 for partition in partitions}

    def _release(self) -> None:
        self.released += 1


def test_reading_starts_at_the_database_s_position_and_goes_on_without_gaps(stack: EmbeddedStack, topic: str) -> None:
    reading = Reading(stack, topic, position=4)
    assert [(offset, values(10)[offset]) for offset in range(4, 10)] == [
        (record.offset, record.value) for record in reading.records(6)
    ]
    assert 10 == reading.log.positions[PARTITION]
    reading.log.close()
    assert reading.released > 0


def test_batch_that_was_not_stored_is_read_again(stack: EmbeddedStack, topic: str) -> None:
    reading = Reading(stack, topic)
    first = reading.records(3)
    reading.position = 1  # the database stands elsewhere than this reader thinks
    reading.log.rewind()
    assert first[1:] == reading.records(2)
    reading.log.close()


def test_values_are_decoded_where_that_is_asked_for(stack: EmbeddedStack, topic: str) -> None:
    reading, raw = Reading(stack, topic), None
    (record,) = reading.records(1)
    assert isinstance(record.content, Decision)
    reading.log.close()
    raw = Reading(stack, topic, position=1, decode=undecoded)
    (record,) = raw.records(1)
    assert (None, values(10)[1]) == (record.content, record.value)
    raw.log.close()


def test_what_can_not_be_decoded_stops_the_reading_by_its_place(stack: EmbeddedStack, topic: str) -> None:
    send(stack, topic, [b"no decision"])
    reading = Reading(stack, topic, position=10)
    with pytest.raises(RecordUndecodable, match=r"decisions\.v1\[2\] at 10: FRAMING_UNKNOWN"):
        reading.records(1)
    reading.log.close()
