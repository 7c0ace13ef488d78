"""The services that follow a decision, each with its own code and role, on one topic; a test says when each acts."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np
from confluent_kafka import Producer

from ops.stack.topics import create_topics
from pipeline.audit.anchor_topics import Anchors
from pipeline.audit.log_store import AuditLog
from pipeline.decide.decision_encoder import DecisionEncoder, with_position
from pipeline.decide.event_features import EventRows
from pipeline.decide.verdict import decide
from pipeline.domain.features import STATE_SLICE, feature_matrix
from pipeline.domain.identities import review_id
from pipeline.domain.log import LogRecord, Source
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.positioned_log import LogBatch, PositionedLog, PositionMove
from pipeline.io.postgres import connect
from pipeline.io.settings import Settings
from pipeline.keys.key_files import create_signing_key, read_key_set
from pipeline.people.roles import Role
from pipeline.replay.redecide import Basis, Good, Version
from pipeline.review.case_store import cases_by_name
from pipeline.review.cases import Judgement
from pipeline.review.desk_store import Acted, ReviewDesk
from pipeline.review.outcome_topics import review_outcome
from pipeline.review.service import GROUP, ReviewService, ReviewTopics
from pipeline.rollback.derivation_store import Criteria, criteria_text
from pipeline.rollback.plan_command import _applier, topic_ends
from pipeline.rollback.planning_service import Planner, Request
from tests.archive import CLOSED, payment
from tests.decisions import record_of
from tests.execute.given import Desk
from tests.known import appoint, identity
from tests.records import decoded_of, features, feeds, policy
from tests.review.given import RULES
from tests.rollback.stand import WIRE, WrongArchive
from tests.sealing import review_seals
from tests.servers import unused_prefix, url_as

HOUR_MS = 3_600_000
ACCOUNT = "GB29-0001"
WAIT_S = 120.0
PEOPLE = {
    "ann": Role.REVIEWER,
    "sue": Role.SENIOR_REVIEWER,
    "rae": Role.ROLLBACK_REQUESTER,
    "abe": Role.ROLLBACK_APPROVER,
}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def midday_zone(at_ms: int) -> str:
    """Where it is midday, within the hour: a payment of the small hours would be decided otherwise."""
    hours_to_midday = 12 - at_ms // HOUR_MS % 24
    return f"Etc/GMT{-hours_to_midday:+d}"  # east of Greenwich is negative in these names


class Bank:
    """Everything that is appended to decisions.v1 is handed to each service by `settle`, in order."""

    def __init__(self, servers: str, database_url: str, rail_address: str, folder: Path) -> None:
        prefix = unused_prefix()
        create_topics(servers, prefix=prefix)
        self.archive = WrongArchive(folder)
        self.environment = {
            "bootstrap_servers": servers,
            "topic_prefix": prefix,
            "database_url": url_as(database_url, "fraud_reader"),
            "audit_directory": folder / "audit",
            "policy_archive": self.archive.policies,
            "model_registry": self.archive.registry,
        }
        self.settings = Settings(**self.environment)
        self.topic, self._log = self.settings.topic("decisions.v1"), LogReader.of(self.settings)
        self.partition = self._log.partition_of(self.topic, ACCOUNT)
        self.owner = connect(database_url, "test")
        appoint(self.owner, PEOPLE)
        self.url_of = lambda role: url_as(database_url, role)
        self.key, self.key_set = create_signing_key(folder / "key"), folder / "key.keys"
        self._producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "log_level": 2})
        appender = Appender(servers, "test-executor", {})
        self.executor = Desk(self.url_of("fraud_executor"), appender, rail_address, topic=self.topic)
        self.executor.open(GB29_0001=1_000_000, GB29_0002=0)
        self._audit_connection = connect(self.url_of("fraud_audit"), "test")
        self._audit = AuditLog(self.topic, self.settings.audit_directory, WIRE, lambda: time.time_ns() // 1000)
        self._audit.open(self._audit_connection, [self.partition])
        self._review_connection = connect(self.url_of("fraud_review"), "test")
        self._source = PositionedLog(
            servers, self.topic, WIRE.decode_decision_record, GROUP, slot=0, positions=lambda _: {}, options={}
        )
        topics = ReviewTopics(self.topic, self.settings.topic("alerts.v1"))
        seals = review_seals(self.topic)
        self._reviews = ReviewService(
            self._source, appender, WIRE, topics, 24 * HOUR_MS, lambda _: now_ms(), RULES, seals
        )
        self.desk = ReviewDesk(self._review_connection, RULES, now_ms)
        self._next_offset = 0
        self._acted_at_ms = 0

    def decide(
        self, transaction_id: str, mode=CLOSED, *, by="small-1", amount_minor=12_345, headers=None, **state: int
    ) -> str:
        """One payment from ACCOUNT, decided just now and appended; its transaction's id."""
        self.archive.decide_by(by)
        at_ms = now_ms()
        made_at_ms = max(at_ms - 400, self._acted_at_ms)  # what a decision or a plan led to comes after it
        self._acted_at_ms = at_ms
        paid = payment(1, amount_minor=amount_minor, event_time_ms=made_at_ms)._replace(
            transaction_id=transaction_id, account_id=ACCOUNT, account_time_zone=midday_zone(at_ms)
        )
        sources = [Source(0, self._next_offset, max(at_ms - 200, made_at_ms))]
        event = np.array([EventRows(policy(), feeds()).row(paid, sources[0].timestamp_ms)], dtype=np.int64)
        matrix = feature_matrix(event, features(**state)[:, STATE_SLICE])
        encoder = DecisionEncoder(WIRE.header("decision.v1"), self.archive.in_force, "decide/test")
        verdicts = decide(matrix, [mode], self.archive.in_force)
        decoded = [decoded_of(paid)]
        self.append(*encoder.encode(decoded, sources, with_position(matrix, -1), verdicts, [at_ms]), headers=headers)
        return transaction_id

    def append(self, *values: bytes, headers=None) -> None:
        for value in values:
            self._producer.produce(self.topic, value, ACCOUNT.encode(), headers=headers)
        assert self._producer.flush(WAIT_S) == 0

    def settle(self) -> None:
        """Audit log, execution and review hear what is new on the topic."""
        records = [
            LogRecord(*one.source, one.key or b"", one.value or b"", record_of(one.value or b""))
            for one in self._log.read(self.topic, {self.partition: self._next_offset})
        ]
        end = max((one.offset + 1 for one in records), default=self._next_offset)
        batch = LogBatch(records, [PositionMove(self.partition, self._next_offset, end)])
        self._audit.store(self._audit_connection, records)
        self.executor.execution.accept(self.executor.connection, batch)
        self._reviews.store(self._review_connection, batch)
        self._next_offset = end

    def withdraw_unheld(self) -> None:
        """The review service looks for cases whose payments aren't held."""
        with self._review_connection.transaction():
            self._reviews._withdraw_unheld(self._review_connection, [self.partition])

    def anchor(self) -> None:
        """Signs the audit log's heads, onto their topic and into files."""

        def publish(key: bytes, value: bytes) -> None:
            self._producer.produce(self.settings.topic("anchors.v1"), value, key)

        keys = partial(read_key_set, self.key_set)
        anchors = Anchors(self.topic, self.settings.audit_directory, self.key, keys, WIRE, publish)
        anchors.begin(self._audit.trees, {})
        anchors.anchor(self._audit.trees, now_ms())
        assert self._producer.flush(WAIT_S) == 0

    def judge(self, transaction_id: str, name: str, judgement: Judgement) -> None:
        assert isinstance(self.desk.judge(transaction_id, identity(name), judgement), Acted)

    def publish_review(self, transaction_id: str) -> None:
        """The outcome of the case that was decided last, onto the topic."""
        file = cases_by_name(self._review_connection, transaction_id)[-1]
        outcome = review_outcome(review_id(file.case.decision_id, file.case.round), file)
        self.append(WIRE.encode(outcome))

    def plan(self, reason: str, **criteria: str) -> str:
        """By rae, as small-1 would have decided; the plan's id."""
        good = Good(Version("small-1", self.archive.good.model.hash), None, Basis.RECORDED)
        wanted = Criteria(**criteria)
        request = Request(wanted, criteria_text(wanted, None), good, reason, identity("rae"))
        with closing(connect(self.url_of("fraud_rollback"), "test")) as connection:
            topic = topic_ends(self._log, self.topic)
            planner = Planner(connection, WIRE, self.archive.regime_of, topic, HOUR_MS, patience_s=0.0)
            return planner.plan(request, str(uuid4()), now_ms()).header.plan_id

    def apply(self, plan_id: str) -> None:
        """By abe."""
        with closing(connect(self.url_of("fraud_rollback"), "test")) as connection:
            applier = _applier(self.settings, WIRE, connection, self._log, patience_s=0.0)
            arguments = plan_id, identity("abe"), 1e9, threading.Event(), lambda _: None
            if applier.apply(*arguments).waiting:
                self.settle()
                assert applier.apply(*arguments).is_complete
        self._acted_at_ms = now_ms()

    def close(self) -> None:
        self.executor.close()
        self._source.close()
        self._audit.close()
        for connection in (self.owner, self._audit_connection, self._review_connection):
            connection.close()
