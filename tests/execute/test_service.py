"""`fraud executor run` as a process on a broker: from its topic to its rest, twice the same, and what stops it."""

from __future__ import annotations

import json
from contextlib import closing

import pytest
from confluent_kafka import Producer

from ops.bench.rig import waiting
from ops.bench.rig.database import settled_offsets, states
from ops.bench.rig.services import executor_process
from ops.bench.rig.stored import Tail
from pipeline.execute.ledger_admin_store import append_openings
from pipeline.execute.references import Opening
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import connect
from tests.archive import CLOSED, Archive, payment
from tests.execute.audited import AuditedTopic
from tests.execute.given import NOON_MS
from tests.sealing import seal_headers
from tests.servers import SOON_FREE, unused_prefix, url_as

WIRE = WireFormat()
WAIT_S = 120.0


class Topics:
    """decisions.v1 and executions.v1 under a prefix of their own."""

    def __init__(self, servers, audit_connection, log):
        self.servers, self.prefix = servers, unused_prefix()
        self._audited = AuditedTopic(audit_connection, log, f"{self.prefix}decisions.v1")
        self._producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "log_level": 2})
        for name in ("decisions.v1", "executions.v1", "alerts.v1"):
            self._producer.list_topics(self.prefix + name, timeout=WAIT_S)  # the mock broker makes it

    def append(self, *values, partition=0):
        """As a writer of ours does."""
        topic = f"{self.prefix}decisions.v1"
        self.append_sealed(
            *((value, seal_headers(topic, b"key", value, partition)) for value in values), partition=partition
        )

    def append_sealed(self, *records, partition=0):
        """Values with the headers that whoever writes them likes."""
        for value, headers in records:
            self._producer.produce(f"{self.prefix}decisions.v1", value, b"key", partition, headers=headers)
        assert self._producer.flush(WAIT_S) == 0
        self._audited.take_in(partition)

    def told(self):
        news = Tail(self.servers, f"{self.prefix}executions.v1").news()
        return [WIRE.decode_execution(found.value) for found in news]


@pytest.fixture
def topics(stack, database_url):
    servers, url = stack.bootstrap_servers, url_as(database_url, "fraud_audit")
    with closing(connect(url, "test")) as connection, LogReader(servers, "test-executor", {}) as log:
        yield Topics(servers, connection, log)


@pytest.fixture
def executor(stack, database_url, topics, rail_of, tmp_path):
    process = executor_process(
        tmp_path,
        stack.bootstrap_servers,
        database_url,
        rail_of(),
        environment={"FRAUD_TOPIC_PREFIX": topics.prefix, "FRAUD_KAFKA_OPTIONS": json.dumps(dict(SOON_FREE))},
    )
    yield process
    process.stop()


def wait_until(is_done):
    waiting.wait_until(is_done, WAIT_S, "what was waited for", every_s=0.1)


def decisions(tmp_path, count):
    payments = [payment(number) for number in range(count)]
    return payments, Archive(tmp_path).values(payments, [CLOSED] * count)


def open_payers(owner, payments):
    append_openings(owner, [Opening(each.account_id, "GBP", 0, 10**6) for each in payments], NOON_MS)


def test_decisions_are_settled_and_told(executor, topics, owner, database_url, tmp_path):
    payments, values = decisions(tmp_path, 20)
    open_payers(owner, payments)
    topics.append(*values)
    executor.start()
    wait_until(lambda: settled_offsets(database_url) == {0: 20})
    assert states(owner) == {"SETTLED": 20}
    told = topics.told()
    assert sorted(each.transaction_id for each in told) == [each.transaction_id for each in payments]
    assert {(each.state, each.why) for each in told} == {("SETTLED", "DECIDED_ALLOW")}


def test_a_killed_executor_goes_on_where_it_stood(executor, topics, owner, database_url, tmp_path):
    payments, values = decisions(tmp_path, 20)
    open_payers(owner, payments)
    topics.append(*values[:10])
    executor.start()
    wait_until(lambda: settled_offsets(database_url) == {0: 10})
    executor.kill()
    topics.append(*values)
    executor.start()
    wait_until(lambda: settled_offsets(database_url) == {0: 30})
    assert states(owner) == {"SETTLED": 20}


def test_it_stops_when_told_to_and_says_so(executor, topics):
    executor.start()
    executor.stop()
    assert '"event": "executor_stopped"' in executor.log_path.read_text()


def test_a_sealed_record_that_cannot_be_read_stops_it(executor, topics, owner, database_url, tmp_path):
    payments, values = decisions(tmp_path, 3)
    open_payers(owner, payments)
    executor.start()
    topics.append(values[0], b"\xc3\x01 is no decision", values[1])
    wait_until(lambda: not executor.is_running)
    log = executor.log_path.read_text()
    assert '"error": "RecordUndecodable"' in log
    assert "is no decision" not in log
