"""The review service on a broker and a real PostgreSQL: what it reads, what it publishes, and what a kill leaves."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from contextlib import closing, contextmanager
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka import Producer
from prometheus_client import REGISTRY

from ops.bench.rig.services import status
from ops.bench.rig.stored import Tail
from ops.bench.rig.waiting import wait_until
from ops.processes.servers import LOOPBACK, ServerProcess, free_port
from pipeline.domain.decision import Outcome
from pipeline.domain.identities import review_id
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.io.avro.wire import WireFormat
from pipeline.io.clock import now_ms
from pipeline.io.filing import server_now_ms
from pipeline.io.kafka.appender import Appender
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.positioned_log import PositionedLog
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.io.postgres import Positions, connect
from pipeline.review.case_store import cases_by_name, open_money
from pipeline.review.cases import EXPIRY, Kind, State
from pipeline.review.desk_store import ReviewDesk
from pipeline.review.metrics import tell_open_money
from pipeline.review.service import CONSUMER, ReviewService, ReviewTopics
from tests.archive import OPEN, payment
from tests.decisions import decision_of, record_of, reversal_of, review_of
from tests.execute.audited import AuditedTopic
from tests.execute.given import name_of
from tests.known import appoint, identity, revoke
from tests.review.forged import append_forged, look
from tests.review.given import BLOCK, HOUR_MS, RULES
from tests.sealing import review_seals, seal_headers
from tests.servers import SOON_FREE, unused_prefix, url_as

WIRE = WireFormat()
WAIT_S = 120.0
# Paid at night to a new payee: soft guardrails make the fallback escalate it.
SUSPICIOUS = {"is_new_beneficiary": 1}
AMOUNT_MINOR = 600_000
PARTITIONS = 4


class Topic:
    """decisions.v1 under a prefix of its own."""

    def __init__(self, servers: str) -> None:
        self.servers, self.prefix = servers, unused_prefix()
        self.name = f"{self.prefix}decisions.v1"
        self._producer = Producer({"bootstrap.servers": servers, "enable.idempotence": True, "log_level": 2})
        self._tail = Tail(servers, self.name)
        self._producer.list_topics(self.name, timeout=WAIT_S)  # the mock broker makes it
        self.outcomes: list[ReviewOutcome] = []

    def append(self, values, timestamp_ms=0):
        for value in values:
            key = record_of(value).account_id.encode()
            partition = Partitioning(Partitioner.CRC32, PARTITIONS).of(key)
            headers = seal_headers(self.name, key, value, partition)
            self._producer.produce(self.name, value, key, partition, timestamp=timestamp_ms, headers=headers)
        assert self._producer.flush(WAIT_S) == 0

    def read_outcomes(self):
        """All ReviewOutcomes so far."""
        for found in self._tail.news():
            record = record_of(found.value)
            if isinstance(record, ReviewOutcome):
                self.outcomes.append(record)
        return self.outcomes


@pytest.fixture
def topic(stack):
    return Topic(stack.bootstrap_servers)


@pytest.fixture
def connection(owner):
    appoint(owner, {"ann": "REVIEWER", "sue": "SENIOR_REVIEWER"})
    return owner


def escalations(archive, numbers, amount_minor=AMOUNT_MINOR):
    payments = [payment(number, amount_minor=amount_minor) for number in numbers]
    values = archive.values(payments, [OPEN] * len(payments), **SUSPICIOUS)
    assert {decision_of(value).outcome for value in values} == {"ESCALATE"}
    return values


def reversed_to(value, corrected, plan_id=None, after=None):
    reversal = reversal_of(
        decision_of(value),
        corrected and Outcome(corrected),
        plan_id=plan_id or str(uuid4()),
        replaces=None if after is None else name_of(record_of(after)),
    )
    return WIRE.encode(reversal)


@contextmanager
def running(stack, topic, url, expiry_ms=24 * HOUR_MS, *, is_audited=True):
    """The service in a thread of this process, with the rights of its role, behind an audit log that keeps up."""
    role_url = url_as(url, "fraud_review")
    stopping, failures = threading.Event(), []
    positions = Positions(CONSUMER, topic.name)

    def run():
        try:
            with (
                closing(connect(role_url, "test")) as own,
                closing(connect(url_as(url, "fraud_audit"), "test")) as audit,
                LogReader(stack.bootstrap_servers, "test-audit", {}) as log,
            ):
                audited = AuditedTopic(audit, log, topic.name)
                source = PositionedLog(
                    stack.bootstrap_servers,
                    topic.name,
                    WIRE.decode_decision_record,
                    f"{topic.prefix}review",
                    slot=0,
                    positions=lambda partitions: positions.read(own, partitions),
                    options=SOON_FREE,
                )
                appender = Appender(stack.bootstrap_servers, "review", {})
                topics = ReviewTopics(topic.name, f"{topic.prefix}alerts.v1")
                with closing(source):
                    service = ReviewService(
                        source,
                        appender,
                        WIRE,
                        topics,
                        expiry_ms,
                        server_now_ms,
                        RULES,
                        review_seals(topic.name),
                    )
                    while not stopping.is_set():
                        for partition in range(PARTITIONS) if is_audited else ():
                            audited.take_in(partition)
                        service.step(own)
        except Exception as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield failures
    finally:
        stopping.set()
        thread.join(WAIT_S)
        assert not failures, failures


def take_in(stack, topic, url):
    """The audit log holds what stands on the topic."""
    with (
        closing(connect(url_as(url, "fraud_audit"), "test")) as audit,
        LogReader(stack.bootstrap_servers, "test-audit", {}) as log,
    ):
        for partition in range(PARTITIONS):
            AuditedTopic(audit, log, topic.name).take_in(partition)


def eventually(is_true, failures=()):
    def require_running():
        assert not failures, failures

    wait_until(is_true, WAIT_S, "what was waited for", every_s=0.05, meanwhile=require_running)


def ended(outcome, by):
    """How many cases ended so, by the metrics of this process."""
    return REGISTRY.get_sample_value("fraud_review_seconds_count", {"outcome": outcome, "by": by})


def files_of(connection, value):
    return cases_by_name(connection, decision_of(value).decision_id)


def states(connection, values):
    return Counter(file.standing.state for value in values for file in files_of(connection, value))


def test_each_escalation_opens_one_case_however_often_it_stands_there(stack, topic, database_url, connection, archive):
    values = escalations(archive, range(20))
    allowed = archive.values([payment(n, amount_minor=100) for n in range(20, 30)], [OPEN] * 10)
    with running(stack, topic, database_url) as failures:
        topic.append([*values, *allowed, *values[:10]])
        topic.append(values[5:])
        eventually(lambda: states(connection, values)[State.OPEN] == 20, failures)
    assert states(connection, [*values, *allowed]) == {State.OPEN: 20}
    [held] = open_money(connection)
    assert ("GBP", 20 * AMOUNT_MINOR) == (held.currency, held.amount_minor)
    tell_open_money([held], [])
    assert 20 * AMOUNT_MINOR == REGISTRY.get_sample_value("fraud_money_held_minor", {"currency": "GBP"})
    tell_open_money([], [])
    assert REGISTRY.get_sample_value("fraud_money_held_minor", {"currency": "GBP"}) is None
    assert 0 == REGISTRY.get_sample_value("fraud_review_oldest_case_timestamp_seconds")
    [file] = files_of(connection, values[0])
    decision = decision_of(values[0])
    assert (file.case.amount_minor, file.case.amount_gbp_minor, file.case.currency) == (
        AMOUNT_MINOR,
        AMOUNT_MINOR,
        "GBP",
    )
    assert (file.case.transaction_id, file.summary) == (decision.transaction_id, decision.summary)


def test_what_was_decided_stands_on_the_topic_once_and_is_marked_so(stack, topic, database_url, connection, archive):
    [value] = escalations(archive, [1])
    before = ended("BLOCK", "person")
    decision_id = decision_of(value).decision_id
    desk = ReviewDesk(connection, RULES, now_ms)
    with running(stack, topic, database_url) as failures:
        topic.append([value])
        eventually(lambda: files_of(connection, value), failures)
        desk.claim(decision_id, identity("ann"))
        desk.judge(decision_id, identity("ann"), BLOCK)
        eventually(lambda: states(connection, [value])[State.CLOSED] == 1, failures)
        eventually(lambda: ended("BLOCK", "person") == before + 1, failures)
    [outcome] = topic.read_outcomes()
    assert outcome.review_id == review_id(decision_id, 1)
    assert (outcome.outcome, outcome.reason) == ("BLOCK", BLOCK.reason)
    assert (outcome.reviewed_by, outcome.second_reviewer) == ("ann", None)
    with running(stack, topic, database_url):  # and again, from where it stood
        pass
    assert len(topic.read_outcomes()) == 1


def test_two_authors_of_a_large_one_stand_on_the_topic(stack, topic, database_url, connection, archive):
    [value] = escalations(archive, [1], amount_minor=RULES.four_eyes_gbp_minor)
    decision_id = decision_of(value).decision_id
    desk = ReviewDesk(connection, RULES, now_ms)
    with running(stack, topic, database_url) as failures:
        topic.append([value])
        eventually(lambda: files_of(connection, value), failures)
        desk.claim(decision_id, identity("ann"))
        assert desk.judge(decision_id, identity("ann"), BLOCK).event.kind is Kind.PROPOSED
        desk.judge(decision_id, identity("sue"), BLOCK)
        eventually(topic.read_outcomes, failures)
    [outcome] = topic.outcomes
    assert (outcome.reviewed_by, outcome.second_reviewer) == ("ann", "sue")


def test_what_nobody_decides_expires_to_block(stack, topic, database_url, connection, archive):
    values = escalations(archive, range(5))
    before = ended("BLOCK", "expiry")
    with running(stack, topic, database_url, expiry_ms=HOUR_MS) as failures:
        topic.append(values, timestamp_ms=now_ms() - 2 * HOUR_MS)
        eventually(lambda: states(connection, values)[State.CLOSED] == 5, failures)
        eventually(lambda: ended("BLOCK", "expiry") == before + 5, failures)
    outcomes = topic.read_outcomes()
    assert [(each.outcome, each.reviewed_by) for each in outcomes] == [("BLOCK", EXPIRY)] * 5


@pytest.mark.parametrize("corrected", [None, "ALLOW", "BLOCK"])
def test_a_reversal_withdraws_the_case_and_nothing_is_published(
    stack, topic, database_url, connection, archive, corrected
):
    [value] = escalations(archive, [1])
    with running(stack, topic, database_url) as failures:
        topic.append([value])
        eventually(lambda: files_of(connection, value), failures)
        reversal = reversed_to(value, corrected)
        topic.append([reversal, reversal])
        eventually(lambda: states(connection, [value])[State.CLOSED] == 1, failures)
    [file] = files_of(connection, value)
    assert [event.kind for event in file.events] == [Kind.OPENED, Kind.WITHDRAWN]
    assert topic.read_outcomes() == []


def test_a_reversal_to_review_opens_a_round_with_the_audited_payment(stack, topic, database_url, connection, archive):
    """A plan's lines are a requester's to write, and say nothing here."""
    [allowed] = archive.values([payment(1, amount_minor=100)], [OPEN])
    decision, plan_id = decision_of(allowed), str(uuid4())
    connection.execute(
        """INSERT INTO control.rollback_plan_decision VALUES
        (%s, 0, %s, %s, %s, 0, 0, 'GBP', 1, 1, 'ALLOW', 'ESCALATE', 'REVERSE', false, false, 'a mule', '')""",
        [plan_id, decision.decision_id, decision.transaction_id, decision.account_id],
    )
    known = reversed_to(allowed, "ESCALATE", plan_id)
    other = reversed_to(allowed, "ESCALATE", after=known)
    with running(stack, topic, database_url) as failures:
        topic.append([allowed, known, known, other])
        eventually(lambda: len(files_of(connection, allowed)) == 2, failures)
    files = files_of(connection, allowed)
    assert [(file.case.round, file.case.currency, file.case.amount_gbp_minor) for file in files] == [
        (1, "GBP", 100),
        (2, "GBP", 100),
    ]
    assert [file.summary for file in files] == [record_of(known).reason, record_of(other).reason]
    assert [file.standing.state for file in files] == [State.CLOSED, State.OPEN]


@pytest.mark.parametrize("corrected", [None, "ALLOW", "BLOCK", "ESCALATE"])
@pytest.mark.parametrize("is_one_batch", [True, False])
def test_a_reversal_that_is_overtaken_neither_withdraws_a_case_nor_opens_one(
    stack, topic, database_url, connection, archive, corrected, is_one_batch
):
    """Two plans on one escalation; the first sends it to another round, whose hold must not outlive its case."""
    [value, end] = escalations(archive, [1, 51])  # of one account, so of one partition
    first, second = reversed_to(value, "ESCALATE"), reversed_to(value, corrected)
    records = [value, first, second, second, end]
    with running(stack, topic, database_url) as failures:
        for batch in (records,) if is_one_batch else ([each] for each in records):
            topic.append(batch)
        eventually(lambda: files_of(connection, end), failures)
    assert [(file.case.round, file.standing.state) for file in files_of(connection, value)] == [
        (1, State.CLOSED),
        (2, State.OPEN),
    ]


@pytest.mark.parametrize("corrected", ["ALLOW", "ESCALATE"])
def test_a_reversal_after_the_review_that_it_did_not_know_opens_nothing(
    stack, topic, database_url, connection, archive, corrected
):
    [value, end] = escalations(archive, [1, 51])  # of one account, so of one partition
    outcome = WIRE.encode(review_of(decision_of(value), Outcome.BLOCK))
    with running(stack, topic, database_url) as failures:
        topic.append([value, outcome, reversed_to(value, corrected), end])
        eventually(lambda: files_of(connection, end), failures)
    assert [file.case.round for file in files_of(connection, value)] == [1]


def test_a_killed_service_neither_loses_nor_doubts_an_outcome(
    stack, topic, database_url, connection, archive, tmp_path
):
    """kill -9 again and again while people decide: every outcome stands on the topic, once by id."""
    values, port = escalations(archive, range(60)), free_port()
    process = ServerProcess(
        "review",
        [sys.executable, "-m", "ops.cli", "review", "run"],
        is_ready=lambda: status(port, "/ready") == 200,
        log_path=tmp_path / "review.log",
        environment={
            "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
            "FRAUD_DATABASE_URL": url_as(database_url, "fraud_review"),
            "FRAUD_TOPIC_PREFIX": topic.prefix,
            "FRAUD_KAFKA_OPTIONS": json.dumps(dict(SOON_FREE)),
            "FRAUD_WEB_HOST": LOOPBACK,
            "FRAUD_REVIEW_PORT": str(port),
        },
    )
    desk = ReviewDesk(connection, RULES, now_ms)
    process.start()
    topic.append(values)
    take_in(stack, topic, database_url)
    eventually(lambda: states(connection, values)[State.OPEN] == 60)
    for number, value in enumerate(values):
        decision_id = decision_of(value).decision_id
        desk.claim(decision_id, identity("ann"))
        desk.judge(decision_id, identity("ann"), BLOCK)
        if number % 12 == 5:
            take_in(stack, topic, database_url)
            process.kill()
            process.start()
    eventually(lambda: take_in(stack, topic, database_url) or states(connection, values)[State.CLOSED] == 60)
    process.stop()
    outcomes = topic.read_outcomes()
    assert {each.review_id for each in outcomes} == {review_id(decision_of(v).decision_id, 1) for v in values}
    assert len(outcomes) == 60, "what a restart found unread was not sent again before the topic was read to its end"


def test_an_outcome_that_nobody_here_decided_changes_no_case(stack, topic, database_url, connection, archive):
    """Who may write decisions.v1 could append one; the case is still people's to decide."""
    [value] = escalations(archive, [1])
    forged = review_of(decision_of(value), Outcome.ALLOW, by="mallory")
    with running(stack, topic, database_url) as failures:
        topic.append([value, WIRE.encode(forged)])
        eventually(lambda: files_of(connection, value), failures)
    assert states(connection, [value]) == {State.OPEN: 1}


def test_a_decided_case_is_not_published_by_a_record_that_says_otherwise(
    stack, topic, database_url, connection, archive
):
    [value] = escalations(archive, [1])
    decision = decision_of(value)
    with running(stack, topic, database_url) as failures:
        topic.append([value])
        eventually(lambda: files_of(connection, value), failures)
        desk = ReviewDesk(connection, RULES, now_ms)
        desk.claim(decision.decision_id, identity("ann"))
    forged = review_of(decision, Outcome.ALLOW, by="ann")
    topic.append([WIRE.encode(forged)])
    desk.judge(decision.decision_id, identity("ann"), BLOCK)
    with running(stack, topic, database_url) as failures:
        eventually(lambda: states(connection, [value])[State.CLOSED] == 1, failures)
    assert [each.outcome for each in topic.read_outcomes()] == ["ALLOW", "BLOCK"]


def test_a_forged_outcome_is_voided_and_told_and_the_case_is_peoples_to_decide(
    stack, topic, database_url, connection, archive
):
    """By whoever has the review role's credential, and nobody's key."""
    [value] = escalations(archive, [1])
    decision_id = decision_of(value).decision_id
    alerts = Tail(stack.bootstrap_servers, f"{topic.prefix}alerts.v1")
    with running(stack, topic, database_url) as failures:
        topic.append([value])
        eventually(lambda: files_of(connection, value), failures)
        with closing(connect(url_as(database_url, "fraud_review"), "thief")) as thief:
            file = append_forged(thief, look(thief, decision_id), Kind.CLAIMED, "ann")
            append_forged(thief, file, Kind.DECIDED, "ann", outcome=Outcome.ALLOW, reason="because")
        eventually(lambda: look(connection, decision_id).events[-1].kind is Kind.VOIDED, failures)
        desk = ReviewDesk(connection, RULES, now_ms)
        desk.claim(decision_id, identity("ann"))
        desk.judge(decision_id, identity("ann"), BLOCK)
        eventually(lambda: states(connection, [value])[State.CLOSED] == 1, failures)
        told = []
        eventually(lambda: told.extend(alerts.news()) or told, failures)
    assert [each.outcome for each in topic.read_outcomes()] == ["BLOCK"]
    assert {WIRE.decode_alert(each.value).code for each in told} == {"ACT_UNPROVED"}


def test_an_outcome_of_somebody_who_lost_the_role_is_not_published(stack, topic, database_url, connection, archive):
    """It was decided while the service stood still."""
    [value] = escalations(archive, [1])
    with running(stack, topic, database_url) as failures:
        topic.append([value])
        eventually(lambda: files_of(connection, value), failures)
    desk = ReviewDesk(connection, RULES, now_ms)
    desk.claim(decision_of(value).decision_id, identity("ann"))
    desk.judge(decision_of(value).decision_id, identity("ann"), BLOCK)
    revoke(connection, "ann", "REVIEWER")
    with running(stack, topic, database_url) as failures:
        eventually(lambda: look(connection, decision_of(value).decision_id).events[-1].kind is Kind.VOIDED, failures)
    assert states(connection, [value]) == {State.OPEN: 1}
    assert topic.read_outcomes() == []


def test_the_worker_role_sees_no_case(database_url):
    with psycopg.connect(url_as(database_url, "fraud_reader")) as reader:
        assert reader.execute("SELECT count(*) FROM review.review_case").fetchone() == (0,)
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(url_as(database_url, "fraud_worker"))
