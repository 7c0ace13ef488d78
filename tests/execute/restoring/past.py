"""A ledger, a copy of it from some time ago, and a rail that knows everything since."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from urllib.request import urlopen
from uuid import uuid4

from confluent_kafka import Producer

from pipeline.domain.decision import Decision
from pipeline.domain.execution import Execution, ExecutionState
from pipeline.domain.identities import DecisionId, ExecutionId
from pipeline.domain.log import Presented, Unproved
from pipeline.execute.audit_wait_service import AuditWait
from pipeline.execute.ledger_admin_store import append_fundings
from pipeline.execute.references import Funding
from pipeline.execute.restoring.restore_service import Desk as RestoreDesk
from pipeline.execute.restoring.restore_service import Restore, Restored
from pipeline.execute.restoring.stretch_topics import PassingOver, Stretch
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import connect
from tests.decisions import written
from tests.execute.audited import AuditedTopic
from tests.execute.given import WIRE, Desk, execution_of
from tests.records import NOON_MS
from tests.servers import Postgres, unused_prefix, url_as

DAY_S = 86_400.0


def told(name: str, sequence: int) -> Execution:
    words = name, sequence, DecisionId("d"), "t", "a", "b", 1, "GBP", ExecutionState.SETTLED, "DECIDED_ALLOW", 0
    return Execution("e", ExecutionId(words[0]), *words[1:])


def fund(desk: Desk, account_id: str, amount_minor: int) -> None:
    """Money from outside."""
    treasurer = desk.as_role("fraud_treasurer")
    with treasurer.transaction():
        append_fundings(treasurer, [Funding("FUNDING", str(uuid4()), account_id, "GBP", amount_minor)], NOON_MS)


class Past:
    """The first ledger hears what is published; `put_back` goes on with the copy that `back_up` made of it."""

    def __init__(self, bootstrap_servers: str, postgres: Postgres, url: str, appender: Appender, rail: str) -> None:
        self._servers, self._postgres, self._appender, self._rail = bootstrap_servers, postgres, appender, rail
        self.topic = f"{unused_prefix()}decisions.v1"
        self._producer = Producer({"bootstrap.servers": bootstrap_servers})
        self._url, self._copies = url, list[str]()
        self._forged: list[bytes] = []
        self.noted: list[Unproved] = []
        self.put_aside_by_people: set[tuple[int, int]] = set()
        self.desk = self._desk(url)

    def publish(self, *records, partition: int = 0, age_s: float = 0) -> None:
        for record in records:
            self._producer.produce(
                self.topic,
                written(record) if isinstance(record, Decision) else WIRE.encode(record),
                record.account_id.encode(),
                partition=partition,
                timestamp=int((time.time() - age_s) * 1000),
            )
        assert self._producer.flush(120) == 0

    def hear(self, *records, **where) -> None:
        """Publish, and let the ledger that there is hear it, as its executor would."""
        self.publish(*records, **where)
        with self._reader() as reader:
            self._audit(reader)
            stretch = self._stretch(reader)
            heard = self.desk.execution.heard.read(self.desk.connection, stretch.partitions)
            self.desk.execution.resume(self.desk.connection, stretch.partitions)
            for batch in stretch.batches(heard):
                self.desk.execution.accept(self.desk.connection, batch)

    def back_up(self) -> str:
        """Copy the database as it is; nobody may be connected meanwhile."""
        self.desk.close()
        name = f"copy_{self._url.rpartition('/')[2]}_{len(self._copies)}"
        self._postgres.execute(f"CREATE DATABASE {name} TEMPLATE {self._url.rpartition('/')[2]}")
        self._postgres.execute(
            f"UPDATE pg_database SET datacl = (SELECT datacl FROM pg_database WHERE datname = 'migrated')"
            f" WHERE datname = '{name}'"
        )
        self._copies.append(name)
        self.desk = self._desk(self._url)
        return name

    def put_back(self, name: str) -> None:
        self.desk.close()
        self.desk = self._desk(f"{self._url.rpartition('/')[0]}/{name}")

    def restore(self, *, keeps_keys_s: float = DAY_S, since=None, told=()) -> Restored:
        desk, notices = self.desk, self.desk.execution._notices
        with self._reader() as reader:
            self._audit(reader)
            audit = AuditWait(notices, self.topic)
            given = RestoreDesk(desk.ledger, desk.rail, notices, self.topic, keeps_keys_s, lambda: told, audit)
            return Restore(desk.connection, given, self._stretch(reader), since).run(
                "the disk was lost", lambda _: None
            )

    def forge(self, *records, **where) -> None:
        """Publish what nobody proves to have written."""
        self._forged += [written(each) if isinstance(each, Decision) else WIRE.encode(each) for each in records]
        self.publish(*records, **where)

    def _stretch(self, reader: LogReader) -> Stretch:
        audit = AuditWait(self.desk.execution._notices, self.topic)
        by_audit = partial(audit.put_aside, self.desk.connection)
        return Stretch(reader, WIRE, self.topic, PassingOver(self._prove, self.noted.extend, by_audit, self._by_people))

    def _prove(self, record: Presented) -> Unproved | None:
        if record.value not in self._forged:
            return None
        return Unproved(record.partition, record.offset, record.value, "SEAL_MISSING", None)

    def _by_people(self, partition: int, offset: int, value: bytes) -> bool:
        return (partition, offset) in self.put_aside_by_people

    def entries(self) -> list[tuple[str, str, int, str, int]]:
        """What the rail has: debtor, creditor, amount, status, recalled."""
        with urlopen(f"{self._rail}/v1/entries") as answer:
            lines = [json.loads(line) for line in answer.read().splitlines()]
        return [(debtor, creditor, minor, status, back) for _, debtor, creditor, _, minor, status, back in lines]

    def books(self) -> dict[str, object]:
        with urlopen(f"{self._rail}/v1/books") as answer:
            found: dict[str, object] = json.loads(answer.read())
            return found

    def causes(self, record) -> set[str]:
        rows = self.desk.connection.execute(
            "SELECT DISTINCT cause FROM ledger.transition WHERE execution_id = %s", [execution_of(record)]
        ).fetchall()
        return {cause for (cause,) in rows}

    def cases(self) -> list[str]:
        rows = self.desk.connection.execute("SELECT reason FROM ledger.recovery_case ORDER BY recorded_at").fetchall()
        return [reason for (reason,) in rows]

    def close(self) -> None:
        self.desk.close()
        for name in self._copies:
            self._postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _audit(self, reader: LogReader) -> None:
        """The audit log of the database that there is comes to the end."""
        with closing(connect(url_as(self._present, "fraud_audit"), "test")) as connection:
            for partition in reader.extents(self.topic):
                AuditedTopic(connection, reader, self.topic, self._forged).take_in(partition)

    def _desk(self, url: str) -> Desk:
        self._present = url
        return Desk(url_as(url, "fraud_executor"), self._appender, self._rail, topic=self.topic)

    @contextmanager
    def _reader(self) -> Iterator[LogReader]:
        with LogReader(self._servers, "fraud-executor-restore", {}) as reader:
            yield reader


def open_case_reasons(url: str) -> list[str]:
    with closing(connect(url, "test")) as connection:
        return [reason for (reason,) in connection.execute("SELECT reason FROM review.open_recovery").fetchall()]
