"""The whole pipeline on the real stack, with people at work, a model that was wrong, labels, and a Prometheus."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ops.bench.rig.publisher import publish
from ops.bench.rig.services import alerts_process, status, url_of, witness_process
from ops.bench.rig.supervision import running
from ops.bench.rig.topics_io import Outbound
from ops.bench.rig.waiting import wait_until
from ops.bench.rollback.people import REVIEWER, Reviewing
from ops.bench.rollback.rollback import Act
from ops.bench.rollback.scene import Stage, open_stage
from ops.monitoring.server import Prometheus
from ops.processes.servers import ServerProcess, free_port
from pipeline.domain.context import Label
from pipeline.io.avro.wire import WireFormat
from pipeline.io.clock import now_ms

WRONG = 900
"""Decisions of the wrong model: enough for some recalls that the rail refuses."""
REVIEWED_MIN = 5
LABELS = 200
LEFT_MIN = 20
"""Cases that are left for others, so that money is held."""
WAIT_S = 120.0
PORTS = {
    "worker": "FRAUD_WEB_PORT",
    "audit": "FRAUD_AUDIT_PORT",
    "executor": "FRAUD_EXECUTOR_PORT",
    "review": "FRAUD_REVIEW_PORT",
    "reconcile": "FRAUD_RECONCILE_PORT",
    "witness": "FRAUD_WITNESS_PORT",
    "incident": "FRAUD_INCIDENT_PORT",
    "bias": "FRAUD_BIAS_PORT",
    "alerts": "FRAUD_ALERTS_PORT",
    "shadow": "FRAUD_SHADOW_PORT",
}


class Scraped(NamedTuple):
    """A pipeline that stands still but for `act`, and the Prometheus that has scraped all of it."""

    stage: Stage
    act: Act
    prometheus: Prometheus
    ports: dict[str, int]


@contextmanager
def scraped_pipeline(directory: Path) -> Iterator[Scraped]:
    """Start everything, let everything happen that a board shows, and end everything on leaving."""
    with open_stage(directory) as stage:
        witness, reconcile = witness_process(stage.stack, directory), _process(stage, "reconcile")
        incident, bias = _process(stage, "incident"), _process(stage, "bias")
        shadow = _process(stage, "shadow")  # no challenger is named
        # Its only sink is an Alertmanager that isn't there, which is no reason not to be ready.
        alerts = alerts_process(stage.stack.bootstrap_servers, stage.stack.database_url, directory, {})
        with running(witness, reconcile, incident, bias, alerts, shadow):
            processes = {
                "worker": stage.worker,
                "audit": stage.audit,
                "executor": stage.executor,
                "review": stage.review,
                "reconcile": reconcile,
                "witness": witness,
                "incident": incident,
                "bias": bias,
                "alerts": alerts,
                "shadow": shadow,
            }
            ports = {name: int(process.environment[PORTS[name]]) for name, process in processes.items()}
            prometheus = Prometheus(directory / "prometheus", ports)
            with running(prometheus.process):
                act = Act(lambda line: print(line, file=sys.stderr), stage)
                _happen(stage, act)
                yield Scraped(stage, act, prometheus, ports)


def _happen(stage: Stage, act: Act) -> None:
    reviewing = Reviewing(stage.stack, stage.people[REVIEWER])
    act.go_wrong(WRONG)
    plan = act.plan()
    stage.answer("apply", plan["plan_id"], "--rate", "500")
    with reviewing.ending():
        reviewing.start()
        wait_until(lambda: reviewing.decided >= REVIEWED_MIN, WAIT_S, "reviewing")
    act.rest()
    publish(stage.stack.bootstrap_servers, "labels.v1", _labels(stage))


def _labels(stage: Stage) -> Iterator[Outbound]:
    """One in three payments of each outcome is fraud."""
    wire = WireFormat()
    rows = stage.rows(
        "SELECT transaction_id, account_id, input_snapshot -> 'transaction' ->> 'beneficiary_account_id',"
        " (input_snapshot -> 'transaction' ->> 'event_time_ms')::bigint, row_number() OVER (PARTITION BY decision)"
        " FROM audit.ai_decision_log ORDER BY 5 LIMIT %s",
        [LABELS],
    )
    for transaction_id, account_id, beneficiary, event_time_ms, number in rows:
        label = Label(transaction_id, account_id, beneficiary, event_time_ms, number % 3 == 0, now_ms(), "an analyst")
        yield Outbound(beneficiary.encode(), wire.encode(label), now_ms())


def _process(stage: Stage, name: str) -> ServerProcess:
    """Make a service of that name, in its own role."""
    port = free_port()
    return ServerProcess(
        name,
        [sys.executable, "-P", "-m", "ops.cli", name, "run"],
        is_ready=lambda: status(port, "/live") == 200,
        log_path=stage.directory / f"{name}.log",
        environment={
            **stage.environment,
            "FRAUD_DATABASE_URL": url_of(stage.stack.database_url, f"fraud_{name}"),
            PORTS[name]: str(port),
        },
    )
