"""Topics copied from one broker and written anew on another: every record at its offset, with its time."""

from __future__ import annotations

from contextlib import closing, contextmanager

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import ConfigResource, ResourceType

from ops.processes.servers import free_port
from ops.stack.kafka.broker import bootstrap_servers, kafka_broker
from ops.stack.topics import TOPICS, TopicOutcome, create_topics
from ops.topics.copies import CopyBroken, Part, PartitionCopy, read_manifest, write_manifest
from ops.topics.topic_copies import Messages, back_up, put_back
from pipeline.io.kafka.client import BrokerFailed, admin_client
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
TOPIC = "decisions.v1"


@contextmanager
def broker_in(folder):
    port = free_port()
    broker = kafka_broker(folder, port, free_port())
    broker.start()
    try:
        yield Settings(bootstrap_servers=bootstrap_servers(port))
    finally:
        broker.stop()


class Writer:
    """Transactions that commit and abort, and records outside any."""

    def __init__(self, settings: Settings) -> None:
        self._plain = Producer({"bootstrap.servers": settings.bootstrap_servers})
        self._transactional = Producer({"bootstrap.servers": settings.bootstrap_servers, "transactional.id": "test"})
        self._transactional.init_transactions()
        self._number = 0

    def plain(self, count: int, topic: str = TOPIC, partition: int = 0) -> None:
        self._write(self._plain, count, topic, partition)

    def transaction(self, count: int, *, is_committed: bool = True, partition: int = 0) -> None:
        self._transactional.begin_transaction()
        self._write(self._transactional, count, TOPIC, partition)
        if is_committed:
            self._transactional.commit_transaction()
        else:
            self._transactional.abort_transaction()

    def _write(self, producer: Producer, count: int, topic: str, partition: int) -> None:
        for _ in range(count):
            self._number += 1
            key, headers = f"key-{self._number % 5}".encode(), [("fraud-redriven", b"0:1")]
            producer.produce(topic, f"{self._number}".encode(), key, partition, headers=headers)
        assert producer.flush(120) == 0


def records_of(settings: Settings, topic: str, partition: int = 0):
    with LogReader(settings.bootstrap_servers, "test", {}) as reader:
        extent = reader.extents(topic)[partition]
    with closing(Messages(settings, topic)) as messages:
        found = list(messages.read(partition, extent.low, extent.high)) if extent.high > extent.low else []
    return extent, found


def test_topics_come_back_with_their_offsets_and_times_and_go_on_stamped_by_the_broker(tmp_path):
    copy = tmp_path / "copy"
    with broker_in(tmp_path / "one") as first:
        create_topics(first.bootstrap_servers)
        writer = Writer(first)
        writer.transaction(3)
        writer.plain(2)
        writer.transaction(4, is_committed=False)
        writer.transaction(1)
        writer.plain(5, "accounts.v1")
        back_up(first, copy)
        writer.transaction(2)
        writer.transaction(1, is_committed=False)
        writer.plain(700, "transactions.v1", 3)
        admin = admin_client(first.bootstrap_servers, {})  # kept, because a client that is gone answers nothing
        [where] = admin.delete_records([_before("transactions.v1", 3, 10)]).values()
        where.result(120)
        again = back_up(first, copy)
        assert sum(each.records for each in again) == 2 + 690
        assert back_up(first, copy) == [each._replace(records=0) for each in again]
        ahead = read_manifest(copy)
        ahead[TOPIC][0] = PartitionCopy(0, (*ahead[TOPIC][0].parts, Part("lost", 99, 0, "", -1, "")))
        write_manifest(copy, ahead, is_whole=False)  # of a run that the loss of the brokers has ended
        was = {(topic.name, number): records_of(first, topic.name, number)
               for topic in TOPICS for number in (0, 3) if topic.is_partitioned or not number}  # fmt: skip
    with broker_in(tmp_path / "two") as second:
        put_back(second, copy, 1, lambda _: None)
        for (topic, number), (extent, records) in was.items():
            found = records_of(second, topic, number)
            assert found[1] == records
            assert found[0].high == extent.high
            assert not records or found[0].low == records[0].offset
        assert {each.outcome for each in create_topics(second.bootstrap_servers)} == {TopicOutcome.MATCHES}
        resource = ConfigResource(ResourceType.TOPIC, TOPIC)
        admin = admin_client(second.bootstrap_servers, {})
        settings = admin.describe_configs([resource])[resource].result(120)
        assert settings["message.timestamp.type"].value == "LogAppendTime"
        with pytest.raises((BrokerFailed, CopyBroken)):
            put_back(second, copy, 1, lambda _: None)
        assert [each.records for each in back_up(second, copy) if each.records] == []  # they are the same topics
        Writer(second).plain(3)
        assert [each.records for each in back_up(second, copy) if each.records] == [3]


def test_a_copy_of_another_topic_is_not_gone_on_with(tmp_path):
    copy = tmp_path / "copy"
    with broker_in(tmp_path / "one") as first:
        create_topics(first.bootstrap_servers)
        Writer(first).plain(5)
        back_up(first, copy)
    with broker_in(tmp_path / "two") as second:
        create_topics(second.bootstrap_servers)
        with pytest.raises(CopyBroken, match="another topic"):
            back_up(second, copy)
        with pytest.raises(CopyBroken, match=r"the brokers have accounts\.v1"):
            put_back(second, copy, 1, lambda _: None)
    assert read_manifest(copy)[TOPIC][0].end == 5


def _before(topic: str, partition: int, offset: int):
    from confluent_kafka import TopicPartition

    return TopicPartition(topic, partition, offset)
