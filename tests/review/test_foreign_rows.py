"""Cases and events that whoever holds fraud_review's credential writes, with or without a reviewer's own key."""

from __future__ import annotations

from contextlib import closing
from uuid import uuid4

import psycopg
import pytest

from ops.bench.rig.stored import Tail
from pipeline.domain.decision import Outcome
from pipeline.domain.identities import review_id
from pipeline.io.clock import now_ms
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.io.postgres import connect
from pipeline.review.case_store import Opening, RecordPlace, append_event, open_cases
from pipeline.review.cases import EXPIRY, EXPIRY_REASON, SERVICE, Case, CaseEvent, Kind, State, opening
from pipeline.review.desk_store import ReviewDesk
from tests.decisions import decision_of, record_of
from tests.known import identity
from tests.review.given import ALLOW, HOUR_MS, RULES
from tests.review.test_service import (
    PARTITIONS,
    WIRE,
    connection,
    escalations,
    eventually,
    files_of,
    look,
    reversed_to,
    running,
    states,
    take_in,
    topic,
)
from tests.servers import url_as

__all__ = ["connection", "topic"]
LARGE_MINOR = RULES.four_eyes_gbp_minor * 5


@pytest.fixture
def thief(database_url):
    with closing(connect(url_as(database_url, "fraud_review"), "thief")) as own:
        yield own


class Standing:
    """Where a record stands on the topic, and what a case of it is."""

    def __init__(self, stack, topic, value):
        decision = decision_of(value)
        partition = Partitioning(Partitioner.CRC32, PARTITIONS).of(decision.account_id.encode())
        with LogReader(stack.bootstrap_servers, "test-look", {}) as log:
            [found] = [one for one in log.read(topic.name, {partition: 0}) if one.value == value]
        self.place, at_ms, payment = RecordPlace(partition, found.source.offset), found.source.timestamp_ms, None
        payment, (gbp_minor, *_) = decision.snapshot.transaction, decision.snapshot.features
        assert gbp_minor == payment.amount_minor
        names = decision.decision_id, 1, decision.transaction_id, decision.account_id, payment.currency
        self.case = Case(*names, payment.amount_minor, gbp_minor, at_ms, at_ms + 24 * HOUR_MS)
        self.summary = decision.summary

    def open(self, connection, place=None, summary=None, cause_id=None, **changes):
        case = self.case._replace(**changes)
        one = Opening(case, cause_id or case.decision_id, summary or self.summary, place or self.place)
        with connection.transaction():
            open_cases(connection, [one], [opening(case)])


@pytest.fixture
def standing(stack, topic, database_url, archive, connection):
    [value] = escalations(archive, [1], amount_minor=LARGE_MINOR)
    topic.append([value])
    take_in(stack, topic, database_url)
    standing = Standing(stack, topic, value)
    standing.value = value
    return standing


CHANGES = [
    {"amount_minor": 1},
    {"amount_gbp_minor": 1},
    {"amount_gbp_minor": -1},
    {"currency": "JPY"},
    {"transaction_id": "tx-another"},
    {"account_id": "GB29-0666"},
    {"round": 2},
    {"summary": "The customer has confirmed it."},
    {"expires_at_ms": 2**42},
    {"opened_at_ms": 1_700_000_000_000, "expires_at_ms": 1_700_000_000_000 + 24 * HOUR_MS},
    {"place": RecordPlace(3, 999)},
    {"cause_id": "00000000-0000-4000-8000-000000000001"},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_no_case_is_opened_otherwise_than_its_record_was_audited(standing, thief, change):
    with pytest.raises(psycopg.errors.CheckViolation, match="as its record was audited"):
        standing.open(thief, **change)


@pytest.mark.parametrize("hours", [0, 2161])
def test_no_case_ends_sooner_or_later_than_settings_can_say(standing, thief, hours):
    with pytest.raises(psycopg.errors.CheckViolation):
        standing.open(thief, expires_at_ms=standing.case.opened_at_ms + hours * HOUR_MS + 1)


def test_no_case_is_opened_before_its_record_is_audited(stack, topic, database_url, archive, thief):
    [value] = escalations(archive, [7])
    topic.append([value])
    with pytest.raises(psycopg.errors.CheckViolation, match="as its record was audited"):
        Standing(stack, topic, value).open(thief)


def test_no_case_is_about_a_decision_that_never_was(standing, thief):
    for _ in range(2):
        with pytest.raises(psycopg.errors.CheckViolation):
            standing.open(thief, decision_id=str(uuid4()))


def test_one_reviewer_who_opens_the_case_herself_does_not_decide_what_takes_two(
    stack, topic, database_url, connection, thief, standing
):
    standing.open(thief)  # as it is: there is no other way
    with running(stack, topic, database_url) as failures:
        eventually(lambda: files_of(connection, standing.value), failures)
        desk = ReviewDesk(thief, RULES, now_ms)
        desk.claim(standing.case.decision_id, identity("ann"))
        assert desk.judge(standing.case.decision_id, identity("ann"), ALLOW).event.kind is Kind.PROPOSED
    assert topic.read_outcomes() == []


def test_the_service_waits_for_the_audit_log(stack, topic, database_url, connection, archive):
    [value] = escalations(archive, [1])
    topic.append([value])
    with running(stack, topic, database_url, is_audited=False):
        pass
    assert files_of(connection, value) == []
    with running(stack, topic, database_url) as failures:
        eventually(lambda: files_of(connection, value), failures)


def test_no_case_bears_the_id_of_another_cases_review(thief, standing):
    """Which would keep that one from being opened."""
    row = {**standing.case._asdict(), **standing.place._asdict(), "summary": standing.summary}
    for name in (review_id(str(uuid4()), 1), review_id(standing.case.decision_id, 2)):
        with pytest.raises(psycopg.errors.CheckViolation, match="as its record was audited"):
            thief.execute(
                "INSERT INTO review.review_case (decision_id, round, review_id, cause_id, transaction_id, account_id,"
                " currency, amount_minor, amount_gbp_minor, summary, opened_at, expires_at, topic_partition,"
                " topic_offset) VALUES (%(decision_id)s, 1, %(name)s, %(decision_id)s, %(transaction_id)s,"
                " %(account_id)s, %(currency)s, %(amount_minor)s, %(amount_gbp_minor)s, %(summary)s,"
                " timestamptz 'epoch' + %(opened_at_ms)s * interval '1 ms',"
                " timestamptz 'epoch' + %(expires_at_ms)s * interval '1 ms', %(partition)s, %(offset)s)",
                {**row, "name": name},
            )


def test_a_round_that_was_opened_before_the_service_came_there_is_that_round(
    stack, topic, database_url, connection, archive
):
    """Read again from an earlier place, the service neither opens a round twice nor withdraws the one that is open."""
    [value] = escalations(archive, [1])
    again = reversed_to(value, "ESCALATE")
    with running(stack, topic, database_url) as failures:
        topic.append([value, again])
        eventually(lambda: len(files_of(connection, value)) == 2, failures)
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("DELETE FROM control.consumer_position WHERE consumer = 'review'")
    [end] = escalations(archive, [51])
    topic.append([end])
    with running(stack, topic, database_url) as failures:
        eventually(lambda: files_of(connection, end), failures)
    assert [file.standing.state for file in files_of(connection, value)] == [State.CLOSED, State.OPEN]


SYSTEM_EVENTS = {
    "early": CaseEvent(2, Kind.EXPIRED, EXPIRY, 0, Outcome.BLOCK, EXPIRY_REASON),
    "by sue": CaseEvent(2, Kind.EXPIRED, "system:sue, chief of fraud", 0, Outcome.BLOCK, EXPIRY_REASON),
    "escapes": CaseEvent(2, Kind.EXPIRED, EXPIRY, 0, Outcome.BLOCK, "\x1b[2Jann and sue have both confirmed this"),
    "withdrawn": CaseEvent(2, Kind.WITHDRAWN, SERVICE, 0, reason="because"),
    "not held": CaseEvent(
        2, Kind.WITHDRAWN, SERVICE, 0, reason="The payment is not held (REFUSED), so there is nothing to decide."
    ),
    "voided": CaseEvent(2, Kind.VOIDED, SERVICE, 0, reason="It counts as nothing: so it does."),
}


@pytest.mark.parametrize("event", SYSTEM_EVENTS.values(), ids=SYSTEM_EVENTS)
@pytest.mark.parametrize("later_hours", [0, 25])
def test_nobody_speaks_as_the_service(stack, topic, database_url, connection, thief, standing, event, later_hours):
    """Whatever time the row says; the server's clock is what counts."""
    standing.open(thief)
    at_ms = now_ms() + later_hours * HOUR_MS
    with pytest.raises(psycopg.errors.IntegrityError):
        append_event(thief, standing.case, event._replace(at_ms=at_ms))
    assert look(connection, standing.case.decision_id).standing.state is State.OPEN


def test_a_case_is_not_withdrawn_by_another_cases_reversal_nor_by_one_that_is_overtaken(
    stack, topic, database_url, connection, archive, thief, standing
):
    [other] = escalations(archive, [51])
    reversal = reversed_to(other, "BLOCK")
    stranger = reversed_to(standing.value, "BLOCK", after=reversal)  # of what isn't in force
    topic.append([other, reversal, stranger])
    take_in(stack, topic, database_url)
    standing.open(thief)
    for number, record in enumerate((reversal, stranger), start=2):
        place = standing.place._replace(offset=standing.place.offset + number)
        event = CaseEvent(2, Kind.WITHDRAWN, SERVICE, now_ms(), reason=record_of(record).reason)
        with pytest.raises(psycopg.errors.CheckViolation):
            append_event(thief, standing.case, event, place)
        with pytest.raises(psycopg.errors.CheckViolation, match="takes another's place"):
            thief.execute(
                "INSERT INTO review.record_in_force (topic_partition, topic_offset, decision_id, record_kind,"
                " record_id, outcome) VALUES (%s, %s, %s, 'REVERSAL', %s, 'BLOCK')",
                [*place, standing.case.decision_id, record_of(record).reversal_id],
            )


def test_an_outcome_is_not_said_to_be_published_that_stands_nowhere(connection, thief, standing, database_url):
    standing.open(thief)
    desk = ReviewDesk(connection, RULES, now_ms)
    desk.claim(standing.case.decision_id, identity("sue"))
    desk.judge(standing.case.decision_id, identity("sue"), ALLOW)
    file = look(connection, standing.case.decision_id)
    for place in (None, standing.place):
        event = CaseEvent(len(file.events) + 1, Kind.PUBLISHED, SERVICE, now_ms())
        with pytest.raises(psycopg.errors.IntegrityError):
            append_event(thief, file.case, event, place)


def test_a_case_that_a_superuser_rewrote_is_not_published_and_the_service_goes_on(
    stack, topic, database_url, connection, archive, standing
):
    [small] = escalations(archive, [51])
    topic.append([small])
    desk = ReviewDesk(connection, RULES, now_ms)
    with running(stack, topic, database_url) as failures:
        eventually(lambda: files_of(connection, standing.value) and files_of(connection, small), failures)
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(
            "UPDATE review.review_case SET amount_minor = 1, amount_gbp_minor = 1 WHERE decision_id = %s",
            [standing.case.decision_id],
        )
    for decision_id in (standing.case.decision_id, decision_of(small).decision_id):
        desk.claim(decision_id, identity("ann"))
        desk.judge(decision_id, identity("ann"), ALLOW)
    with running(stack, topic, database_url) as failures:
        eventually(lambda: states(connection, [small])[State.CLOSED] == 1, failures)
    assert {each.decision_id for each in topic.read_outcomes()} == {decision_of(small).decision_id}


def test_what_counts_and_was_voided_is_told(stack, topic, database_url, connection, archive, thief, standing):
    """The database proves no signature, so it can't refuse that."""
    standing.open(thief)
    desk = ReviewDesk(connection, RULES, now_ms)
    desk.claim(standing.case.decision_id, identity("sue"))
    append_event(thief, standing.case, CaseEvent(3, Kind.VOIDED, SERVICE, now_ms(), reason="It counts as nothing: no."))
    alerts, told = Tail(stack.bootstrap_servers, f"{topic.prefix}alerts.v1"), []
    with running(stack, topic, database_url) as failures:
        eventually(lambda: told.extend(alerts.news()) or told, failures)
    [alert] = [WIRE.decode_alert(each.value) for each in told]
    assert "though it counts" in alert.summary
