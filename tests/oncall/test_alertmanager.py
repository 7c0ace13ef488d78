"""Against a real Alertmanager (Debian's prometheus-alertmanager): what fires is one alert, and is over when it is."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.bench.rig.services import status
from ops.processes.servers import ServerProcess, free_port
from pipeline.io.clock import now_ms
from pipeline.io.postgres import Connection
from pipeline.oncall.groups import State
from pipeline.oncall.outbox import Answer
from pipeline.oncall.sinks.kinds_client import Alertmanager, client_of
from pipeline.oncall.sinks.rendering import Setting, alertmanager_alert
from pipeline.oncall.store import read_latest_groups
from tests.oncall.given import good, message, routes, routes_text, trip
from tests.oncall.stand import Stand
from tests.records import NOON_MS

pytestmark = pytest.mark.real
PROGRAM = "prometheus-alertmanager"


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[str]:
    """Its address."""
    program = shutil.which(PROGRAM)
    if program is None:
        assert os.environ.get("CI") != "true", f"{PROGRAM} is needed: .ci/run installs it"
        pytest.skip(f"{PROGRAM} is not installed: apt-get install {PROGRAM}")
    (tmp_path / "alertmanager.yml").write_text("route: {receiver: none}\nreceivers: [{name: none}]\n")
    port = free_port()
    process = ServerProcess(
        "Alertmanager",
        [
            program,
            f"--config.file={tmp_path / 'alertmanager.yml'}",
            f"--storage.path={tmp_path / 'manager'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ],
        is_ready=lambda: status(port, "/-/ready") == 200,
        log_path=tmp_path / "alertmanager.log",
    )
    process.start()
    yield f"http://127.0.0.1:{port}"
    process.stop()


def firing(address: str) -> list[dict[str, Any]]:
    with urllib.request.urlopen(f"{address}/api/v2/alerts", timeout=120) as answer:
        return [each for each in json.load(answer) if each["status"]["state"] == "active"]


def test_what_fires_is_one_alert_until_it_is_over(manager: str, stand: Stand, owner: Connection) -> None:
    addresses = stand.pager.url, manager, stand.slack.url, f"{stand.hook.url}/hook", stand.mail.address
    text = routes_text(*addresses, sinks='"alertmanager", "hook"').replace("version = 1", "version = 1\nresend_s = 1.0")
    (stand.folder / "routes.toml").write_text(text)
    stand.publish(trip())
    with stand.service() as service:
        stand.run(service, lambda: len(firing(manager)) == 1)
        [alert] = firing(manager)
        assert ("BREAKER_TRIP", "CRITICAL") == (alert["labels"]["alertname"], alert["labels"]["severity"])
        assert alert["annotations"]["runbook_url"].endswith("/BREAKER_TRIP.md")
        updated = alert["updatedAt"]
        stand.run(service, lambda: [each["updatedAt"] for each in firing(manager)] > [updated], "it is told again")
        assert 1 == len(firing(manager))
        stand.publish(good(at_ms=NOON_MS + 1))
        stand.run(service, lambda: "BREAKER_TRIP" not in {each["labels"]["alertname"] for each in firing(manager)})
        stand.run(service, lambda: read_latest_groups(owner, 9)[-1].state is State.RESOLVED)
        stand.turns(service, 30)
    assert "BREAKER_TRIP" not in {each["labels"]["alertname"] for each in firing(manager)}, "it stays over"


def test_heartbeat_is_an_alert_that_always_fires(manager: str) -> None:
    at = routes(routes_text(manager=manager))
    assert Answer.DELIVERED is client_of(at.sinks["alertmanager"], at).beat(60_000).answer
    assert ["ALERTS_HEARTBEAT"] == [each["labels"]["alertname"] for each in firing(manager)]


def test_code_that_somebody_made_up_has_nothing_else_refused(manager: str) -> None:
    """One forged record, which stays open, and what truly fired was told again no more, so it ended after a day."""
    at = routes(routes_text(manager=manager))
    client, setting = client_of(at.sinks["alertmanager"], at), Setting(at.source, at.runbook_of("100% OFF"), False)
    assert isinstance(client, Alertmanager)
    made_up, true = message(sink="alertmanager", code="100% OFF"), message(sink="alertmanager", code="BREAKER_TRIP")
    alerts = [alertmanager_alert(each, setting, now_ms() + 10**6) for each in (made_up, true)]
    assert Answer.DELIVERED is client.post_alerts(alerts).answer
    assert {"100% OFF", "BREAKER_TRIP"} == {each["labels"]["alertname"] for each in firing(manager)}
