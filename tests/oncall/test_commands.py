"""`fraud alerts`, with the service as a process: what people see, do and try; and kill -9 in the middle."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ops.bench.alerts.sinks import Manner
from ops.bench.rig.services import alerts_process
from ops.bench.rig.waiting import wait_until
from ops.processes.servers import ServerProcess
from pipeline.io.postgres import Connection
from pipeline.oncall.store import read_latest_groups
from tests.commands import Fraud
from tests.known import appoint, settings_of
from tests.oncall.given import conflict
from tests.oncall.stand import WAIT_S, Stand

NOTE = "I look at the publisher"


@pytest.fixture
def process(stand: Stand, tmp_path: Path) -> Iterator[ServerProcess]:
    process = alerts_process(stand.servers, stand.database_url, tmp_path, stand.environment())
    process.start()
    yield process
    process.stop()


@pytest.fixture
def places(stand: Stand) -> dict[str, str]:
    return {
        "bootstrap_servers": stand.servers,
        "topic_prefix": stand.prefix,
        "database_url": stand.database_url.replace("fraud_owner@", "{role}@"),
        "alert_routes_path": str(stand.folder / "routes.toml"),
        "alert_secrets": stand.environment()["FRAUD_ALERT_SECRETS"],
        "kafka_options": stand.environment()["FRAUD_KAFKA_OPTIONS"],
    }


def test_alert_is_listed_shown_acknowledged_and_resolved(
    fraud: Fraud, stand: Stand, process: ServerProcess, places: dict[str, str], owner: Connection, tmp_path: Path
) -> None:
    appoint(owner, {"olga": "OPERATOR"})
    olga = settings_of(tmp_path, "olga")
    stand.publish(conflict())
    wait_until(lambda: bool(stand.pager.taken), WAIT_S, "the page")
    [listed] = map(json.loads, fraud("alerts", "list", "--json", **places).out.splitlines())
    assert ("TRANSACTION_ID_CONFLICT", "FIRING", 1) == (listed["code"], listed["state"], listed["alerts"])
    beginning = listed["group_id"][:8]
    assert "pager: DELIVERED" in fraud("alerts", "show", beginning, **places).out
    acked = fraud("alerts", "ack", beginning, "--reason", NOTE, **places, **olga)
    assert 0 == acked.code, acked.err
    wait_until(lambda: stand.told()["pager"]["acknowledge"] == 1, WAIT_S, "the acknowledgement")
    assert "ACKNOWLEDGED by olga" in fraud("alerts", "list", **places).out
    assert 0 == fraud("alerts", "resolve", beginning, "--reason", "mended", **places, **olga).code
    wait_until(lambda: stand.told()["pager"]["resolve"] == 1, WAIT_S, "the end")
    assert "" == fraud("alerts", "list", **places).out
    assert "RESOLVED" in fraud("alerts", "list", "--all", **places).out
    late = fraud("alerts", "ack", beginning, **places, **olga)
    assert 1 == late.code
    assert "is over already" in late.err


def test_silence_has_an_author_and_an_end(
    fraud: Fraud, stand: Stand, places: dict[str, str], owner: Connection, tmp_path: Path
) -> None:
    appoint(owner, {"olga": "OPERATOR", "rita": "REVIEWER"})
    until = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    asked = ["alerts", "silence", "--until", until, "--code", "BREAKER_*", "--reason", "a drill, planned"]
    refused = fraud(*asked, **places, **settings_of(tmp_path, "rita"))
    assert (1, True) == (refused.code, "silenced by an OPERATOR" in refused.err)
    assert 0 == fraud(*asked, **places, **settings_of(tmp_path, "olga")).code
    never = fraud(
        "alerts", "silence", "--until", until, "--code", "ALERTS_FORGED", "--reason", "it is loud here", **places
    )
    assert (True, True) == (never.code != 0, "never silenced" in never.err)
    [silence] = map(json.loads, fraud("alerts", "silences", "--json", **places).out.splitlines())
    assert ("olga", "BREAKER_*", "a drill, planned") == tuple(
        silence[name] for name in ("silenced_by", "code", "reason")
    )
    assert 0 == fraud("alerts", "unsilence", silence["silence_id"], **places).code
    assert "" == fraud("alerts", "silences", **places).out
    assert 1 == fraud("alerts", "unsilence", silence["silence_id"], **places).code


@pytest.mark.parametrize("group", ["%", "' OR 1=1", "ffffffff"])
def test_group_that_isn_t_there_is_named(fraud: Fraud, places: dict[str, str], group: str) -> None:
    answer = fraud("alerts", "show", group, **places)
    assert 2 == answer.code
    assert "group" in answer.err.lower()


def test_trial_says_which_sink_has_not_taken_it(
    fraud: Fraud, stand: Stand, process: ServerProcess, places: dict[str, str]
) -> None:
    tried = fraud("alerts", "test", "--severity", "CRITICAL", "--json", **places)
    assert 0 == tried.code, tried.err
    assert {"DELIVERED"} == {json.loads(line)["end"] for line in tried.out.splitlines()}
    stand.hook.behave(Manner.GONE_410)
    again = fraud("alerts", "test", **places)
    assert 1 == again.code
    assert "WRONG hook: REFUSED" in again.out
    wait_until(lambda: stand.told()["pager"]["resolve"] >= 1, WAIT_S, "the test's end")


def test_killed_service_goes_on_where_it_stood(stand: Stand, process: ServerProcess, owner: Connection) -> None:
    for number in range(6):
        stand.publish(*(conflict(each) for each in range(50 * number, 50 * number + 50)))
        process.kill()
        process.start()
    wait_until(lambda: bool(read_latest_groups(owner, 9)), WAIT_S, "the group")
    wait_until(lambda: read_latest_groups(owner, 9)[0].records == 300, WAIT_S, "all alerts")
    wait_until(lambda: bool(stand.hook.taken), WAIT_S, "the message")
    assert 1 == len(read_latest_groups(owner, 9))
    ids = [each.headers["webhook-id"] for each in stand.hook.taken]
    assert len(set(ids)) <= 3, "at 1, 10 and 100"
