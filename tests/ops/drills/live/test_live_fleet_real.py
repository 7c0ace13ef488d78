"""A drill on the live breaker of a deployment with several workers, on Apache Kafka: each of them takes part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from ops.bench.rig.waiting import wait_until
from ops.drills.live.live_report import carry_out_live
from ops.drills.live.live_run import LiveAsked
from ops.stack.real import RealStack
from pipeline.domain.decision import Decision
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection
from pipeline.people.act_store import registry_acts
from pipeline.people.people_files import write_people
from tests.known import appoint, identity
from tests.ops.drills.live.test_live_drill import OPEN_S, WARM_S, WIRE, Deployment, consented

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
WORKERS = 3
PARTITIONS = 6
WAIT_S = 120.0
STATES = {"CLOSED", "OPEN", "HALF_OPEN"}


def states_decided(deployment: Deployment) -> dict[int, set[str]]:
    """Return the states of the breaker under which each partition's payments were decided, as its worker wrote them."""
    found: dict[int, set[str]] = {partition: set() for partition in range(PARTITIONS)}
    with LogReader.of(deployment.settings) as log:
        for record in log.read_all(deployment.settings.topic("decisions.v1")):
            decision = WIRE.decode_decision_record(record.value)
            assert isinstance(decision, Decision)
            found[decision.source_partition].add(str(decision.breaker_state))
    return found


def page(port: int, path: str) -> str:
    """Return a page, also that of a worker which isn't ready."""
    connection = HTTPConnection("127.0.0.1", port, timeout=120)
    with closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read().decode()


def by_fallback(port: int) -> float:
    """Return how many payments a worker has decided by the fallback's rules."""
    lines = page(port, "/metrics").splitlines()
    return sum(
        float(line.split()[1])
        for line in lines
        if line.startswith("fraud_decisions_total{") and 'route="FALLBACK"' in line
    )


@pytest.fixture
def fleet(database_url: str, owner: Connection, tmp_path: Path) -> Iterator[Deployment]:
    appoint(owner, {"ann": "OPERATOR", "bob": "OPERATOR"})
    write_people(tmp_path / "people.jsonl", registry_acts(owner))
    with RealStack(tmp_path / "stack") as stack:
        made = Deployment(stack, database_url, tmp_path, workers=WORKERS, partitions=PARTITIONS)
        try:
            made.start()
            yield made
        finally:
            made.stop()


def test_every_worker_takes_the_model_out_of_the_loop_and_back_by_itself(
    fleet: Deployment, database_url: str, tmp_path: Path
) -> None:
    consented(database_url, "0a1b2c3d")
    asked, said = LiveAsked("slow-model", "0a1b2c3d", identity("ann"), WARM_S), list[str]()
    before = [by_fallback(port) for port in fleet.ports]
    report = carry_out_live(asked, fleet.settings, tmp_path / "reports", said.append).report
    figures = {each["measure"]: each["figure"] for each in report["findings"]}
    course = "\n".join([*(each["what"] for each in report["moments"]), *report["faults"]])
    assert figures["trip_s"] is not None, course
    assert 0 < figures["trip_s"] < OPEN_S, course
    assert figures["recover_s"] is not None, course
    wait_until(lambda: all(STATES <= found for found in states_decided(fleet).values()), WAIT_S, "each worker's part")
    assert all(by_fallback(port) > decided for port, decided in zip(fleet.ports, before, strict=True))
    assert fleet.state() == "CLOSED"
