"""One set of options and failures for every client, and the one reader outside any group."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from ops.stack.embedded import EmbeddedStack
from pipeline.domain.log import Record
from pipeline.io.kafka import client, log_reader
from pipeline.io.kafka.client import BrokerAway, BrokerFailed, TopicMissing, broker_failure, raise_unless_passing
from pipeline.io.kafka.log_reader import LogReader, _offsets
from pipeline.io.partitioner import Partitioner
from pipeline.io.settings import Settings
from pipeline.terminal.failures import failure_of
from tests.servers import unused_prefix

ROOT = Path(__file__).parents[3]
STAMP_MS = 1_764_072_000_123
COUNT = 25


def test_no_module_outside_this_package_makes_a_client() -> None:
    places = [path for folder in ("pipeline", "models") for path in (ROOT / folder).rglob("*.py")]
    strays = [path for path in places if "confluent_kafka" in path.read_text(encoding="utf-8")]
    assert {ROOT / "pipeline" / "io" / "kafka"} == {path.parent for path in strays}


def test_nothing_overrides_what_correctness_rests_on() -> None:
    loose = {"isolation.level": "read_uncommitted", "enable.auto.commit": "true", "enable.idempotence": "false"}
    loose["partitioner"] = "random"
    reading, writing = (
        client.reader_options("", "g", loose, {}),
        client.writer_options("", loose, Partitioner.MURMUR2, {}),
    )
    assert ("read_committed", False) == (reading["isolation.level"], reading["enable.auto.commit"])
    assert (True, "murmur2_random") == (writing["enable.idempotence"], writing["partitioner"])


def test_a_deployment_never_has_a_gap_skipped_nor_two_workers_share_a_name() -> None:
    copied = {"auto.offset.reset": "latest", "group.instance.id": "x", "transactional.id": "x"}
    assert "error" == client.reader_options("", "g", copied)["auto.offset.reset"]
    member = client.reader_options("", "g", copied, {"auto.offset.reset": "earliest", "group.instance.id": "g-3"})
    assert ("earliest", "g-3") == (member["auto.offset.reset"], member["group.instance.id"])
    assert (
        "g-3" == client.writer_options("", copied, Partitioner.CRC32, {"transactional.id": "g-3"})["transactional.id"]
    )
    alone = {"max.in.flight.requests.per.connection": 1}
    hurried = {"max.in.flight.requests.per.connection": "5"}
    assert alone.items() <= client.writer_options("", hurried, Partitioner.CRC32, alone).items()


def test_a_deployment_overrides_what_tunes() -> None:
    found = client.client_options("here:9092", {"linger.ms": "7", "log_level": "6"}, {"linger.ms": 2})
    assert ("7", "6", "here:9092") == (found["linger.ms"], found["log_level"], found["bootstrap.servers"])


@pytest.mark.parametrize("code", sorted(client.PASSING))
def test_a_reader_goes_on_past_what_heals_by_itself(code: int) -> None:
    raise_unless_passing(KafkaError(code))


@pytest.mark.parametrize(
    "code", [KafkaError.OFFSET_OUT_OF_RANGE, KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.FENCED_INSTANCE_ID]
)
def test_a_reader_fails_on_what_does_not(code: int) -> None:
    with pytest.raises(BrokerFailed, match="reading x failed"):
        raise_unless_passing(KafkaError(code), "reading x failed")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (KafkaError._TRANSPORT, BrokerAway),
        (KafkaError._MSG_TIMED_OUT, BrokerAway),
        (KafkaError.NOT_ENOUGH_REPLICAS, BrokerAway),
        (KafkaError.COORDINATOR_LOAD_IN_PROGRESS, BrokerAway),
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, BrokerFailed),
        (KafkaError.MSG_SIZE_TOO_LARGE, BrokerFailed),
        (KafkaError.INVALID_PRODUCER_EPOCH, BrokerFailed),
    ],
)
def test_only_what_may_pass_is_a_broker_that_is_away(code: int, kind: type[BrokerFailed]) -> None:
    failure = broker_failure("asking failed", KafkaException(KafkaError(code)))
    assert kind is type(failure)
    assert str(failure).startswith("asking failed: ")


def test_each_failure_has_a_sentence_for_a_person() -> None:
    address = Settings().bootstrap_servers
    said = [failure_of(each) for each in (TopicMissing("a.v1"), BrokerAway("x"), BrokerFailed("reading failed"))]
    assert ["There is no topic a.v1.", f"No Kafka broker answers at {address}.", "Reading failed."] == [
        each.what for each in said if each is not None
    ]
    assert failure_of(ValueError()) is None


class Topic:
    """Publish COUNT records in partition 1 and one in partition 3."""

    def __init__(self, servers: str) -> None:
        self.name = f"{unused_prefix()}things.v1"
        self._producer = Producer({"bootstrap.servers": servers, "log_level": 2})
        for number in range(COUNT):
            self._producer.produce(self.name, str(number), b"key", partition=1, timestamp=STAMP_MS + number)
        self._producer.produce(self.name, None, None, partition=3)
        assert 0 == self._producer.flush(120)


@pytest.fixture(scope="module")
def topic(stack: EmbeddedStack) -> str:
    return Topic(stack.bootstrap_servers).name


@pytest.fixture
def reader(stack: EmbeddedStack) -> Iterator[LogReader]:
    with LogReader(stack.bootstrap_servers, "test", {}) as reader:
        yield reader


def offset_of(record: Record) -> int:
    return record.source.offset


@pytest.mark.parametrize("code", sorted(client.STARTING))
def test_a_broker_that_has_just_started_is_asked_again_for_a_while(
    reader: LogReader, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(log_reader, "STARTING_PAUSE_S", 0)
    failures = itertools.repeat(KafkaException(KafkaError(code)), 2)

    def ask() -> int:
        for failure in failures:
            raise failure
        return 7

    assert reader._asked("its answer", ask) == 7

    def never() -> int:
        raise KafkaException(KafkaError(code))

    with pytest.raises(BrokerAway, match="asked in vain for its answer"):
        reader._asked("its answer", never)


def test_a_record_is_its_key_value_place_and_timestamp(reader: LogReader, topic: str) -> None:
    first, *_ = reader.read(topic, {1: 0})
    assert (b"key", b"0", (1, 0, STAMP_MS)) == first
    [tombstone] = reader.read(topic, {3: 0})
    assert (None, None) == (tombstone.key, tombstone.value)


def test_extents_are_by_partition(reader: LogReader, topic: str) -> None:
    assert {0: (0, 0), 1: (0, COUNT), 2: (0, 0), 3: (0, 1)} == reader.extents(topic)


def test_reading_all_ends_with_the_last_record(reader: LogReader, topic: str) -> None:
    assert COUNT + 1 == len(list(reader.read_all(topic)))
    assert [] == list(reader.read_all(topic, [0]))


class Answer:
    """A broker's answer about one partition, as librdkafka hands it on."""

    def __init__(self, offset: int, error: KafkaError | None) -> None:
        self.partition, self.offset, self.error = 1, offset, error


@pytest.mark.parametrize(
    ("code", "kind"),
    [(KafkaError.TOPIC_AUTHORIZATION_FAILED, BrokerFailed), (KafkaError.UNSTABLE_OFFSET_COMMIT, BrokerAway)],
)
def test_a_partition_that_can_t_be_asked_for_is_not_one_without_an_offset(code: int, kind: type[BrokerFailed]) -> None:
    """Else a deployment would count as one that has never decided, and a rebuild would leave records out."""
    with pytest.raises(kind, match="the offsets of g in partition 1") as failed:
        _offsets("the offsets of g", [Answer(-1001, KafkaError(code))])
    assert kind is failed.type
    assert {1: 7} == _offsets("", [Answer(7, None)])
    assert {} == _offsets("", [Answer(-1001, None)])


def test_a_range_goes_on_where_the_last_one_ended(reader: LogReader, topic: str) -> None:
    taken, first = [], 0
    for _ in itertools.repeat(None, COUNT):
        found = reader.read_range(topic, 1, first, None, 10, offset_of)
        assert len(found.taken) <= 10
        taken += found.taken
        first = found.end_offset
        if found.is_at_end:
            break
    assert (list(range(COUNT)), COUNT) == (taken, first)


@pytest.mark.parametrize(
    ("first", "end", "records_max", "taken", "end_offset", "is_at_end"),
    [
        (3, 6, 10, [3, 4, 5], 6, True),
        (3, 6, 3, [3, 4, 5], 6, True),
        (3, 6, 2, [3, 4], 5, False),
        (20, None, 10, [20, 21, 22, 23, 24], COUNT, True),
        (COUNT, None, 10, [], COUNT, True),
        (6, 6, 10, [], 6, True),
        (20, 40, 10, [20, 21, 22, 23, 24], COUNT, True),
    ],
)
def test_a_range_ends_at_its_end_its_bound_or_the_log_s(
    reader: LogReader, topic: str, first: int, end: int | None, records_max: int, taken: list[int], end_offset: int,
    is_at_end: bool,
) -> None:  # fmt: skip
    for _ in range(2):  # the second time from the same offset, whatever the first reading has left behind
        found = reader.read_range(topic, 1, first, end, records_max, offset_of)
        assert (taken, end_offset, is_at_end) == (found.taken, found.end_offset, found.is_at_end)


def test_a_topic_that_is_not_there_is_named(reader: LogReader) -> None:
    with pytest.raises(TopicMissing, match=r"there is no topic none\.v1"):
        reader.extents("none.v1")
