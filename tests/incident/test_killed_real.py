"""The incident service as users run it, on Kafka and PostgreSQL: killed again and again, and nothing is amiss."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import psycopg
import pytest

from ops.bench.rig.services import status, url_of
from ops.bench.rig.waiting import wait_until
from ops.migrations.migrate import migrate
from ops.processes.servers import LOOPBACK, ServerProcess, free_port
from ops.stack.postgres import POSTGRES_DATABASE
from ops.stack.real import RealStack
from ops.stack.topics import create_topics
from pipeline.domain.alert import Alert
from pipeline.io.postgres import connect
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeyUse
from pipeline.seals.seal_files import sealer_of
from tests.incident.given import AlertTopic, caught_up, closed, held, tripped
from tests.records import NOON_MS

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

PARTITIONS = 3
INCIDENTS = 120
SEGMENTS = 5
HOURS_APART = 3
KILLS = 12
CAUGHT_S = 120.0
"""Longest time until the service is met within a transaction; it starts in a second or two."""
CAUGHT_UP_S = 120.0
ROWS = {
    "alerts": """SELECT alert_id, raised_at, code, severity, summary, scope, evidence FROM control.incident_alert
        ORDER BY alert_id, raised_at""",
    "incidents": """SELECT opened.kind, array_agg(
            ARRAY[told.alert_id::text, told.raised_at::text] ORDER BY told.alert_id, told.raised_at)
        FROM control.incident AS opened JOIN control.incident_alert AS told USING (incident_id)
        GROUP BY opened.incident_id, opened.kind ORDER BY 1, 2""",
    "transitions": """SELECT alert_id, scope, event, before_state, after_state, version, author, cause, counts, at
        FROM control.breaker_transition ORDER BY alert_id""",
    "positions": "SELECT consumer, topic, partition, next_offset FROM control.consumer_position ORDER BY partition",
}
"""Which alert opened an incident depends on which partition was read first; what is in it does not."""
WITHIN = """SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fraud-incident'
    AND xact_start IS NOT NULL AND query ~ '^(SELECT control.take|INSERT)'"""


SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'fraud-incident'"
WAITING = f"{SESSIONS} AND wait_event_type = 'Lock'"


def told() -> list[Alert]:
    """Trips of many models, hours apart, each with segments that follow; each told twice, and some come back."""
    found = []
    for number in range(INCIDENTS):
        at_ms = NOON_MS + number * HOURS_APART * 3_600_000
        model = f"model:wrong-{number}"
        found += [tripped(model, at_ms), closed(model, at_ms + 1_200_000), held(at_ms + 60_000)]
        found += [tripped(f"segment:n={number}-{each}", at_ms + 1_000 * each) for each in range(SEGMENTS)]
    return found + found[::-1]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealStack]:
    with RealStack(tmp_path_factory.mktemp("incidents"), with_postgres=True) as stack:
        create_topics(stack.bootstrap_servers, partitions=PARTITIONS)
        migrate(stack.database_url)
        yield stack


def rows(url: str) -> dict[str, list[tuple[object, ...]]]:
    with psycopg.connect(url) as connection:
        return {name: connection.execute(query).fetchall() for name, query in ROWS.items()}


def service_of(stack: RealStack, folder: Path, port: int) -> ServerProcess:
    return ServerProcess(
        "incident",
        [sys.executable, "-m", "ops.cli", "incident", "run"],
        is_ready=lambda: status(port, "/live") == 200,
        log_path=folder / "incident.log",
        environment={
            "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
            "FRAUD_DATABASE_URL": url_of(stack.database_url, "fraud_incident"),
            "FRAUD_INCIDENT_LOOKBACK_MINUTES": "10",
            "FRAUD_INCIDENT_PORT": str(port),
            "FRAUD_WEB_HOST": LOOPBACK,
        },
    )


def test_killed_at_any_moment_it_leaves_what_an_undisturbed_run_leaves(stack: RealStack, tmp_path: Path) -> None:
    topic, alerts = AlertTopic(stack.bootstrap_servers, ""), told()
    sealer = sealer_of(Settings(bootstrap_servers=stack.bootstrap_servers), KeyUse.DECISIONS, name="alerts.v1")
    port = free_port()
    service = service_of(stack, tmp_path, port)
    part = len(alerts) // KILLS + 1
    left_behind = set()
    for number in range(KILLS):
        topic.publish_sealed(sealer, alerts[number * part : (number + 1) * part])
        service.launch()
        if number == 0:
            _kill_before_it_commits(service, stack.database_url)
        else:
            with psycopg.connect(stack.database_url, autocommit=True) as watching:
                wait_until(partial(_is_within, watching), CAUGHT_S, "being met within a transaction", every_s=0.001)
            service.kill()
        left_behind.add(len(rows(stack.database_url)["transitions"]))
    service.start()
    wait_until(lambda: status(port, "/ready") == 200, CAUGHT_UP_S, "everything being stored")
    service.stop()
    killed = rows(stack.database_url)
    assert min(left_behind) == 0, "a transaction that was cut left nothing"
    assert {"MODEL": INCIDENTS, "AVAILABILITY": 1} == _kinds(killed)
    assert INCIDENTS * (2 + SEGMENTS) == len(killed["alerts"])

    undisturbed_url = _another_database(stack)
    with closing(topic.service(url_of(undisturbed_url, "fraud_incident"))) as undisturbed:
        caught_up(undisturbed)
    assert rows(undisturbed_url) == killed
    # And read again from the very beginning: nothing is added.
    with closing(connect(stack.database_url, "test")) as owner:
        owner.execute("SET session_replication_role = replica")
        owner.execute("DELETE FROM control.consumer_position")
    with closing(topic.service(url_of(stack.database_url, "fraud_incident"))) as again:
        caught_up(again)
    assert killed == rows(stack.database_url)


def _kill_before_it_commits(service: ServerProcess, database_url: str) -> None:
    """Kill it while its first transaction waits for a lock: between a look and the signal it might commit."""
    with (
        psycopg.connect(database_url) as holding,
        psycopg.connect(database_url, autocommit=True) as watching,
    ):
        holding.execute("LOCK TABLE control.breaker_transition IN SHARE MODE")
        wait_until(lambda: watching.execute(WAITING).fetchone() != (0,), CAUGHT_S, "waiting for the lock")
        service.kill()
        holding.rollback()
        wait_until(lambda: watching.execute(SESSIONS).fetchone() == (0,), CAUGHT_S, "the end of its session")


def _is_within(connection: psycopg.Connection[tuple[int]]) -> bool:
    return connection.execute(WITHIN).fetchone() != (0,)


def _kinds(found: dict[str, list[tuple[object, ...]]]) -> dict[str, int]:
    kinds = [str(kind) for kind, _ in found["incidents"]]
    return {kind: kinds.count(kind) for kind in set(kinds)}


def _another_database(stack: RealStack) -> str:
    with psycopg.connect(stack.database_url, autocommit=True) as owner:
        owner.execute("CREATE DATABASE undisturbed TEMPLATE template0")
    url = stack.database_url.removesuffix(POSTGRES_DATABASE) + "undisturbed"
    migrate(url)
    return url
