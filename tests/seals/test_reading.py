"""A worker reads what was decided: what nobody proves to have written doesn't tell it where to go on."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka import Producer

from ops.stack.embedded import EmbeddedStack
from pipeline.domain.log import Header, Record, Source
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.keys.key_sets import KeyUse
from pipeline.resume.decided_topics import DecidedLog, DecidedTopics
from tests.archive import CLOSED, Archive, payment
from tests.records import NOON_MS
from tests.seals.given import Writers, sealed
from tests.servers import unused_prefix

WAIT_S = 120.0
KEY = b"account"


class Topic:
    """decisions.v1 with three records that are proved, and one between them and two behind them that aren't."""

    def __init__(self, servers: str, values: list[bytes], forged: bytes) -> None:
        self.servers, self.prefix = servers, unused_prefix()
        self.name = f"{self.prefix}decisions.v1"
        self.writers, self.sealed = Writers(self.name), values
        self._producer = Producer({"bootstrap.servers": servers, "log_level": 2})
        for name in ("transactions.v1", "transactions.dead.v1"):
            self._producer.list_topics(self.prefix + name, timeout=WAIT_S)  # the mock broker makes it
        first, *rest = (
            (record.value, record.headers) for record in sealed(self.writers.sealer(KeyUse.DECISIONS), *values, key=KEY)
        )
        for value, headers in (first, (forged, None), *rest, (forged, None), (b"garbage", None)):
            self.append(self.name, value, headers)

    def append(self, topic: str, value: bytes, headers: list[Header] | None = None, timestamp_ms: int = 0) -> None:
        """timestamp_ms: 0 for now."""
        self._producer.produce(topic, value, KEY, 0, headers=headers, timestamp=timestamp_ms)
        assert 0 == self._producer.flush(WAIT_S)

    def reader(self) -> LogReader:
        return LogReader(self.servers, "test", {}, proves={self.name: self.writers.check().unproved})


def values(folder: Path, *offsets: int) -> list[bytes]:
    """Decisions on payments at these offsets of partition 0."""
    payments = [payment(offset) for offset in offsets]
    return Archive(folder).values(payments, [CLOSED] * len(payments), [Source(0, at, NOON_MS) for at in offsets])


def test_only_what_is_proved_is_read(stack: EmbeddedStack, tmp_path: Path) -> None:
    *honest, forged = values(tmp_path, 0, 1, 2, 7)
    topic = Topic(stack.bootstrap_servers, honest, forged)

    def value_of(record: Record) -> bytes:
        return record.value or b""

    with topic.reader() as reader:
        assert honest == [record.value for record in reader.read_all(topic.name, [0])]
        whole = reader.read_range(topic.name, 0, 0, None, 100, value_of)
        assert (honest, 6, True) == (list(whole.taken), whole.end_offset, whole.is_at_end)
        parts = []
        at, is_at_end = 0, False
        while not is_at_end:
            part = reader.read_range(topic.name, 0, at, None, 1, value_of)
            parts += part.taken
            at, is_at_end = part.end_offset, part.is_at_end
        assert (honest, 6) == (parts, at)
        assert honest == [record.value for record in reader.read_settled(topic.name, 0, 0, 6)]


def test_a_forged_decision_makes_no_worker_pass_over_payments(stack: EmbeddedStack, tmp_path: Path) -> None:
    """Else whoever may write the topic could have payments passed over, after a start, by deciding a later one."""
    *honest, forged = values(tmp_path, 0, 1, 2, 7)
    topic = Topic(stack.bootstrap_servers, honest, forged)
    for _ in range(10):
        topic.append(f"{topic.prefix}transactions.v1", b"payment", timestamp_ms=NOON_MS)
    topics = DecidedTopics(
        *(topic.prefix + name for name in ("transactions.v1", "decisions.v1", "transactions.dead.v1"))
    )
    [start] = DecidedLog(topic.reader, WireFormat(), topics).starts({0: 3})
    assert (3, False) == (start.offset, start.is_moved)
    [start] = DecidedLog(topic.reader, WireFormat(), topics).starts({0: 8})
    assert (3, True) == (start.offset, start.is_moved), "nor does a commit that was moved ahead"
