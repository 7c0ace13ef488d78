"""A look at what a reader is about to read, packed as it is, before the library unpacks it.

The library bounds what it unpacks of zstd alone. A batch of 500 KB by gzip comes to 500 MB, twice over, and ends a
process that Compose gives 1 GB, each time that it starts. So whoever is given a partition looks first at what stands
there, by a client that hands the bytes over packed, and reads it from those, batch by batch, where it is heavy.

The look is a precaution (ADR 0055). Where it fails, the reader goes on without.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import structlog
from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]  # it ships without types
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords  # type: ignore[import-untyped]  # no types
from aiokafka.errors import KafkaError  # type: ignore[import-untyped]  # it ships without types
from aiokafka.protocol.fetch import FetchRequest  # type: ignore[import-untyped]  # it ships without types
from aiokafka.structs import TopicPartition  # type: ignore[import-untyped]  # it ships without types
from confluent_kafka import Message
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from pipeline.io.kafka.bounded_records import BoundedRecords, next_offset_of, packed_batches, unpacked_bytes
from pipeline.io.kafka.faust_credentials import CredentialsRefused, faust_credentials
from pipeline.io.kafka.given import Given

LOOK_BYTES: Final = 4 * 1024 * 1024
"""So much is looked at of a partition, packed: more than the largest batch that a topic takes, and enough for a worker
to commit some of it before the library has unpacked what stands behind. So each start gets further than the last."""
HEAVY_BYTES: Final = 64 * 1024 * 1024
"""What LOOK_BYTES may unpack to: sixteen times as much. Payments come to some three times, and where they come to more
they are only read more slowly."""
LOOK_S: Final = 8.0
"""Limit of one look, while a group waits for its member."""

log = structlog.get_logger("kafka")


class Found(NamedTuple):
    """The packed bytes from an offset on, and the transactions in them that were aborted, as the broker says them."""

    start: int
    answered: bytes
    aborted: list[tuple[int, int]]


class LookAhead:
    """Looks at partitions of one broker's topics, for one thread that runs no event loop."""

    def __init__(self, bootstrap_servers: str, options: Mapping[str, str]) -> None:
        self._bootstrap_servers, self._options = bootstrap_servers, options

    def heavy(self, topic: str, starts: Mapping[int, int]) -> dict[int, Given]:
        """Return what stands at those starts behind which the library would unpack too much."""
        return {
            each: _given(topic, each, found) for each, found in self._all(topic, starts).items() if _is_heavy(found)
        }

    def found(self, topic: str, starts: Mapping[int, int]) -> tuple[dict[int, Given], bool]:
        """Return what stands in each partition from its start on, and whether any of it is heavy."""
        found = self._all(topic, starts)
        return {each: _given(topic, each, one) for each, one in found.items()}, any(map(_is_heavy, found.values()))

    def _all(self, topic: str, starts: Mapping[int, int]) -> dict[int, Found]:
        """Return the bytes in each partition from its start on; nothing where none are, or nobody answers."""
        try:
            return asyncio.run(asyncio.wait_for(self._found(topic, starts), LOOK_S))
        except (KafkaError, OSError, TimeoutError, ValueError, CredentialsRefused) as failure:
            # A ValueError: its client knows fewer ways to write an address or a log-in than the library does.
            log.warning("look_ahead_failed", topic=topic, failure=type(failure).__name__)
            return {}

    async def _found(self, topic: str, starts: Mapping[int, int]) -> dict[int, Found]:
        client = AIOKafkaClient(
            bootstrap_servers=self._bootstrap_servers,
            request_timeout_ms=int(LOOK_S * 1000),
            **credentials_to_aiokafka_auth(faust_credentials(self._options)),
        )
        found = dict[int, Found]()
        try:
            await client.bootstrap()
            await client.set_topics([topic])
            for partition, start in starts.items():
                if answered := await _answered(client, topic, partition, start):
                    found[partition] = answered
        finally:
            await client.close()
        return found


async def _answered(client: AIOKafkaClient, topic: str, partition: int, start: int) -> Found | None:
    """Return what stands behind `start`, as much as is looked at; a broker may answer with one batch at a time."""
    leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
    answered, aborted, at = b"", set[tuple[int, int]](), start
    while leader is not None and leader >= 0 and len(answered) < LOOK_BYTES:
        request = FetchRequest(0, 0, LOOK_BYTES, READ_COMMITTED, [(topic, [(partition, at, LOOK_BYTES)])])
        answer = await client.send(leader, request)
        parts = [part for _, answers in answer.topics for part in answers]
        packed = list(packed_batches(parts[0][-1])) if parts and parts[0][1] == 0 and parts[0][-1] else []
        if not packed or (end := next_offset_of(packed[-1])) <= at:
            break
        at, answered = end, answered + b"".join(packed)
        aborted.update((producer, first) for producer, first in parts[0][5 if answer.API_VERSION >= 11 else -2] or ())
    return Found(start, answered, sorted(aborted)) if answered else None


def _is_heavy(found: Found) -> bool:
    left = HEAVY_BYTES
    for packed in packed_batches(found.answered):
        left -= unpacked_bytes(packed, left)
        if left < 0:
            return True
    return False


def _given(topic: str, partition: int, found: Found) -> Given:
    """Return the committed records of what was found, unpacked one batch after another as they are taken."""
    records = PartitionRecords(
        TopicPartition(topic, partition), BoundedRecords(found.answered), found.aborted,
        found.start, None, None, False, READ_COMMITTED,
    )  # fmt: skip
    end = max((next_offset_of(packed) for packed in packed_batches(found.answered)), default=found.start)
    return Given(map(_message, records), max(found.start, end))


def _message(record: Any) -> Message:
    # The library's types know no arguments of a message, and not every release of it has types.
    return Message(  # type: ignore[call-arg,unused-ignore]
        topic=record.topic, partition=record.partition, offset=record.offset, key=record.key, value=record.value,
        headers=list(record.headers) or None, timestamp=(record.timestamp_type + 1, record.timestamp),
    )  # fmt: skip
