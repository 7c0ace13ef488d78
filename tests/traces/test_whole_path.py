"""One payment's whole path, put together again from what a collector received: publisher to settlement, by a person."""

from __future__ import annotations

import csv
import json
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from ops.bench.rig.collector import Collector, Received, running_collector
from ops.bench.rig.commands import completed, with_settings
from ops.bench.rig.database import append_all, prepare_database
from ops.bench.rig.evidence import whole_lines
from ops.bench.rig.services import audit_process, executor_process, review_process, url_of, worker_process
from ops.bench.rig.supervision import running
from ops.bench.rig.topics_io import prepare_topics
from ops.bench.rig.waiting import wait_until
from ops.processes.people import People, appointed
from ops.processes.servers import LOOPBACK, free_port
from ops.rail.process import rail_process, rail_url
from ops.stack.embedded import EmbeddedStack
from ops.stack.real import RealStack
from ops.stack.topics import create_topics
from pipeline.domain.payment import Transaction
from pipeline.execute.references import Opening
from pipeline.io.clock import now_ms
from pipeline.io.postgres import connect
from pipeline.people.roles import Role
from tests.records import PAYMENT

WAIT_S = 120.0
OPEN_METRICS = "application/openmetrics-text;version=1.0.0"
COMMAND_S = 120.0
ESCALATED = PAYMENT._replace(amount_minor=600_000, transaction_id="tx-escalated")
"""A new payee of more than 5,000 GBP: a person decides, alone below 10,000."""
BLOCKED = PAYMENT._replace(beneficiary_country="KP", transaction_id="tx-blocked")


def midday_zone(at_ms: int) -> str:
    hours_to_midday = 12 - at_ms // 3_600_000 % 24
    return f"Etc/GMT{-hours_to_midday:+d}"  # east of Greenwich is negative in these names


class Scene(NamedTuple):
    directory: Path
    collector: Collector
    environment: dict[str, str]
    database_url: str
    people: People
    worker_port: int

    def fraud(self, *arguments: str, **settings: str) -> list[dict]:
        environment = with_settings({**self.environment, **settings})
        command = [sys.executable, "-m", "ops.cli", *arguments, "--json"]
        done = completed(command, self.directory / "commands.log", timeout_s=COMMAND_S, environment=environment)
        assert 0 == done.returncode, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def publish(self, payments: list[Transaction], share: str) -> None:
        path = self.directory / "payments.csv"
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, Transaction._fields)
            writer.writeheader()
            for payment in payments:
                writer.writerow({**payment._asdict(), "segments": json.dumps(dict(payment.segments))})
        self.fraud("payments", "publish", str(path), "--now", FRAUD_TRACE_SHARE=share)

    def await_span(self, name: str, trace_id: str, **attributes: str) -> Received:
        def found() -> Received | None:
            for span in self.collector.of_trace(trace_id):
                if span.name == name and attributes.items() <= span.attributes.items():
                    return span
            return None

        wait_until(lambda: found() is not None, WAIT_S, f"{name} of {trace_id}")
        span = found()
        assert span is not None
        return span


@pytest.fixture(params=["embedded", pytest.param("real", marks=pytest.mark.real)])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EmbeddedStack | RealStack]:
    if request.param == "real":
        with RealStack(tmp_path / "stack", with_postgres=True) as stack:
            prepare_topics(stack.bootstrap_servers, "")
            yield stack
    else:
        with EmbeddedStack(tmp_path / "stack", with_postgres=True) as stack:
            create_topics(stack.bootstrap_servers)
            yield stack


@contextmanager
def scene_of(stack: EmbeddedStack | RealStack, folder: Path) -> Iterator[Scene]:
    with running_collector() as collector:
        prepare_database(stack, folder)
        with closing(connect(stack.database_url, "test")) as owner:
            people = appointed(owner, folder / "people", [("rita", Role.REVIEWER)])
        append_all(stack.database_url, [Opening(PAYMENT.account_id, "GBP", 0, 100_000_000)], now_ms())
        shared = {
            "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
            "FRAUD_SEAL_DIRECTORY": str(folder / "seals"),
            "FRAUD_OTLP_ENDPOINT": collector.address,
            "FRAUD_TRACE_SHARE": "0",
        }
        port, servers, database = free_port(), stack.bootstrap_servers, stack.database_url
        worker = worker_process(folder, servers, stack.redis_url, environment=shared)
        services = (
            rail_process(folder / "rail", port, otlp_endpoint=collector.address),
            worker,
            executor_process(folder, servers, database, rail_url(port), environment=shared),
            audit_process(stack, folder, shared),
            review_process(stack, folder, shared),
        )
        with running(*services):
            yield Scene(folder, collector, shared, database, people, int(worker.environment["FRAUD_WEB_PORT"]))


@pytest.mark.timeout(900)
def test_the_whole_path_of_a_payment_can_be_told(stack: EmbeddedStack | RealStack, tmp_path: Path) -> None:
    with ExitStack() as held:
        scene = held.enter_context(scene_of(stack, tmp_path))
        at_ms = now_ms() - 2_000
        timed = {"event_time_ms": at_ms, "account_time_zone": midday_zone(at_ms)}
        scene.publish([ESCALATED._replace(**timed)], share="1")
        wait_until(lambda: bool(named(scene, "send transactions.v1")), WAIT_S, "the publisher's span")
        [sent] = named(scene, "send transactions.v1")
        trace = sent.trace_id
        held_at = scene.await_span("execute decisions.v1", trace)
        decided = scene.await_span("decide transactions.v1", trace)
        decision_id = str(decided.attributes["fraud.decision_id"])
        decide_case(scene, trace, decision_id)
        settled = scene.await_span("execute decisions.v1", trace, **{"fraud.execution_state": "SETTLED"})
        paid = scene.await_span("POST /v1/transfers", trace)
        wait_until(lambda: bool(of_the_rail(scene, trace)), WAIT_S, "the rail's span")
        [rail, *_] = of_the_rail(scene, trace)

        # From the publisher to the case: each is the child of the one before.
        audited = scene.await_span("audit decisions.v1", trace)
        heard = scene.await_span("review decisions.v1", trace)
        outcome = scene.await_span("send decisions.v1", trace)
        assert ("", "PRODUCER") == (sent.parent_id, sent.kind)
        assert sent.span_id == decided.parent_id
        assert {decided.span_id} == {audited.parent_id, heard.parent_id, held_at.parent_id, outcome.parent_id}
        assert "ESCALATE" == decided.attributes["fraud.outcome"]
        # From the person's decision to the rail.
        assert (outcome.span_id, settled.span_id, paid.span_id) == (settled.parent_id, paid.parent_id, rail.parent_id)
        assert (200, 200) == tuple(span.attributes["http.response.status_code"] for span in (paid, rail))
        services = {span.service.removeprefix("fraud-") for span in scene.collector.of_trace(trace)}  # all awaited
        assert {"publisher", "worker", "audit", "review", "executor", "rail"} == services
        # The batches: each links what is traced of it, and is linked by it.
        wait_until(lambda: bool(batches_of(scene, sent)), WAIT_S, "the batch's span")
        [batch] = batches_of(scene, sent)
        assert ((batch.trace_id, batch.span_id),) == decided.links
        assert 1 == batch.attributes["messaging.batch.message_count"]
        wait_until(lambda: len(below(scene, batch)) >= 3, WAIT_S, "the spans of the batch's steps")
        assert {"observe", "judge", "commit"} == below(scene, batch)
        told(scene, trace, decision_id)
        assert exemplars(scene) == {batch.trace_id}, (
            "a bar of the histogram leads to the batch, and by it to the payment"
        )

        # Nobody traced this one; it blocks, so the worker does, in the trace that its decision's id gives.
        scene.publish([BLOCKED._replace(**timed)], share="0")
        wait_until(lambda: bool(blocked(scene)), WAIT_S, "what was blocked")
        [span] = blocked(scene)
        assert span.trace_id == str(span.attributes["fraud.decision_id"]).replace("-", "")
        assert span.span_id == scene.await_span("execute decisions.v1", span.trace_id).parent_id
        assert span.span_id == scene.await_span("audit decisions.v1", span.trace_id).parent_id
        # No attribute, name or link says who pays whom, or how much (I10).
        for said in map(repr, scene.collector.spans):
            for private in (PAYMENT.account_id, PAYMENT.beneficiary_account_id, PAYMENT.beneficiary_name, "600000"):
                assert private not in said
            assert PAYMENT.reference not in said
            assert "tx-" not in said


def told(scene: Scene, trace: str, decision_id: str) -> None:
    """The command that explains a payment names its trace, and log lines bear the trace of their batch."""
    reader = {"FRAUD_DATABASE_URL": url_of(scene.database_url, "fraud_reader")}
    audit = {"FRAUD_AUDIT_DIRECTORY": str(scene.directory / "outside")}
    [explained] = scene.fraud("explain", decision_id, **reader, **audit)
    assert trace == explained["trace"]["trace_id"]
    for name, event in (("worker-0", "batch_committed"), ("executor-0", "batch_executed")):
        written = whole_lines(scene.directory / f"{name}.log")
        lines = [json.loads(line) for line in written if f'"{event}"' in line and '"trace_id"' in line]
        assert lines
        said = {(line["trace_id"], line["span_id"]) for line in lines}
        wait_until(lambda said=said: said <= traced(scene), WAIT_S, "the spans that log lines name")


def traced(scene: Scene) -> set[tuple[str, str]]:
    return {(span.trace_id, span.span_id) for span in scene.collector.spans}


def of_the_rail(scene: Scene, trace: str) -> list[Received]:
    return [span for span in scene.collector.of_trace(trace) if span.kind == "SERVER"]


def batches_of(scene: Scene, sent: Received) -> list[Received]:
    return [span for span in named(scene, "process transactions.v1") if (sent.trace_id, sent.span_id) in span.links]


def below(scene: Scene, batch: Received) -> set[str]:
    return {span.name for span in scene.collector.spans if span.parent_id == batch.span_id}


def exemplars(scene: Scene) -> set[str]:
    """Return the traces that the worker's page names beside the ages of decisions."""
    asked = urllib.request.Request(f"http://{LOOPBACK}:{scene.worker_port}/metrics", headers={"Accept": OPEN_METRICS})
    with urllib.request.urlopen(asked, timeout=COMMAND_S) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        [ages] = [family for family in families if family.name == "fraud_decision_age_seconds"]
    return {sample.exemplar.labels["trace_id"] for sample in ages.samples if sample.exemplar is not None}


def decide_case(scene: Scene, trace: str, decision_id: str) -> None:
    person = {"FRAUD_DATABASE_URL": url_of(scene.database_url, "fraud_review"), **scene.people.environment("rita")}
    scene.await_span("review decisions.v1", trace)
    scene.fraud("review", "claim", decision_id, **person)
    scene.fraud("review", "decide", decision_id, "ALLOW", "--reason", "The customer was called.", **person)


def named(scene: Scene, name: str) -> list[Received]:
    return [span for span in scene.collector.spans if span.name == name]


def blocked(scene: Scene) -> list[Received]:
    decided = named(scene, "decide transactions.v1")
    return [span for span in decided if span.attributes.get("fraud.outcome") == "BLOCK"]
