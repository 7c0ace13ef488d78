"""The monitor on a broker and a real PostgreSQL: what it counts, tells and stores, and what it can't do."""

from __future__ import annotations

from contextlib import closing

import psycopg
import pytest

from pipeline.bias.monitor_store import newest_state, open_gaps
from pipeline.bias.watching import Measure
from pipeline.domain.alert import Severity
from pipeline.io.postgres import connect
from tests.bias.given import MINUTE_MS, SUSPECT, Topics, minute, stepped
from tests.records import NOON_MS
from tests.servers import url_as

PAYMENTS = 300
WRONG_FROM, MINUTES = 3, 10


@pytest.fixture
def topics(stack, database_url: str) -> Topics:
    return Topics(stack.bootstrap_servers, database_url)


def published(topics: Topics, blocked_percent: int) -> None:
    for number in range(MINUTES):
        percent = blocked_percent if number >= WRONG_FROM else 2
        topics.publish(minute(number * PAYMENTS, PAYMENTS, percent), NOON_MS + number * MINUTE_MS)
    topics.now_ms = NOON_MS + (MINUTES + 1) * MINUTE_MS


def counted(owner) -> int:
    found = owner.execute("SELECT coalesce(sum((counts -> 'all' ->> 0)::int), 0) FROM control.bias_span").fetchone()
    return int(found[0])


def test_a_postcode_that_is_blocked_is_told_once_and_stored_with_how_far_was_read(
    topics: Topics, owner, database_url: str
) -> None:
    published(topics, 80)
    with closing(topics.service()) as service:
        stepped(service, lambda: counted(owner) == MINUTES * PAYMENTS)
    with closing(topics.service()) as again:  # reads nothing a second time
        for _ in range(8):
            stepped(again, lambda: True)
    assert MINUTES * PAYMENTS == counted(owner)
    told = topics.alerts()
    assert {("BIAS_GAP", SUSPECT, Severity.CRITICAL)} == {(each.code, each.scope, each.severity) for each in told}
    assert {"BLOCK", "STOP"} == {each.evidence["measure"] for each in told}
    assert len({each.alert_id for each in told}) == len(told)
    with closing(connect(url_as(database_url, "fraud_bias"), "test")) as connection:
        assert {Measure.BLOCK, Measure.STOP} == {gap.measure for gap in open_gaps(connection)}
        opened_at = min(gap.opened_minute for gap in open_gaps(connection)) - NOON_MS // MINUTE_MS
        assert WRONG_FROM + 2 <= opened_at <= WRONG_FROM + 5
        assert newest_state(connection) is not None


def test_a_quiet_stream_tells_nothing_and_what_nobody_is_proved_to_have_written_counts_nowhere(
    topics: Topics, owner
) -> None:
    topics.publish(minute(10**6, PAYMENTS, 100), NOON_MS, is_sealed=False)
    published(topics, 2)
    with closing(topics.service()) as service:
        stepped(service, lambda: counted(owner) == MINUTES * PAYMENTS)
    assert [] == topics.alerts()


def test_a_monitor_that_died_before_it_stored_counts_the_same_again(topics: Topics, owner) -> None:
    published(topics, 2)
    with closing(topics.service(snapshot_s=3600)) as service:
        for _ in range(10):
            stepped(service, lambda: True)
    assert 0 == counted(owner)
    with closing(topics.service()) as again:
        stepped(again, lambda: counted(owner) == MINUTES * PAYMENTS)


def test_its_role_appends_to_its_own_tables_and_changes_nothing(owner, database_url: str) -> None:
    with closing(connect(url_as(database_url, "fraud_bias"), "test")) as connection:
        connection.execute("INSERT INTO control.bias_state (sequence, minute, state) VALUES (1, 5, '{}')")
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("INSERT INTO control.bias_state (sequence, minute, state) VALUES (1, 5, '{}')")
        for forbidden in (
            "UPDATE control.bias_state SET minute = 6",
            "DELETE FROM control.bias_gap",
            "INSERT INTO control.alert_group DEFAULT VALUES",
            "INSERT INTO audit.ai_decision_log DEFAULT VALUES",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(forbidden.encode())
    with pytest.raises(psycopg.Error, match="append"):
        owner.execute("UPDATE control.bias_state SET minute = 6")
