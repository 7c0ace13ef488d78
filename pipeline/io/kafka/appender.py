"""Appending records and waiting for them: alerts, anchors, executions, reviews, reversals, dead letters of context.

Invariants
1. Once `Appender.append` or `TransactionalAppender.append` returns, every replica in step has acknowledged the records.
2. For a read_committed reader a transactional append is there as a whole or not at all. A start under the same
   transactional id ends what a predecessor left open, and shuts the predecessor out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from pipeline.domain.log import Outgoing, TopicPartition
from pipeline.io.kafka import client
from pipeline.io.kafka.client import BrokerAway, BrokerFailed, broker_failure, is_transient
from pipeline.io.partitioner import Partitioner
from pipeline.io.settings import Settings

DELIVERY_S: Final = 20.0
LINGER_MS: Final = 100
"""Every append ends with a flush, which waits for no linger; so each partition is sent once."""
TRANSACTION_TIMEOUT_MS: Final = 15_000
RETRIES_MAX: Final = 5
"""Most attempts at a step that the broker says can be tried again; each waits up to DELIVERY_S by itself."""


_PURGED: Final = frozenset({KafkaError._PURGE_QUEUE, KafkaError._PURGE_INFLIGHT})


class _Purged(BrokerFailed):
    """The library dropped records by itself, since their transaction had failed, or the client had."""


class Appender:
    """An idempotent appender, for one thread: a retry inside the client writes nothing twice."""

    def __init__(
        self,
        bootstrap_servers: str,
        client_id: str,
        options: Mapping[str, str],
        partitioner: Partitioner = Partitioner.CRC32,
    ) -> None:
        tuning = {"client.id": client_id, "delivery.timeout.ms": int(DELIVERY_S * 1000), "linger.ms": LINGER_MS}
        self._made_of = client.writer_options(bootstrap_servers, options, partitioner, tuning)
        self._producer = Producer(self._made_of)

    @classmethod
    def of(cls, settings: Settings, client_id: str) -> Self:
        return cls(settings.bootstrap_servers, client_id, settings.kafka_options, settings.partitioner)

    def append(self, records: Sequence[Outgoing]) -> None:
        """Append the records and return once all are acknowledged.

        Raises BrokerAway or BrokerFailed otherwise; some of the records may then stand on the topic.
        """
        try:
            _deliver(self._producer, records)
        except BrokerAway:
            # It may have forgotten every broker (known_brokers), and would never deliver anything again.
            self._producer.purge()
            self._producer = Producer(self._made_of)
            raise


class AsyncAppender:
    """An Appender for coroutines of one event loop. It has a thread of its own, where one append follows the other."""

    def __init__(
        self, appender: Appender, seal: Callable[[Sequence[Outgoing]], Sequence[Outgoing]] = lambda records: records
    ) -> None:
        """seal: gives the records as they are to be appended, in that thread."""
        self._appender, self._seal = appender, seal
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="kafka-append")

    async def append(self, records: Sequence[Outgoing]) -> None:
        """Append as `Appender.append` does."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._append, records)

    def _append(self, records: Sequence[Outgoing]) -> None:
        self._appender.append(self._seal(records))


class TransactionalAppender:
    """An appender that makes one Kafka transaction of each append, for one thread."""

    def __init__(
        self,
        bootstrap_servers: str,
        transactional_id: str,
        options: Mapping[str, str],
        partitioner: Partitioner = Partitioner.CRC32,
    ) -> None:
        tuning = {
            "client.id": transactional_id,
            "transactional.id": transactional_id,
            "transaction.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "delivery.timeout.ms": TRANSACTION_TIMEOUT_MS,
            "linger.ms": LINGER_MS,
        }
        self._producer = Producer(client.writer_options(bootstrap_servers, options, partitioner, tuning))

    @classmethod
    def of(cls, settings: Settings, transactional_id: str) -> Self:
        return cls(settings.bootstrap_servers, transactional_id, settings.kafka_options, settings.partitioner)

    def start(self) -> None:
        """End a predecessor's transaction, so that it can't be taken up again. Raises BrokerFailed."""
        _persistently("starting", lambda: self._producer.init_transactions(DELIVERY_S))

    def append(self, records: Sequence[Outgoing]) -> dict[TopicPartition, int]:
        """Append all of the records or none; return the offset after the last of them in each partition.

        A transaction that failed at its coordinator is tried anew. Raises BrokerFailed where the broker refuses, or
        does not say how the transaction ended; read the topic then.
        """
        ends = None
        for _ in range(RETRIES_MAX):
            if (ends := self._written(records)) is not None:
                break
        if ends is None:
            raise BrokerFailed(f"a transaction failed at its coordinator {RETRIES_MAX} times")
        _persistently("committing", lambda: self._producer.commit_transaction(DELIVERY_S))
        return ends

    def _written(self, records: Sequence[Outgoing]) -> dict[TopicPartition, int] | None:
        """Write the records into a transaction, or nothing: None where it failed and was aborted, so that the next
        one may succeed."""
        try:
            self._producer.begin_transaction()
            return _deliver(self._producer, records)
        except KafkaException as error:
            self._abort()
            raise broker_failure("a transaction could not be begun", error) from error
        except _Purged as failure:
            why = self._abort()
            if why is not None:
                raise BrokerFailed(f"{failure}: {why}") from failure
            return None
        except BrokerFailed:
            self._abort()
            raise

    def _abort(self) -> str | None:
        """Return why it could not: fenced or out of reach. Then the broker aborts it after its timeout, or the
        successor at its start."""
        try:
            self._producer.abort_transaction(DELIVERY_S)
        except KafkaException as failure:
            return str(failure.args[0])
        return None


def _persistently(what: str, step: Callable[[], object]) -> None:
    for _ in range(RETRIES_MAX):
        try:
            step()
        except KafkaException as exception:
            error = exception.args[0]
            if isinstance(error, KafkaError) and error.retriable():
                continue
            raise broker_failure(f"{what} a transaction failed", exception) from exception
        return
    raise BrokerAway(f"{what} a transaction was tried {RETRIES_MAX} times")


def _deliver(producer: Producer, records: Sequence[Outgoing]) -> dict[TopicPartition, int]:
    """Deliver the records; return the offset after the last of them in each partition.

    Where the broker recognised a retry, it doesn't say the offset, and the end is that of an earlier record.
    """
    failures: list[KafkaError] = []
    ends: dict[TopicPartition, int] = {}

    def delivered(error: KafkaError | None, message: Message) -> None:
        topic, partition, offset = message.topic(), message.partition(), message.offset()
        if error is not None:
            failures.append(error)
        elif topic is not None and partition is not None and offset is not None and offset >= 0:
            ends[TopicPartition(topic, partition)] = offset + 1

    for topic, key, value, partition, headers in records:
        try:
            producer.produce(topic, value, key, partition, on_delivery=delivered, headers=headers)
        except KafkaException as exception:  # too large, say: the library refuses it before any broker is asked
            raise broker_failure(f"a record for {topic} was refused", exception) from exception
    left = producer.flush(DELIVERY_S)
    if left or failures:
        why = failures[0].str() if failures else f"nothing within {DELIVERY_S:.0f} s"
        is_purged = any(failure.code() in _PURGED for failure in failures)
        kind = _Purged if is_purged else BrokerAway if all(map(is_transient, failures)) else BrokerFailed
        raise kind(f"{left + len(failures)} of {len(records)} records were not acknowledged: {why}")
    return ends
