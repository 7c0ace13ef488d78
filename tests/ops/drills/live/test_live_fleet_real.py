"""A drill on the live breaker of a deployment with several workers, on Apache Kafka: each of them takes part."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from ops.drills.live.live_report import carry_out_live
from ops.drills.live.live_run import LiveAsked
from ops.stack.real import RealStack
from pipeline.io.postgres import Connection
from pipeline.people.act_store import registry_acts
from pipeline.people.people_files import write_people
from tests.known import appoint, identity
from tests.ops.drills.live.test_live_drill import WARM_S, Deployment, consented

pytestmark = [pytest.mark.real, pytest.mark.timeout(400)]
WORKERS = 3
PARTITIONS = 6
LOOK_S = 0.2


class Witness:
    """What each worker itself says of the breaker, and how many payments it decided by which route."""

    def __init__(self, ports: list[int]) -> None:
        self.states: dict[int, set[str]] = {port: set() for port in ports}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            for port, found in self.states.items():
                found.add(json.loads(page(port, "/ready"))["breaker"].get("all", "nothing read yet"))


def page(port: int, path: str) -> str:
    """Return a page, also that of a worker which isn't ready."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
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
    with Witness(fleet.ports) as witness:
        report = carry_out_live(asked, fleet.settings, tmp_path / "reports", said.append).report
        time.sleep(2 * LOOK_S)  # each worker is looked at once more behind the end
    figures = {each["measure"]: each["figure"] for each in report["findings"]}
    course = "\n".join([*(each["what"] for each in report["moments"]), *report["faults"]])
    assert figures["trip_s"] is not None, course
    assert figures["trip_s"] <= 5, course
    assert figures["recover_s"] is not None, course
    assert all({"CLOSED", "OPEN", "HALF_OPEN"} <= found for found in witness.states.values()), witness.states
    assert all(by_fallback(port) > decided for port, decided in zip(fleet.ports, before, strict=True))
    assert fleet.state() == "CLOSED"
