"""Context as the worker takes it in: live, delivered again, and replayed from the log after a loss of Redis."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from confluent_kafka import Producer

from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.domain.context import Account, Label, RiskSignal, RiskSignalKind
from pipeline.domain.features import NONE
from pipeline.domain.log import Record, Source
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.kafka.client import TopicMissing
from pipeline.io.kafka.log_reader import LogReader
from pipeline.state.context.context_agent import Context
from tests.records import NOON_MS
from tests.state.context.stand import ADDRESS, KEY, PATIENCE_S, WIRE, Stand, account, signal


@pytest.fixture
def stand(redis_at: str, stack: EmbeddedStack) -> Iterator[Stand]:
    stand = Stand(redis_at, stack.bootstrap_servers)
    yield stand
    stand.close()


def test_a_microsecond_stamp_is_refused_and_pins_nothing(stand: Stand) -> None:
    for topic, key, value in (
        ("accounts.v1", "payer", account(1, NOON_MS * 1000)),
        ("risk_signals.v1", KEY, signal(0, NOON_MS * 1000)),
    ):
        refusal = stand.apply(topic, 0, key, value)
        assert refusal is not None
        assert refusal.code is RefusalCode.TIME_OUT_OF_RANGE
    assert stand.apply("accounts.v1", 1, "payer", account(777)) is None
    assert stand.apply("risk_signals.v1", 1, KEY, signal(9)) is None
    assert stand.known() == (777, 9)


@pytest.mark.parametrize("at_ms", [-1, NOON_MS * 1000, 2**62])
@pytest.mark.parametrize(
    ("topic", "key", "value"),
    [
        ("accounts.v1", "payer", account(5)),
        ("accounts.v1", "payer", None),
        ("risk_signals.v1", KEY, signal(3)),
        ("risk_signals.v1", KEY, None),
        ("labels.v1", "payee", b"junk"),
    ],
)
def test_a_timestamp_that_no_log_has_is_a_refusal_and_ends_no_worker(
    stand: Stand, topic: str, key: str, value: bytes | None, at_ms: int
) -> None:
    """Where producers stamp records, one stamped in microseconds ended each worker that it was delivered to."""
    told: list[RefusalCode] = []

    async def tell(refusal: Refusal) -> None:
        told.append(refusal.code)

    for _ in range(2):  # the second time it is delivered again
        record = Record(key.encode(), value, Source(0, 0, at_ms))
        stand.run(stand.context.take_in(topic, record, 0.0, tell))
    assert len(told) == 1
    assert stand.run(stand.state.context_positions(topic)) == {0: 1}
    assert stand.apply("accounts.v1", 1, "payer", account(777)) is None
    assert stand.known() == (777, 0)


def test_a_tombstone_withdraws_and_an_older_record_read_again_does_not_come_back(stand: Stand) -> None:
    stand.apply("accounts.v1", 0, "payer", account(777))
    stand.apply("risk_signals.v1", 0, KEY, signal(9))
    assert stand.known() == (777, 9)
    assert stand.apply("accounts.v1", 1, "payer", None) is None
    assert stand.apply("risk_signals.v1", 1, KEY, None) is None
    assert stand.known() == (NONE, 0)
    stand.apply("accounts.v1", 0, "payer", account(777))
    stand.apply("risk_signals.v1", 0, KEY, signal(9))
    assert stand.known() == (NONE, 0)
    stand.apply("accounts.v1", 2, "payer", account(5))
    stand.apply("risk_signals.v1", 2, KEY, signal(1))
    assert stand.known() == (5, 1)


def test_a_device_named_like_an_address_hides_and_clears_nothing_of_the_address(stand: Stand) -> None:
    device = RiskSignal(RiskSignalKind.DEVICE, ADDRESS, 1, NOON_MS)
    log = [(KEY, signal(9)), (device.key, WIRE.encode(device))]
    compacted = dict(log)
    assert len(compacted) == len(log)
    for offset, (key, value) in enumerate(compacted.items()):
        assert stand.apply("risk_signals.v1", offset, key, value) is None
    assert stand.known() == (NONE, 9)
    assert stand.apply("risk_signals.v1", 2, device.key, None) is None
    assert stand.known() == (NONE, 9)


def test_a_refusal_is_told_once_however_often_its_record_is_delivered(stand: Stand) -> None:
    told: list[tuple[int, RefusalCode]] = []

    def deliver(offset: int, value: bytes, at_ms: int = NOON_MS) -> None:
        async def tell(refusal: Refusal) -> None:
            told.append((offset, refusal.code))

        record = Record(b"payer", value, Source(0, offset, at_ms))
        stand.run(stand.context.take_in("accounts.v1", record, 0.0, tell))

    for offset in (0, 1, 0, 1):
        deliver(offset, b"junk")
    assert told == [(0, RefusalCode.FRAMING_UNKNOWN), (1, RefusalCode.FRAMING_UNKNOWN)]
    deliver(2, account(777))
    deliver(3, b"junk", NOON_MS - 1)  # a producer's own, earlier, time
    deliver(0, b"junk", NOON_MS + 1)  # the topic was made anew
    assert [offset for offset, _ in told] == [0, 1, 3, 0]
    assert stand.known()[0] == 777


def test_a_value_that_is_not_there_is_no_tombstone(stand: Stand) -> None:
    stand.apply("accounts.v1", 0, "payer", account(777))
    refusal = stand.apply("accounts.v1", 1, "payer", b"")
    assert refusal is not None
    assert refusal.code is RefusalCode.RECORD_EMPTY
    assert stand.known()[0] == 777


def test_a_context_record_over_16_kb_is_refused(stand: Stand) -> None:
    value = WIRE.encode(Account("a" * 17_000, NOON_MS, 1))
    refusal = stand.apply("accounts.v1", 0, "a" * 17_000, value)
    assert refusal is not None
    assert refusal.code is RefusalCode.RECORD_TOO_LARGE


def test_a_label_is_not_withdrawn_by_a_tombstone(stand: Stand) -> None:
    refusal = stand.apply("labels.v1", 0, "payee", None)
    assert refusal is not None
    assert refusal.code is RefusalCode.RECORD_EMPTY
    label = Label("tx-0", "payer", "payee", NOON_MS, True, NOON_MS, "desk")
    refusal = stand.apply("labels.v1", 1, "someone", WIRE.encode(label))
    assert refusal is not None
    assert refusal.code is RefusalCode.KEY_MISMATCH


LOG = [
    ("accounts.v1", "payer", account(777)),
    ("accounts.v1", "payer", None),
    ("accounts.v1", "payer", account(888, NOON_MS - 1)),
    ("accounts.v1", "payer", account(1, NOON_MS * 1000)),
    ("risk_signals.v1", KEY, signal(9)),
    ("risk_signals.v1", KEY, signal(7, NOON_MS - 1)),
    ("risk_signals.v1", KEY, None),
    ("risk_signals.v1", KEY, signal(2, NOON_MS - 2)),
    ("risk_signals.v1", "key", signal(50)),
    ("risk_signals.v1", KEY, b"junk"),
]


def test_a_replay_gives_what_was_known_live(stand: Stand) -> None:
    create_topics(stand.servers, partitions=1, prefix=stand.prefix)
    producer = Producer({"bootstrap.servers": stand.servers})
    for number, (topic, key, value) in enumerate(LOG):
        producer.produce(f"{stand.prefix}{topic}", value, key, partition=0, timestamp=NOON_MS + number)
    assert producer.flush(PATIENCE_S) == 0
    offsets = {"accounts.v1": 0, "risk_signals.v1": 0}
    for number, (topic, key, value) in enumerate(LOG):
        stand.apply(topic, offsets[topic], key, value, NOON_MS + number)
        offsets[topic] += 1
    assert stand.known() == (888, 2)
    with redis.Redis.from_url(stand.redis_url) as client:
        client.flushall()
    # The live reading goes on from where it was, while everything is replayed.
    assert stand.apply("accounts.v1", 2, "payer", account(888, NOON_MS - 1), NOON_MS + 2) is None
    stand.run(stand.context.replay())
    assert stand.known() == (888, 2)
    stand.run(stand.context.replay())
    assert stand.known() == (888, 2)


def test_a_context_topic_that_is_not_there_ends_a_replay_loudly(stand: Stand) -> None:
    class Absent(LogReader):
        def extents(self, topic: str) -> Any:
            if topic.endswith("risk_signals.v1"):
                raise TopicMissing(topic)
            return super().extents(topic)

    create_topics(stand.servers, partitions=1, prefix=stand.prefix)
    absent = Context(
        stand.state, WIRE, lambda: Absent(stand.servers, "test", {}, timeout_s=PATIENCE_S), lambda n: stand.prefix + n
    )
    with pytest.raises(TopicMissing):
        stand.run(absent.replay())
