"""Reading a topic outside any group: what a rebuild reads again, and how far a group has come."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from pipeline.domain.log import Record
from pipeline.io.kafka.transaction_log import (
    BROKER_TIMEOUT_S,
    BrokerFailed,
    raise_unless_passing,
    record_of,
    shared_options,
)

COORDINATOR_TRIES: Final = 50
COORDINATOR_PAUSE_S: Final = 0.1
"""A broker that has just started may not know of its groups yet; 5 s is more than it needs for that."""
_NO_COORDINATOR_YET: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


class Stretch(NamedTuple):
    """Records read in order; the next to come has end_offset or a later one."""

    records: Sequence[Record]
    end_offset: int


class LogReader:
    """Reads a stretch of one partition outside any group, to rebuild state from it. Raises BrokerFailed."""

    def __init__(self, bootstrap_servers: str, topic: str, group: str, options: Mapping[str, str]) -> None:
        """`group` is only asked for its committed offsets."""
        self._topic = topic
        self._consumer = Consumer(
            {
                **shared_options(bootstrap_servers, options),
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "enable.partition.eof": True,  # commit markers at the log's end have offsets but are no records
                "fetch.wait.max.ms": 10,  # an end is found by a fetch that waits this long; there is one a partition
            }
        )

    async def partitions(self) -> list[int]:
        listed = await self._asked(self._consumer.list_topics, self._topic, BROKER_TIMEOUT_S)
        return sorted(listed.topics[self._topic].partitions)

    async def offsets(self, partition: int) -> tuple[int, int]:
        """The oldest offset kept, and the one that the next record will get."""
        where = TopicPartition(self._topic, partition)
        low, high = await self._asked(self._consumer.get_watermark_offsets, where, BROKER_TIMEOUT_S)
        return int(low), int(high)

    async def committed_offset(self, partition: int) -> int | None:
        """What the group has committed; None where it has committed nothing."""
        where = [TopicPartition(self._topic, partition)]
        committed = await self._asked(self._consumer.committed, where, BROKER_TIMEOUT_S)
        return int(committed[0].offset) if committed[0].offset >= 0 else None

    def seek(self, partition: int, offset: int) -> None:
        self._consumer.assign([TopicPartition(self._topic, partition, offset)])

    async def read(self, records_max: int) -> Stretch:
        """Up to `records_max` records from where it stands; BrokerFailed when nothing comes in BROKER_TIMEOUT_S."""
        stretch: Stretch = await self._asked(self._read, records_max)
        return stretch

    async def _asked(self, question: Callable[..., Any], *arguments: object) -> Any:
        """What a blocking call answers; BrokerFailed where it fails, so that no batch is blamed for it."""
        loop, tries = asyncio.get_running_loop(), 0
        while True:
            tries += 1
            try:
                return await loop.run_in_executor(None, question, *arguments)
            except KafkaException as exception:
                error = exception.args[0]
                if error.code() not in _NO_COORDINATOR_YET or tries == COORDINATOR_TRIES:
                    raise BrokerFailed(f"the broker was asked in vain: {error.str()}") from exception
            await asyncio.sleep(COORDINATOR_PAUSE_S)

    def _read(self, records_max: int) -> Stretch:
        messages = self._consumer.consume(1, BROKER_TIMEOUT_S)
        messages += self._consumer.consume(records_max - 1, 0)
        records: list[Record] = []
        end_offset = None
        for message in messages:
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                end_offset = message.offset()
            elif error is not None:
                raise_unless_passing(error)
            else:
                records.append(record_of(message))
                end_offset = records[-1].source.offset + 1
        if end_offset is None:
            raise BrokerFailed("the log could not be read again")
        return Stretch(records, end_offset)

    def close(self) -> None:
        self._consumer.close()
