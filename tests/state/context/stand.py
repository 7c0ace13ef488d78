"""A worker's context on a Redis and a broker, for tests of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import redis
from confluent_kafka import Producer

from pipeline.domain.context import Account, RiskSignal, RiskSignalKind
from pipeline.domain.log import Prove, Record, Source
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.state.context.context_agent import Context
from pipeline.state.context.labels_agent import WaitingLabels
from pipeline.state.store import RedisState
from pipeline.state.windows import ContextUnsure, PartitionEvents
from tests.records import NOON_MS
from tests.servers import unused_prefix
from tests.state.stores import column, payment, share

WIRE = WireFormat()
PATIENCE_S = 120.0
ADDRESS = "192.0.2.1"
KEY = f"IP_ADDRESS:{ADDRESS}"


def account(month: int | None, at_ms: int = NOON_MS) -> bytes:
    return WIRE.encode(Account("payer", at_ms, month))


def signal(reports: int, at_ms: int = NOON_MS, entity: str = ADDRESS) -> bytes:
    return WIRE.encode(RiskSignal(RiskSignalKind.IP_ADDRESS, entity, reports, at_ms))


class Stand:
    """A worker's context on a Redis, with topics of its own."""

    def __init__(self, redis_url: str, servers: str) -> None:
        self.redis_url, self.servers, self.prefix = redis_url, servers, unused_prefix()
        self._runner = asyncio.Runner()
        self._next_offset = self._published = 0
        self.told: list[tuple[int, RefusalCode]] = []
        self.proves: Mapping[str, Prove] = {}
        self.state = RedisState(redis_url)
        self.start()

    def start(self, shards: int = 1) -> None:
        """Be another process, which remembers nothing."""
        if hasattr(self, "labels"):
            self.run(self.labels.close())
        self.run(self.state.close())
        self.state = RedisState(self.redis_url, shards=shards)
        self.context = Context(self.state, WIRE, self.reader, self.name, self.proves)
        self.labels = WaitingLabels(self.state, self.context, self.reader, self.name, lambda _: 0)

        async def tell_of_label(record: Record, refusal: Refusal) -> None:
            self.told.append((record.source.offset, refusal.code))

        self.context.tell_of_label = tell_of_label

    def name(self, topic: str) -> str:
        return f"{self.prefix}{topic}"

    def reader(self) -> LogReader:
        return LogReader(self.servers, "test", {}, timeout_s=PATIENCE_S, proves=self.proves)

    def run(self, steps: Any) -> Any:
        return self._runner.run(steps)

    def apply(self, topic: str, offset: int, key: str, value: bytes | None, at_ms: int = NOON_MS) -> Refusal | None:
        refusal: Refusal | None = self.run(
            self.context.apply(topic, Record(key.encode(), value, Source(0, offset, at_ms)))
        )
        return refusal

    def publish(self, topic: str, *records: tuple[str, bytes | None]) -> None:
        """Append records, each a millisecond after the one before."""
        producer = Producer({"bootstrap.servers": self.servers})
        for key, value in records:
            self._published += 1
            producer.produce(self.name(topic), value, key, partition=0, timestamp=NOON_MS + self._published)
        assert producer.flush(PATIENCE_S) == 0

    def deliver(self, topic: str, first: int = 0) -> None:
        """Take in what a topic holds from `first` on, as the live reading does."""

        async def tell(refusal: Refusal) -> None:
            self.told.append((-1, refusal.code))

        with self.reader() as reader:
            for record in reader.read(self.name(topic), {0: first}):
                self.run(self.context.take_in(topic, record, 0.0, tell))

    @contextmanager
    def losing_what_follows(self, *, is_noticed: bool = True) -> Iterator[None]:
        """Have Redis go back to what it holds now, as by a failover. is_noticed: connections are closed by it."""
        with redis.Redis.from_url(self.redis_url) as client:
            held = {key: client.dump(key) for key in client.scan_iter()}
            yield
            client.flushall()
            for key, text in held.items():
                client.restore(key, 0, text)
            if is_noticed:
                client.client_kill_filter(_type="normal", skipme=True)

    def mark_ready(self) -> None:
        self.run(self.state.mark_ready([0], is_shared=True))
        self.run(self.context.compare())

    def is_sure(self) -> bool:
        """Return whether payments would be counted now."""
        nothing = self.state.prepare([PartitionEvents(0, 0, 0, 0, [])])
        try:
            self.run(self.state.observe_prepared(nothing, when_ready=True))
        except ContextUnsure:
            return False
        return True

    def known(self) -> tuple[int, int]:
        """The declared month of the account, and the reports of the address, as the next payment sees them."""
        offset, self._next_offset = self._next_offset, self._next_offset + 1
        paid = share([payment(offset, ip_address=ADDRESS)], start=offset)
        [observation] = self.run(self.state.observe([paid], initial=True, since_ms=paid.events[0].log_time_ms))
        names = "account_normal_month_minor", "ip_fraud_reports"
        month, reports = (column(observation.state, name)[0] for name in names)
        return month, reports

    def close(self) -> None:
        self.run(self.labels.close())
        self.run(self.state.close())
        self._runner.close()
