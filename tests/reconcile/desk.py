"""A small world on the embedded stack in which everything is accounted for; tests then spoil it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import psycopg
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from ops.stack.embedded import EmbeddedStack
from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.audit.letter_store import Letters
from pipeline.audit.log_store import AuditLog
from pipeline.domain.alert import Alert
from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord
from pipeline.domain.refusals import Refusal
from pipeline.execute.ledger_admin_store import append_openings
from pipeline.execute.references import Opening
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.positioned_log import LogBatch, PositionMove
from pipeline.io.postgres import Connection, connect
from pipeline.reconcile.comparison_store import Looked, Looking, Topics
from pipeline.reconcile.finding_store import Findings
from pipeline.reconcile.gaps import Gap
from pipeline.reconcile.service import CONSUMER, IntakeOf, Reconciler
from tests.audit.logs import WIRE, values
from tests.execute.given import Desk as Executor
from tests.records import NOON_MS
from tests.servers import url_as

COUNT = 40
INTAKE_PARTITIONS = 4  # what the mock broker gives every topic; and of how many the decisions' sources are
GROUP = "fraud-decide"
DELIVERY_S = 120.0
AMPLE_MINOR = 10**12


class Desk:
    """Of `COUNT` records a partition one in four was decided and the others are dead letters, each third a duplicate.

    Decision n is of record n of partition n % 4, and stands in partition n % 2 of decisions.v1.
    """

    def __init__(self, stack: EmbeddedStack, database_url: str, rail_address: str, folder: Path, prefix: str) -> None:
        self.rail_address = rail_address
        self.stack, self.database_url, self.prefix, self.folder = stack, database_url, prefix, folder
        names = ("transactions.v1", "decisions.v1", "transactions.dead.v1")
        self.topics = Topics(*(prefix + name for name in names))
        self.log_reader = LogReader(stack.bootstrap_servers, "fraud-reconcile", {})
        self.told: list[dict[str, object]] = []
        self.connection: Connection = connect(self._url("fraud_reconcile"), "test")
        self.records: dict[str, list[LogRecord]] = {self.topics.decisions: [], self.topics.letters: []}

    def fill(self) -> None:
        sent = [(self.topics.intake, partition, b"payment") for partition in range(4) for _ in range(COUNT)]
        decisions = [(self.topics.decisions, number % 2, value) for number, value in enumerate(values(COUNT))]
        decided = {(number % 4, number) for number in range(COUNT)}
        sources = [(partition, offset) for partition in range(4) for offset in range(COUNT)]
        letters = [(self.topics.letters, 0, self.letter(*each)) for each in sources if each not in decided]
        self.publish([*sent, *decisions, *letters])
        self.audit()
        self.execute()
        self.commit({partition: COUNT for partition in range(INTAKE_PARTITIONS)})

    def publish(self, records: Sequence[tuple[str, int, bytes]]) -> None:
        """(topic, partition, value); what stands on the results topics is kept in `records`."""
        producer = Producer({"bootstrap.servers": self.stack.bootstrap_servers, "log_level": 2})
        sent: list[Message] = []
        for topic, partition, value in records:
            producer.produce(
                topic, value, b"key", partition, timestamp=NOON_MS, on_delivery=lambda _, message: sent.append(message)
            )
        assert producer.flush(DELIVERY_S) == 0
        for message in sorted(sent, key=lambda each: (each.partition(), each.offset())):
            if (topic := message.topic()) in self.records:
                self.records[topic].append(self._log_record(topic, message))

    def letter(self, partition: int, offset: int, code: str | None = None) -> bytes:
        duplicate_or_not = "DUPLICATE" if offset % 3 == 0 else "BAD_FRAMING"
        letter = DeadLetter(
            code or duplicate_or_not,
            "for tests",
            self.topics.intake,
            partition,
            offset,
            NOON_MS,
            payload_sha256=hashlib.sha256(f"{partition}:{offset}".encode()).digest(),
            payload_length=7,
            key_id="",
            payload=b"",
        )
        return WIRE.encode(letter)

    def audit(self) -> None:
        """What stands on the results topics and isn't audited yet, by the audit service's own code and role."""
        with closing(connect(self._url("fraud_audit"), "test")) as connection:
            log = AuditLog(self.topics.decisions, self.folder / "outside", WIRE, lambda: NOON_MS * 1000)
            with closing(log):
                positions = log.open(connection, (0, 1))
                decisions = self.records[self.topics.decisions]
                log.store(connection, [each for each in decisions if each.offset >= positions[each.partition]])
            letters = Letters(self.topics.letters)
            before = letters.open(connection, (0,))[0]
            late = [each for each in self.records[self.topics.letters] if each.offset >= before]
            letters.store(connection, LogBatch(late, [PositionMove(0, before, late[-1].offset + 1)] if late else []))

    def execute(self) -> None:
        """Every audited decision, to where it rests, by the executor's own code and role. Every payer can pay."""
        appender = Appender(self.stack.bootstrap_servers, "test-executor", {})
        records = self.records[self.topics.decisions]
        payers = {each.content.account_id for each in records}
        ends = {each.partition: each.offset + 1 for each in records}
        batch = LogBatch(records, [PositionMove(partition, 0, ends[partition]) for partition in sorted(ends)])
        topic = self.topics.decisions
        with closing(Executor(self._url("fraud_executor"), appender, self.rail_address, topic=topic)) as executor:
            openings = [Opening(name, "GBP", 0, AMPLE_MINOR) for name in sorted(payers)]
            append_openings(executor.as_role("fraud_treasurer"), openings, NOON_MS)
            executor.execution.accept(executor.connection, batch)

    def commit(self, offsets: dict[int, int]) -> None:
        """As the worker group."""
        settings = {"bootstrap.servers": self.stack.bootstrap_servers, "group.id": self.group, "log_level": 2}
        with closing(Consumer({**settings, "enable.auto.commit": False})) as consumer:
            places = [TopicPartition(self.topics.intake, partition, offset) for partition, offset in offsets.items()]
            consumer.commit(offsets=places, asynchronous=False)

    @property
    def group(self) -> str:
        return self.prefix + GROUP

    def reconciler(self, *, is_stored: bool = True, group: str | None = None) -> Reconciler:
        appender = Appender(self.stack.bootstrap_servers, "test", {})
        looking = Looking(WIRE, self.log_reader, self.topics, CONSUMER if is_stored else "reconcile-once")
        findings = Findings(AlertPublisher(appender.append, WIRE, self.prefix + "alerts.v1"))
        intake = IntakeOf(self.topics, group or self.group)
        return Reconciler(self.log_reader, looking, findings, intake, lambda: NOON_MS, is_stored=is_stored)

    def reconciled(self, *, is_stored: bool = False) -> tuple[list[Gap], list[Looked]]:
        """All that there is, without any grace."""
        reconciler, gaps, every = self.reconciler(is_stored=is_stored), list[Gap](), list[Looked]()
        while (stretch := reconciler.open(self.connection)) is not None:
            looked = reconciler.look(self.connection, stretch)
            gaps += reconciler.close(self.connection, stretch, looked)
            every.append(looked)
        return gaps, every

    def tamper(self, *statements: str) -> None:
        """As a superuser who passes the triggers by."""
        with closing(psycopg.connect(self.database_url)) as connection, connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
            assert all([connection.execute(statement.encode()).rowcount != 0 for statement in statements])

    def ask(self, query: str) -> list[tuple[object, ...]]:
        with closing(psycopg.connect(self.database_url)) as connection:
            return connection.execute(query.encode()).fetchall()

    def alerts(self) -> list[Alert]:
        found = []
        for record in self.log_reader.read_all(self.prefix + "alerts.v1"):
            alert = WIRE.decode_alert(record.value)
            assert isinstance(alert, Alert)
            found.append(alert)
        return found

    def close(self) -> None:
        self.connection.close()
        self.log_reader.close()

    def _url(self, role: str) -> str:
        return url_as(self.database_url, role)

    def _log_record(self, topic: str, message: Message) -> LogRecord[DecisionRecord | DeadLetter]:
        value, partition, offset = message.value(), message.partition(), message.offset()
        assert isinstance(value, bytes)
        assert partition is not None
        assert offset is not None
        is_decision = topic == self.topics.decisions
        content = WIRE.decode_decision_record(value) if is_decision else WIRE.decode_dead_letter(value)
        assert not isinstance(content, Refusal), content
        return LogRecord(partition, offset, NOON_MS, b"key", value, content)
