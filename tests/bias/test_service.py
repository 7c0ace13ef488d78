"""The monitor on a broker and a real PostgreSQL: what it counts, tells and stores, and what it can't do."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing

import psycopg
import pytest

from pipeline.bias.monitor_store import newest_state, open_gaps
from pipeline.bias.report_command import show_bias
from pipeline.bias.service_command import service_of
from pipeline.bias.watching import Measure
from pipeline.domain.alert import Severity
from pipeline.io.postgres import connect
from pipeline.terminal.output import Output
from tests.bias.given import MINUTE_MS, SUSPECT, WIRE, Topics, minute, stepped
from tests.records import NOON_MS
from tests.servers import url_as

PAYMENTS = 300
WRONG_FROM, MINUTES = 3, 10
DAY_MS = 86_400_000


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


def test_a_gap_that_stays_open_is_told_again_each_day(topics: Topics, owner) -> None:
    """Whoever may write alerts.v1 said that it was over, and nobody heard of it again."""
    published(topics, 80)
    with closing(topics.service()) as service:
        stepped(service, lambda: counted(owner) == MINUTES * PAYMENTS)
        first = {each.alert_id: each.raised_at_ms for each in topics.alerts()}
        topics.publish(minute(10**6, PAYMENTS, 80), NOON_MS + DAY_MS)
        topics.now_ms = NOON_MS + DAY_MS + 3 * MINUTE_MS
        stepped(service, lambda: counted(owner) == (MINUTES + 1) * PAYMENTS)
    again = {each.alert_id: each.raised_at_ms for each in topics.alerts()[len(first) :]}
    assert first.keys() == again.keys()
    assert all(again[alert_id] > at_ms for alert_id, at_ms in first.items())


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


@pytest.fixture
def fast_machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """A machine whose clock is two days ahead; returns what tells the true time."""
    true = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: true() + 2 * DAY_MS * 1_000_000)
    return lambda: true() // 1_000_000


def test_no_minute_is_judged_before_it_is_over_by_the_databases_clock(
    topics: Topics, owner, fast_machine: Callable[[], int]
) -> None:
    topics.publish(minute(0, PAYMENTS, 2), fast_machine() - 5 * MINUTE_MS)
    topics.publish(minute(PAYMENTS, PAYMENTS, 2), fast_machine())
    with closing(service_of(topics.settings, WIRE, snapshot_s=0.0)) as service:
        stepped(service, lambda: counted(owner) >= PAYMENTS)
        for _ in range(3):
            stepped(service, lambda: True)
    [(latest,)] = owner.execute("SELECT max(minute) FROM control.bias_state").fetchall()
    assert latest < fast_machine() // MINUTE_MS


def test_the_reports_tell_of_the_latest_days_by_the_databases_clock(
    topics: Topics, owner, fast_machine: Callable[[], int], capsys: pytest.CaptureFixture[str]
) -> None:
    topics.publish(minute(0, PAYMENTS, 2), fast_machine() - 5 * MINUTE_MS)
    with closing(service_of(topics.settings, WIRE, snapshot_s=0.0)) as service:
        stepped(service, lambda: counted(owner) == PAYMENTS)
    show_bias(topics.settings, None, 1, Output(as_json=True), is_evidence=False)
    assert f'"payments": {PAYMENTS // 10}' in capsys.readouterr().out


def test_a_state_ahead_of_the_clock_is_told_and_is_not_ready(topics: Topics, owner) -> None:
    published(topics, 2)
    with closing(topics.service()) as service:
        stepped(service, lambda: counted(owner) == MINUTES * PAYMENTS)
        topics.now_ms -= 60 * MINUTE_MS  # the database's clock was wrong, and was put right
        assert "58 minutes" in (service.step(threading.Event()) or "")


def test_a_restart_forgets_no_version_that_decided_before_it(topics: Topics, owner, database_url: str) -> None:
    """A version that decides no more has its last day judged all the same."""
    published(topics, 2)
    with closing(topics.service()) as service:
        stepped(service, lambda: counted(owner) == MINUTES * PAYMENTS)
    other = [each._replace(model_version="other-1", model_hash=b"o" * 32) for each in minute(10**6, PAYMENTS, 2)]
    topics.publish(other, topics.now_ms)
    topics.now_ms += 3 * MINUTE_MS
    with closing(topics.service()) as again:
        stepped(again, lambda: counted(owner) == (MINUTES + 1) * PAYMENTS)
    with closing(connect(url_as(database_url, "fraud_bias"), "test")) as connection:
        stored = newest_state(connection)
    assert stored is not None
    first = minute(0, 1, 2)[0]
    assert stored.state["models"] == {first.model_version: first.model_hash.hex(), "other-1": "6f" * 32}


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
