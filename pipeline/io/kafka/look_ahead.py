"""A look at what a reader is about to read, packed as it is, before the library unpacks it.

The library bounds what it unpacks of zstd alone. A batch of 500 KB by gzip comes to 500 MB, twice over, and ends a
process that Compose gives 1 GB, each time that it starts. So whoever is given a partition looks first at what stands
there, by a client that hands the bytes over packed, and reads it from those, batch by batch, where it is heavy.

The look is a precaution (ADR 0055). Where it fails, the reader goes on without.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import structlog
from aiokafka.client import AIOKafkaClient  # type: ignore[import-untyped]  # it ships without types
from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords  # type: ignore[import-untyped]  # no types
from aiokafka.errors import KafkaError, for_code  # type: ignore[import-untyped]  # it ships without types
from aiokafka.protocol.fetch import FetchRequest  # type: ignore[import-untyped]  # it ships without types
from aiokafka.structs import TopicPartition  # type: ignore[import-untyped]  # it ships without types
from confluent_kafka import Message
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from pipeline.io.kafka.bounded_records import (
    BoundedRecords,
    next_offset_of,
    packed_batches,
    records_of_batch,
    unpacked_bytes,
)
from pipeline.io.kafka.faust_credentials import CredentialsRefused, faust_credentials
from pipeline.io.kafka.given import Given

LOOK_BYTES: Final = 4 * 1024 * 1024
"""So much is looked at of a partition, packed: more than the largest batch that a topic takes, and enough for a worker
to commit some of it before the library has unpacked what stands behind. So each start gets further than the last."""
HEAVY_BYTES: Final = 64 * 1024 * 1024
"""What LOOK_BYTES may unpack to: sixteen times as much. Payments come to some three times, and where they come to more
they are only read more slowly."""
HEAVY_RECORDS: Final = 200_000
"""Likewise of records: a batch of 824 KB by zstd holds a million empty ones, for which the library takes 320 MB
whatever they weigh. No payment is packed in 20 bytes."""
READ_BYTES: Final = 1024 * 1024
"""So much is asked for at once where nothing is left to the library: as much as the library asks for. A broker gives
the first batch whole."""
LARGE_BYTES: Final = 16 * 1024 * 1024
"""What LOOK_BYTES of payments come to at most, by a third to spare. Of partitions with more, one is unpacked at a time;
the others are read side by side."""
LOOK_S: Final = 8.0
"""Limit of one look, while a group waits for its member."""

log = structlog.get_logger("kafka")


class Found(NamedTuple):
    """The packed bytes from an offset on, and the transactions in them that were aborted, as the broker says them."""

    start: int
    answered: bytes
    aborted: list[tuple[int, int]]


class Looked(NamedTuple):
    """What one look found, by partition. refused: the broker gives nothing from there, and the library says why."""

    given: dict[int, Given]
    heavy: frozenset[int]
    refused: frozenset[int]


class LookAhead:
    """Looks at partitions of one broker's topics, for one thread at a time that runs no event loop.

    It stays connected until it is closed, or a look fails.
    """

    def __init__(self, bootstrap_servers: str, options: Mapping[str, str]) -> None:
        self._bootstrap_servers, self._options = bootstrap_servers, options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._client: AIOKafkaClient | None = None

    def heavy(self, topic: str, starts: Mapping[int, int]) -> dict[int, Given]:
        """Return what stands at those starts behind which the library would unpack too much."""
        looked = self.look(topic, starts)
        return {} if looked is None else {each: looked.given[each] for each in looked.heavy}

    def look(self, topic: str, starts: Mapping[int, int], *, is_filled: bool = True) -> Looked | None:
        """Return what stands in each partition from its start on; None where nobody answers.

        is_filled: look at as much as LOOK_BYTES of each; otherwise at what the broker answers at once.
        """
        if self._client is not None:  # the broker closes connections that nobody used for some minutes
            looked = self._tried(topic, starts, is_filled, is_last=False)
            if looked is not None:
                return looked
        return self._tried(topic, starts, is_filled, is_last=True)

    def _tried(self, topic: str, starts: Mapping[int, int], is_filled: bool, *, is_last: bool) -> Looked | None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        try:
            return self._loop.run_until_complete(asyncio.wait_for(self._looked(topic, starts, is_filled), LOOK_S))
        except (KafkaError, OSError, TimeoutError, ValueError, CredentialsRefused) as failure:
            # A ValueError: its client knows fewer ways to write an address or a log-in than the library does.
            if is_last:
                log.warning("look_ahead_failed", topic=topic, failure=type(failure).__name__)
            self.close()
            return None

    def close(self) -> None:
        """Close the connections; also from a thread that runs an event loop, as a coroutine closes a reader."""
        if self._loop is not None:
            closing = threading.Thread(target=self._close, args=(self._loop, self._client))
            self._loop = self._client = None
            closing.start()
            closing.join()

    @staticmethod
    def _close(loop: asyncio.AbstractEventLoop, client: AIOKafkaClient | None) -> None:
        if client is not None:
            loop.run_until_complete(client.close())
        loop.close()

    async def _looked(self, topic: str, starts: Mapping[int, int], is_filled: bool) -> Looked:
        client = await self._connected(topic)
        looked, heavy, refused = dict[int, Given](), set[int](), set[int]()
        for partition, start in starts.items():
            found = await _answered(client, topic, partition, start, is_filled)
            if found is None:
                refused.add(partition)
            elif found.answered:
                came_to, records = _came_to(found), sum(map(records_of_batch, packed_batches(found.answered)))
                looked[partition] = _given(topic, partition, found, is_large=came_to > LARGE_BYTES)
                heavy |= {partition} if came_to > HEAVY_BYTES or records > HEAVY_RECORDS else set()
        return Looked(looked, frozenset(heavy), frozenset(refused))

    async def _connected(self, topic: str) -> AIOKafkaClient:
        if self._client is None:
            self._client = AIOKafkaClient(
                bootstrap_servers=self._bootstrap_servers,
                request_timeout_ms=int(LOOK_S * 1000),
                **credentials_to_aiokafka_auth(faust_credentials(self._options)),
            )
            await self._client.bootstrap()
        await self._client.set_topics([topic])
        return self._client


async def _answered(client: AIOKafkaClient, topic: str, partition: int, start: int, is_filled: bool) -> Found | None:
    """Return what stands behind `start`, as much as is looked at, which may be nothing; None where the broker refuses.

    It may answer with one batch at a time.
    """
    leader = client.cluster.leader_for_partition(TopicPartition(topic, partition))
    answered, aborted, at, is_more = b"", set[tuple[int, int]](), start, True
    most = LOOK_BYTES if is_filled else READ_BYTES
    while leader is not None and leader >= 0 and len(answered) < LOOK_BYTES and is_more:
        request = FetchRequest(0, 0, most, READ_COMMITTED, [(topic, [(partition, at, most)])])
        answer = await client.send(leader, request)
        parts = [part for _, answers in answer.topics for part in answers]
        if parts and parts[0][1] != 0:
            if not for_code(parts[0][1]).retriable:
                return None
            await client.force_metadata_update()
            break
        packed = list(packed_batches(parts[0][-1])) if parts and parts[0][-1] else []
        if not packed or (end := next_offset_of(packed[-1])) <= at:
            break
        at, answered, is_more = end, answered + b"".join(packed), is_filled
        aborted.update((producer, first) for producer, first in parts[0][5 if answer.API_VERSION >= 11 else -2] or ())
    return Found(start, answered, sorted(aborted))


def _came_to(found: Found) -> int:
    """Return what all of it unpacks to, or a number over HEAVY_BYTES."""
    came_to = 0
    for packed in packed_batches(found.answered):
        came_to += unpacked_bytes(packed, HEAVY_BYTES - came_to)
        if came_to > HEAVY_BYTES:
            break
    return came_to


def _given(topic: str, partition: int, found: Found, *, is_large: bool) -> Given:
    """Return the committed records of what was found, unpacked one batch after another as they are taken."""
    records = PartitionRecords(
        TopicPartition(topic, partition), BoundedRecords(found.answered), found.aborted,
        found.start, None, None, False, READ_COMMITTED,
    )  # fmt: skip
    end = max((next_offset_of(packed) for packed in packed_batches(found.answered)), default=found.start)
    return Given(map(_message, records), max(found.start, end), is_large=is_large)


def _message(record: Any) -> Message:
    # The library's types know no arguments of a message, and not every release of it has types.
    return Message(  # type: ignore[call-arg,unused-ignore]
        topic=record.topic, partition=record.partition, offset=record.offset, key=record.key, value=record.value,
        headers=list(record.headers) or None, timestamp=(record.timestamp_type + 1, record.timestamp),
    )  # fmt: skip
