"""Every panel of every board shows something of a pipeline at work, and what it shows is so: `pytest -m real`."""

from __future__ import annotations

import math
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.bench.rig.waiting import wait_until
from ops.monitoring.boards import BOARDS
from ops.processes.servers import LOOPBACK
from tests.ops.monitoring.scene import Scraped, scraped_pipeline

pytestmark = [
    pytest.mark.real,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs Prometheus: apt-get install prometheus"),
]

WAIT_S = 120.0
QUERIES = [
    pytest.param(line.query, id=f"{board.name}: {panel.title}: {line.legend}")
    for board in BOARDS
    for panel in board.panels
    for line in panel.lines
]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    with scraped_pipeline(tmp_path_factory.mktemp("scraped")) as everything:
        yield everything


def _numbers(scraped: Scraped, query: str) -> list[float]:
    return [each.value for each in scraped.prometheus.query(query) if not math.isnan(each.value)]


@pytest.mark.parametrize("query", QUERIES)
def test_panel_shows_numbers(scraped: Scraped, query: str) -> None:
    wait_until(lambda: bool(_numbers(scraped, query)), WAIT_S, query)


def test_every_process_is_scraped_and_ready(scraped: Scraped) -> None:
    wait_until(lambda: _numbers(scraped, "sum(fraud_ready)") == [len(scraped.ports)], WAIT_S, "being ready")
    assert [len(scraped.ports)] == _numbers(scraped, "sum(up)")
    assert [len(scraped.ports)] == _numbers(scraped, "count(process_start_time_seconds)"), "PROCESS_DOWN counts starts"
    assert [0] == _numbers(scraped, "fraud:unavailable:ratio")


# What counters say since their process began, which here is all that ever happened, and what the tables say.
TOTALS = {
    'sum(fraud_money_moved_minor_total{step="CREDIT"})': (
        "SELECT sum(amount_minor) FROM ledger.posting WHERE step = 'CREDIT'"
    ),
    'sum(fraud_money_moved_minor_total{step=~"RECALL|RECALL_PART"})': (
        "SELECT sum(amount_minor) FROM ledger.posting WHERE step IN ('RECALL', 'RECALL_PART')"
    ),
    "sum(fraud_money_missing_minor_total)": "SELECT sum(missing_minor) FROM ledger.recovery_case",
    "sum(fraud_money_held_minor)": (
        "SELECT sum(amount_minor) FROM review.case_under_way WHERE kind NOT IN ('DECIDED', 'EXPIRED')"
    ),
    'sum(fraud_review_seconds_count{by="person"})': (
        "SELECT count(*) FROM review.case_event decided JOIN review.case_event ended USING (decision_id, round)"
        " WHERE decided.kind = 'DECIDED' AND ended.kind = 'PUBLISHED'"
    ),
    "sum(fraud_decisions_total)": "SELECT count(*) FROM audit.ai_decision_log",
    'sum(fraud_decisions_total{outcome="ESCALATE"})': (
        "SELECT count(*) FROM audit.ai_decision_log WHERE decision = 'ESCALATE'"
    ),
    "sum(fraud_decided_amount_minor_total)": (
        "SELECT sum((input_snapshot -> 'transaction' ->> 'amount_minor')::bigint) FROM audit.ai_decision_log"
    ),
    "sum(fraud_labels_total)": "SELECT 200",
}


@pytest.mark.parametrize("query", TOTALS)
def test_metrics_say_what_the_tables_say(scraped: Scraped, query: str) -> None:
    def agree() -> bool:
        [(stored,)] = scraped.stage.rows(TOTALS[query])
        return _numbers(scraped, query) == [float(stored)]

    wait_until(agree, WAIT_S, query)


def test_labels_find_fraud_caught_and_missed_and_honest_customers_troubled(scraped: Scraped) -> None:
    def verdicts() -> set[str]:
        return {
            each.labels["verdict"] for each in scraped.prometheus.query("sum by (verdict) (fraud_labels_total) > 0")
        }

    wait_until(lambda: verdicts() == {"CAUGHT", "MISSED", "FALSE_POSITIVE", "RIGHTLY_ALLOWED"}, WAIT_S, "verdicts")


def test_no_alert_fires_but_those_that_should(scraped: Scraped) -> None:
    """A reviewer's queue that nobody could work off, and decisions of records that were published all at once."""
    firing = {each.labels["alertname"] for each in scraped.prometheus.query('ALERTS{alertstate="firing"}')}
    assert "ALERTING_ALIVE" in firing
    assert firing <= {"ALERTING_ALIVE", "ESCALATIONS_OVER_CAPACITY", "DECISIONS_SLOW", "DECISIONS_UNAVAILABLE"}


@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text;version=1.0.0"])
def test_promtool_finds_no_fault_in_what_processes_expose(scraped: Scraped, accept: str, tmp_path: Path) -> None:
    for name, port in scraped.ports.items():
        request = urllib.request.Request(f"http://{LOOPBACK}:{port}/metrics", headers={"Accept": accept})
        with urllib.request.urlopen(request, timeout=WAIT_S) as answer:
            page = answer.read()
        assert page, name
        if accept == "text/plain":
            checked = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, check=False)
            ours = [line for line in checked.stderr.decode().splitlines() if line.startswith("fraud_")]
            assert ours == [], name


def test_a_killed_worker_is_unavailability_and_not_silence(scraped: Scraped) -> None:
    """Last, because it ends the worker: where nothing is said about partitions, nobody has them."""
    scraped.stage.worker.kill()
    wait_until(lambda: _numbers(scraped, "fraud:unavailable:ratio") == [1], WAIT_S, "noticing")
