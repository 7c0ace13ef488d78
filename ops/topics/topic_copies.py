"""Copies topics to files while everything runs, and writes them anew, with the offsets and the times that they had.

The audit log, the ledger and the state all name records by partition and offset, and the audit log binds the broker's
times. So both must come back as they were. A topic that is written anew keeps its writer's times while that lasts, and
is stamped by the broker again afterwards.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from itertools import chain, zip_longest
from pathlib import Path
from typing import Final, NamedTuple

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its types say less than it exports
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)

from ops.stack.topics import FOR_EVER, TOPICS, Cleanup, Topic, topic_settings
from ops.topics.copies import (
    Copied,
    CopyBroken,
    Manifest,
    Part,
    PartitionCopy,
    PartWriter,
    forget_under_way,
    held,
    read_manifest,
    read_part,
    read_under_way,
    record_digest,
    require_files,
    write_manifest,
)
from ops.topics.filling import How, Write, writes
from pipeline.io.kafka import client
from pipeline.io.kafka.client import BrokerAway, broker_failure, raise_unless_passing
from pipeline.io.kafka.log_reader import Extent, LogReader
from pipeline.io.kafka.topic_settings import CREATE_TIME, TIMESTAMP_TYPE
from pipeline.io.settings import Settings

GROUP: Final = "fraud-command-topics"
RUN_MAX: Final = 10_000
"""Records that are written before the broker's acknowledgement is waited for."""
PART_RECORDS_MAX: Final = 200_000
"""Records of one file."""
LEADING_MAX: Final = 200_000_000
"""Offsets before the oldest record that are made up and deleted again: some minutes a hundred million."""
FILLERS_A_FLUSH: Final = 100_000
DELIVERY_S: Final = 60.0
LED_S: Final = 15.0
POLL_S: Final = 0.2
MARKER_POLL_S: Final = 0.005
SILENCE_S: Final = 30.0
_FINAL: Final = {TIMESTAMP_TYPE, "retention.ms", "cleanup.policy"}
"""Settings that would alter or delete what is written anew, and that are set afterwards."""

Say = Callable[[str], None]


class Count(NamedTuple):
    topic: str
    partition: int
    records: int
    begin: int
    end: int


def back_up(settings: Settings, folder: Path) -> list[Count]:
    """Add to the folder's copy what came since, of every topic. Raises BrokerFailed, CopyBroken and OSError.

    All ends are asked for before the first record is copied, what follows before what it follows from: an
    announcement's end before its decision's, that before its payment's. A copy with a decision whose payment it lacks
    would give the payment's place to another payment, which the audit log and the state take for decided.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    counts = []
    with held(folder), LogReader(settings.bootstrap_servers, GROUP, settings.kafka_options) as reader:
        manifest = read_under_way(folder)
        extents = {topic.name: reader.extents(settings.topic(topic.name)) for topic in reversed(TOPICS)}
        for topic in TOPICS:
            kept, found = manifest.setdefault(topic.name, {}), extents[topic.name]
            if not kept.keys() <= found.keys():
                raise CopyBroken(f"{topic.name} has fewer partitions than the copy: is it another topic?")
            for partition, extent in found.items():
                before = kept.get(partition, PartitionCopy(extent.low, ()))
                first = max(before.end, extent.low)
                with closing(Messages(settings, topic.name)) as messages:
                    _require_same(messages, topic, partition, before, extent)
                    parts = tuple(_copied(messages, topic, partition, first, extent.high, folder))
                kept[partition] = PartitionCopy(extent.low, (*before.parts, *parts))
                count = sum(part.records for part in parts)
                counts.append(Count(topic.name, partition, count, extent.low, kept[partition].end))
                write_manifest(folder, manifest, is_whole=False)
        write_manifest(folder, manifest, is_whole=True)
    return counts


def put_back(settings: Settings, folder: Path, replication_factor: int, say: Say) -> list[Count]:
    """Make the copy's topics, which must not be there, and write what it holds. Raises what `back_up` raises, and
    Unfillable."""
    with held(folder):
        return _put_back(settings, folder, replication_factor, say)


def _put_back(settings: Settings, folder: Path, replication_factor: int, say: Say) -> list[Count]:
    manifest = read_manifest(folder)
    if not manifest:
        raise CopyBroken(f"{folder} holds no copy that has come to its end")
    require_files(folder, manifest)
    admin = client.admin_client(settings.bootstrap_servers, settings.kafka_options)
    try:
        _make(admin, settings, manifest, replication_factor)
        counts = []
        for topic in TOPICS:
            for partition, copy in sorted(manifest.get(topic.name, {}).items()):
                counts.append(_Filling(settings, topic, partition, folder).fill(copy, admin))
                say(f"{topic.name}[{partition}]: {counts[-1].records:,} records, to {copy.end:,}")
        _settle(admin, settings, manifest, replication_factor)
    except KafkaException as error:
        raise broker_failure("the topics could not be written", error) from error
    _compare(settings, manifest, folder)
    forget_under_way(folder)
    return counts


def _require_same(messages: Messages, topic: Topic, partition: int, before: PartitionCopy, extent: Extent) -> None:
    """Raise CopyBroken unless the partition goes on where the copy ends. One that was made anew, or lost its end and
    has grown again, may be as long; the record that was copied last tells it apart."""
    where, last = f"{topic.name}[{partition}]", before.last
    if extent.high < before.end:
        raise CopyBroken(f"{where} ends before the copy does: is it another topic?")
    if last is None:
        return
    if extent.low > before.end:
        lost = extent.low - before.end
        raise CopyBroken(f"{where} has deleted {lost:,} offsets before they were copied, so the copy would have a gap")
    if extent.low <= last.last_offset:
        found = next(messages.read(partition, last.last_offset, last.last_offset + 1), None)
        if found is None and topic.cleanup is Cleanup.COMPACT:
            return  # another record of its key came since
        if found is None or record_digest(found) != last.last_sha256:
            raise CopyBroken(
                f"{where} has not the record that was copied last, at {last.last_offset}: is it another topic?"
            )
    elif topic.retention_ms == FOR_EVER:
        raise CopyBroken(f"{where} keeps its records for ever, and has deleted what was copied: is it another topic?")


def _copied(messages: Messages, topic: Topic, partition: int, first: int, end: int, folder: Path) -> Iterator[Part]:
    """Write files of [first, end)."""
    if first >= end:
        return
    writer, count = PartWriter(folder, topic.name, partition, first), 0
    for record in messages.read(partition, first, end):
        if count == PART_RECORDS_MAX:
            yield writer.close(record.offset)
            writer, count = PartWriter(folder, topic.name, partition, record.offset), 0
        writer.write(record)
        count += 1
    yield writer.close(end)


class Messages:
    """Reads a topic's committed records with all that they have. For one thread."""

    def __init__(self, settings: Settings, topic: str) -> None:
        self._topic = settings.topic(topic)
        tuning = {"enable.partition.eof": True}
        options = client.reader_options(settings.bootstrap_servers, GROUP, settings.kafka_options, tuning)
        self._consumer = Consumer(options)

    def read(self, partition: int, first: int, end: int) -> Iterator[Copied]:
        """Yield what stands in [first, end). Raises BrokerFailed."""
        self._consumer.assign([TopicPartition(self._topic, partition, first)])
        heard_s = time.monotonic()
        while True:
            for message in self._consumer.consume(RUN_MAX, POLL_S):
                heard_s, error, offset = time.monotonic(), message.error(), message.offset()
                assert offset is not None, "a record, and the end of a topic, has a place"
                if error is not None and error.code() == KafkaError._PARTITION_EOF:
                    if offset >= end:
                        return
                elif error is not None:
                    raise_unless_passing(error, f"reading {self._topic} failed")
                elif offset >= end:
                    return
                else:
                    yield _copy_of(message, offset)
                    if offset + 1 == end:
                        return
            if time.monotonic() - heard_s > SILENCE_S:
                raise BrokerAway(f"{self._topic}[{partition}] can't be read to {end}: the broker is silent")

    def close(self) -> None:
        self._consumer.close()


def _copy_of(message: Message, offset: int) -> Copied:
    key, value = message.key(), message.value()
    assert not isinstance(key, str), "raw bytes were asked for"
    assert not isinstance(value, str), "raw bytes were asked for"
    headers = tuple((name, _bytes(held)) for name, held in client.ordered_headers(message))
    return Copied(offset, client.timestamp_ms(message), key, value, headers)


def _bytes(held: str | bytes | None) -> bytes | None:
    return held.encode() if isinstance(held, str) else held


# Writing anew


def _make(admin: AdminClient, settings: Settings, manifest: Manifest, replication_factor: int) -> None:
    """Make the topics, with their writer's times, and nothing that would delete what is written. Where one is there,
    whatever it holds, none is made."""
    there = admin.list_topics(timeout=DELIVERY_S).topics.keys()
    if standing := sorted(settings.topic(name) for name in manifest if settings.topic(name) in there):
        raise CopyBroken(f"the brokers have {', '.join(standing)}; delete what an interrupted restore has left")
    new = []
    for topic in TOPICS:
        if topic.name in manifest:
            wanted = topic_settings(topic, replication_factor)
            kept = {name: value for name, value in wanted.items() if name not in _FINAL}
            kept |= {TIMESTAMP_TYPE: CREATE_TIME, "retention.ms": str(FOR_EVER), "cleanup.policy": "delete"}
            name = settings.topic(topic.name)
            new.append(NewTopic(name, len(manifest[topic.name]), replication_factor, config=kept))
    for future in admin.create_topics(new, request_timeout=DELIVERY_S).values():
        future.result()
    deadline = time.monotonic() + LED_S
    while not all(_is_led(admin, each.topic) for each in new):
        if time.monotonic() > deadline:
            raise BrokerAway("the topics that were made have no leader")
        time.sleep(POLL_S)


def _is_led(admin: AdminClient, name: str) -> bool:
    found = admin.list_topics(name, timeout=DELIVERY_S).topics[name]
    return found.error is None and bool(found.partitions) and all(p.leader >= 0 for p in found.partitions.values())


def _settle(admin: AdminClient, settings: Settings, manifest: Manifest, replication_factor: int) -> None:
    """Give the topics the settings that they are to have: from now on the broker stamps what comes."""
    resources = []
    for topic in TOPICS:
        if topic.name in manifest:
            wanted = {TIMESTAMP_TYPE: "LogAppendTime", **topic_settings(topic, replication_factor)}
            entries = [
                ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in wanted.items()
            ]
            resources.append(
                ConfigResource(ResourceType.TOPIC, settings.topic(topic.name), incremental_configs=entries)
            )
    for future in admin.incremental_alter_configs(resources, request_timeout=DELIVERY_S).values():
        future.result()


class _Filling:
    """One partition, written from nothing."""

    def __init__(self, settings: Settings, topic: Topic, partition: int, folder: Path) -> None:
        self._topic, self._partition, self._folder = settings.topic(topic.name), partition, folder
        partitioner = settings.partitioner
        made_of = {"client.id": GROUP, "linger.ms": 5, "delivery.timeout.ms": int(DELIVERY_S * 1000)}
        options = client.writer_options(settings.bootstrap_servers, settings.kafka_options, partitioner, made_of)
        self._plain = Producer(options)
        self._transactional = Producer({**options, "transactional.id": f"fraud-topics-{self._topic}-{partition}"})
        self._failures: list[KafkaError] = []
        self._ends_at = 0

    def fill(self, copy: PartitionCopy, admin: AdminClient) -> Count:
        """Write what was copied, each record at its offset, behind as many offsets as were deleted before it."""
        records = chain.from_iterable(read_part(self._folder, part) for part in copy.parts)
        first = next(records, None)
        begin = copy.end if first is None else first.offset
        self._lead(begin, admin)
        self._transactional.init_transactions(DELIVERY_S)
        count, position = 0, begin
        for each in writes(chain([] if first is None else [first], records), begin, copy.end, RUN_MAX):
            self._write(each)
            count += len(each.records)
            position += len(each.records) + each.fillers
            if each.how is not How.PLAIN:
                position += 1
                self._await_marker(position, admin)
        return Count(self._topic, self._partition, count, begin, copy.end)

    def _lead(self, begin: int, admin: AdminClient) -> None:
        """Make up the offsets before the oldest record, and delete them."""
        if begin > LEADING_MAX:
            raise CopyBroken(f"{self._topic}[{self._partition}] begins at {begin}, and {LEADING_MAX} can be made up")
        for done in range(0, begin, FILLERS_A_FLUSH):
            self._produce(self._plain, [_FILLER] * min(FILLERS_A_FLUSH, begin - done))
        if begin:
            where = TopicPartition(self._topic, self._partition, begin)
            for future in admin.delete_records([where], request_timeout=DELIVERY_S).values():
                future.result()

    def _write(self, each: Write) -> None:
        match each.how:
            case How.PLAIN:
                self._produce(self._plain, each.records)
            case How.COMMITTED:
                self._transactional.begin_transaction()
                self._produce(self._transactional, each.records)
                self._transactional.commit_transaction(DELIVERY_S)
            case How.ABORTED:
                for done in range(0, each.fillers, FILLERS_A_FLUSH):
                    if not done:
                        self._transactional.begin_transaction()
                    self._produce(self._transactional, [_FILLER] * min(FILLERS_A_FLUSH, each.fillers - done))
                self._transactional.abort_transaction(DELIVERY_S)

    def _await_marker(self, end: int, admin: AdminClient) -> None:
        """The broker writes a transaction's marker after it has said that the transaction is over. What is written
        outside any transaction in between would take the marker's offset."""
        where, deadline = TopicPartition(self._topic, self._partition), time.monotonic() + DELIVERY_S
        while True:
            [future] = admin.list_offsets(
                {where: OffsetSpec.latest()},  # type: ignore[no-untyped-call]  # the library gives it no types
                isolation_level=IsolationLevel.READ_UNCOMMITTED,
                request_timeout=DELIVERY_S,
            ).values()
            if future.result().offset >= end:
                return
            if time.monotonic() > deadline:
                raise BrokerAway(f"{self._topic}[{self._partition}] doesn't come to offset {end}")
            time.sleep(MARKER_POLL_S)

    def _produce(self, producer: Producer, records: Iterable[Copied]) -> None:
        """Returns once all are acknowledged."""
        for record in records:
            producer.produce(
                self._topic,
                record.value,
                record.key,
                self._partition,
                on_delivery=self._delivered,
                timestamp=max(record.timestamp_ms, 0),
                headers=list(record.headers) or None,
            )
            producer.poll(0)
        left = producer.flush(DELIVERY_S)
        if self._failures:
            raise KafkaException(self._failures[0])
        if left:
            raise BrokerAway(f"{left} records of {self._topic} were not acknowledged")

    def _delivered(self, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failures.append(error)


_FILLER: Final = Copied(0, 0, None, b"", ())


def _compare(settings: Settings, manifest: Manifest, folder: Path) -> None:
    """Read the topics back, and raise CopyBroken where one is not as it was copied."""
    for topic in TOPICS:
        if topic.name not in manifest:
            continue
        with closing(Messages(settings, topic.name)) as messages:
            for partition, copy in manifest[topic.name].items():
                stored = chain.from_iterable(read_part(folder, part) for part in copy.parts)
                first = next(stored, None)
                if first is None:
                    continue
                found = messages.read(partition, first.offset, copy.end)
                for was, is_now in zip_longest(chain([first], stored), found):
                    if was != is_now:
                        at = was.offset if was is not None else copy.end
                        raise CopyBroken(f"{topic.name}[{partition}] is not as it was from offset {at} on")
