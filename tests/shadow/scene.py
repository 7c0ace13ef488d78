"""A shadow on a broker and a real PostgreSQL, with the rights of its role, in this process."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import closing, contextmanager
from functools import partial

from confluent_kafka import Producer

from ops.bench.rig.stored import Tail
from ops.bench.rig.waiting import wait_until
from pipeline.domain.trials.shadow_answer import ShadowAnswer
from pipeline.io.avro.wire import WireFormat
from pipeline.io.filing import service_connection
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.io.postgres import Held
from pipeline.io.settings import Settings
from pipeline.seals.passed_over_store import PassedOver
from pipeline.seals.seal_files import seal_check
from pipeline.shadow.answer_store import CONSUMER, AnswerStore
from pipeline.shadow.service import ShadowService
from tests.decisions import record_of
from tests.sealing import seal_headers
from tests.servers import SOON_FREE, unused_prefix, url_as

WIRE = WireFormat()
WAIT_S = 120.0
PARTITIONS = 4


class Topics:
    """decisions.v1 and shadow.v1 under a prefix of their own."""

    def __init__(self, servers: str) -> None:
        self.servers, self.prefix = servers, unused_prefix()
        self.decisions, self.shadow = f"{self.prefix}decisions.v1", f"{self.prefix}shadow.v1"
        self._producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "log_level": 2})
        for name in (self.decisions, self.shadow):
            self._producer.list_topics(name, timeout=WAIT_S)  # the mock broker makes it
        self._tail = Tail(servers, self.shadow)
        self.values: list[bytes] = []

    def publish(self, values: Sequence[bytes], *, is_sealed: bool = True, timestamp_ms: int = 0) -> None:
        for value in values:
            key = record_of(value).account_id.encode()
            partition = Partitioning(Partitioner.CRC32, PARTITIONS).of(key)
            headers = seal_headers(self.decisions, key, value, partition) if is_sealed else []
            self._producer.produce(self.decisions, value, key, partition, timestamp=timestamp_ms, headers=headers)
        assert self._producer.flush(WAIT_S) == 0

    def answers(self) -> list[ShadowAnswer]:
        """All that stand on shadow.v1 so far."""
        self.values += [found.value for found in self._tail.news()]
        found = [WIRE.decode_shadow_answer(value) for value in self.values]
        return [each for each in found if isinstance(each, ShadowAnswer)]


def shadow(topics: Topics, url: str, challenger, regime_of, append=None) -> ShadowService:
    held = Held(partial(service_connection, url_as(url, "fraud_shadow"), "test"))
    store = AnswerStore(challenger, topics.decisions)

    def positions(partitions):
        wanted = list(partitions)
        with LogReader(topics.servers, "test-shadow", {}) as reader:
            ends = {partition: extent.high for partition, extent in reader.extents(topics.decisions, wanted).items()}
        return store.next_offsets(held.connection(), wanted, ends)

    source: PositionedLog = PositionedLog(
        topics.servers,
        topics.decisions,
        WIRE.decode_stored_decision,
        f"{topics.prefix}shadow",
        slot=0,
        positions=positions,
        options=SOON_FREE,
        prove=seal_check(Settings()).unproved,
    )
    appender = Appender(topics.servers, "shadow", {})
    passed_over = PassedOver(CONSUMER, topics.decisions)
    return ShadowService(
        source, held, store, challenger, regime_of, append or appender.append, WIRE, topics.shadow, passed_over
    )


@contextmanager
def running(service: ShadowService):
    """Steps until it is over; raises what a step raises."""
    stopping, failures = threading.Event(), []

    def run():
        with closing(service):
            try:
                while not stopping.is_set():
                    service.step(stopping)
            except Exception as error:
                failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield failures
    finally:
        stopping.set()
        thread.join(WAIT_S)
        assert not thread.is_alive()
    if failures:
        raise failures[0]


def wait_for(look, what: str) -> None:
    wait_until(look, WAIT_S, what, every_s=0.05)
