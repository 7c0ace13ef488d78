"""Context through Faust: an uncommitted record is not taken in, and a tombstone takes back what stands before it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest
from confluent_kafka import Producer

from ops.bench.rig.services import status
from ops.processes.servers import ServerProcess, free_port
from ops.stack.real import RealStack
from ops.stack.topics import create_topics
from pipeline.domain.context import RiskSignal, RiskSignalKind
from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.decision import Decision
from pipeline.domain.features import COLUMN
from pipeline.domain.log import Record
from pipeline.io.kafka.bulk_publisher import BulkPublisher
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from tests.archive import WIRE
from tests.records import NOON_MS, PAYMENT

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

TOPIC = "risk_signals.v1"
GARBAGE = b"\xc3\x01 is no signal"
REPORTS = 9
ADDRESS = "192.0.2.17"
"""The address that PAYMENT comes from."""
KEY = f"IP_ADDRESS:{ADDRESS}"
DELIVERY_S = 120.0
COMMITTED_OFFSET = 3
"""Offset of the committed record. Two were aborted before it, and a marker says so."""


def signal_of(address: str, fraud_reports: int) -> bytes:
    return WIRE.encode(RiskSignal(RiskSignalKind.IP_ADDRESS, address, fraud_reports, NOON_MS))


def abort(servers: str, *values: bytes) -> None:
    """Write records, so that a reader of uncommitted records sees them, and then abort them."""
    producer = Producer({"bootstrap.servers": servers, "transactional.id": "aborter", "log_level": 2})
    producer.init_transactions(DELIVERY_S)
    producer.begin_transaction()
    for value in values:
        producer.produce(TOPIC, value, KEY)
    assert 0 == producer.flush(DELIVERY_S)
    producer.abort_transaction(DELIVERY_S)


def first(settings: Settings, topic: str, count: int) -> list[Record]:
    """Follow the topic until the records come; pytest's time-out ends a wait in vain."""
    with LogReader.of(settings) as log:
        return list(islice(log.read(topic, {0: 0}, is_followed=True), count))


@contextmanager
def deciding(folder: Path, stack: RealStack) -> Iterator[None]:
    port = free_port()
    worker = ServerProcess(
        "worker",
        [sys.executable, "-m", "ops.cli", "worker", "run"],
        is_ready=lambda: status(port, "/ready") == 200,
        log_path=folder / "worker.log",
        environment={
            "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
            "FRAUD_REDIS_URL": stack.redis_url,
            "FRAUD_WEB_PORT": str(port),
        },
    )
    worker.start()
    try:
        yield
    finally:
        worker.stop()


def reports_of(record: Record) -> int:
    decision = WIRE.decode_decision_record(record.value)
    assert isinstance(decision, Decision)
    return decision.snapshot.features[COLUMN["ip_fraud_reports"]]


def test_an_aborted_risk_signal_is_not_taken_in(tmp_path: Path) -> None:
    with RealStack(tmp_path / "stack") as stack:
        settings = Settings(bootstrap_servers=stack.bootstrap_servers)
        create_topics(stack.bootstrap_servers, partitions=1)
        abort(stack.bootstrap_servers, GARBAGE, signal_of(ADDRESS, REPORTS))
        publisher = BulkPublisher(settings)
        publisher.publish(TOPIC, b"key", GARBAGE, 0)
        publisher.flush()
        with deciding(tmp_path, stack):
            [letter] = first(settings, "transactions.dead.v1", 1)
            pay(publisher, 1)
            [decided] = first(settings, "decisions.v1", 1)
    told = WIRE.decode_dead_letter(letter.value)
    assert isinstance(told, DeadLetter)
    assert (TOPIC, COMMITTED_OFFSET) == (told.source_topic, told.source_offset)
    assert REPORTS != reports_of(decided)


def test_a_tombstone_takes_a_risk_signal_back(tmp_path: Path) -> None:
    with RealStack(tmp_path / "stack") as stack:
        settings = Settings(bootstrap_servers=stack.bootstrap_servers)
        create_topics(stack.bootstrap_servers, partitions=1)
        publisher = BulkPublisher(settings)
        publisher.publish(TOPIC, KEY.encode(), signal_of(ADDRESS, REPORTS), 0)
        publisher.publish(TOPIC, b"key", GARBAGE, 0)
        publisher.flush()
        with deciding(tmp_path, stack):
            first(settings, "transactions.dead.v1", 1)  # what stands before the garbage is taken in
            pay(publisher, 1)
            first(settings, "decisions.v1", 1)
            publish_tombstone(stack.bootstrap_servers, KEY)
            publisher.publish(TOPIC, b"key", GARBAGE, 0)
            publisher.flush()
            first(settings, "transactions.dead.v1", 2)
            pay(publisher, 2)
            decided = first(settings, "decisions.v1", 2)
    assert [REPORTS, 0] == [reports_of(each) for each in decided]


def test_what_cannot_be_read_keeps_nobody_from_what_stands_behind_it(tmp_path: Path) -> None:
    """A record with a header whose name is no UTF-8, and a batch of some KB that unpacks to 120 MB."""
    with RealStack(tmp_path / "stack") as stack:
        settings = Settings(bootstrap_servers=stack.bootstrap_servers)
        create_topics(stack.bootstrap_servers, partitions=1)
        subprocess.run(
            [sys.executable, "-m", "tests.seals.raw_producer", stack.bootstrap_servers, TOPIC, "0"],
            check=True, env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"}, timeout=DELIVERY_S,
        )  # fmt: skip
        packing = {"compression.type": "zstd", "message.max.bytes": 1_000_000_000}
        producer = Producer({"bootstrap.servers": stack.bootstrap_servers, **packing})
        producer.produce(TOPIC, bytes(120 << 20), b"key")
        assert 0 == producer.flush(DELIVERY_S)
        publisher = BulkPublisher(settings)
        publisher.publish(TOPIC, KEY.encode(), signal_of(ADDRESS, REPORTS), 0)
        publisher.publish(TOPIC, b"key", GARBAGE, 0)
        publisher.flush()
        with deciding(tmp_path, stack):
            letters = [WIRE.decode_dead_letter(each.value) for each in first(settings, "transactions.dead.v1", 3)]
            pay(publisher, 1)
            [decided] = first(settings, "decisions.v1", 1)
    assert REPORTS == reports_of(decided)
    assert [0, 1, 3] == [letter.source_offset for letter in letters if isinstance(letter, DeadLetter)]


def pay(publisher: BulkPublisher, number: int) -> None:
    paid = PAYMENT._replace(transaction_id=f"tx-{number}")
    publisher.publish("transactions.v1", paid.account_id.encode(), WIRE.encode_transaction(paid), 0)
    publisher.flush()


def publish_tombstone(servers: str, key: str) -> None:
    producer = Producer({"bootstrap.servers": servers})
    producer.produce(TOPIC, None, key)
    assert 0 == producer.flush(DELIVERY_S)
