"""A drill on the live breaker, with a worker process and payments, on the embedded servers."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis
from confluent_kafka import Producer

from ops.bench.rig.services import status
from ops.bench.rig.waiting import wait_until
from ops.demo.scene import short_windows, with_short_windows
from ops.drills.live import live_run
from ops.drills.live.live_report import carry_out_live
from ops.drills.live.live_run import LiveAsked
from ops.processes.servers import ServerProcess, free_port
from ops.stack.embedded import EmbeddedStack
from ops.stack.real import RealStack
from ops.stack.topics import create_topics
from pipeline.drills.consent_store import append_consent, append_proposal, read_live_drills
from pipeline.drills.consents import LiveDrill
from pipeline.io.avro.wire import WireFormat
from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, connect
from pipeline.io.settings import Settings
from pipeline.people.act_store import registry_acts
from pipeline.people.people_files import write_people
from pipeline.terminal.failures import Failure
from tests.known import appoint, identity
from tests.records import PAYMENT, POLICY_PATH
from tests.servers import unused_prefix, url_as

pytestmark = pytest.mark.timeout(900)
WIRE = WireFormat()
RATE = 40
OPEN_S = 30
WARM_S = 6.0
MINUTE_MS = 60_000
REASON = "the quarterly drill of the fourth quarter"


class Deployment:
    """Workers and their payments, in names of their own."""

    def __init__(
        self,
        stack: EmbeddedStack | RealStack,
        database_url: str,
        folder: Path,
        *,
        workers: int = 1,
        partitions: int = 4,
    ) -> None:
        prefix, self.ports = unused_prefix(), [free_port() for _ in range(workers)]
        policy = folder / "policy.toml"
        policy.write_text(with_short_windows(POLICY_PATH.read_text("utf-8"), short_windows(RATE), "live"), "utf-8")
        self.settings = Settings(
            bootstrap_servers=stack.bootstrap_servers,
            redis_url=stack.redis_url,
            database_url=database_url,
            topic_prefix=prefix,
            state_prefix=prefix,
            consumer_group=prefix,
            policy_path=policy,
            people_file=folder / "people.jsonl",
        )
        create_topics(stack.bootstrap_servers, prefix=prefix, partitions=partitions)
        names = ("bootstrap_servers", "redis_url", "topic_prefix", "state_prefix", "consumer_group")
        environment = {f"FRAUD_{name.upper()}": str(getattr(self.settings, name)) for name in names}
        environment |= {"FRAUD_PEOPLE_FILE": str(folder / "people.jsonl"), "FRAUD_POLICY_PATH": str(policy)}
        self.workers = [
            ServerProcess(
                f"worker-{slot}",
                [sys.executable, "-m", "ops.cli", "worker", "run"],
                is_ready=partial(_is_ready, port),
                log_path=folder / f"worker-{slot}.log",
                environment={**environment, "FRAUD_WEB_PORT": str(port), "FRAUD_WORKER_SLOT": str(slot)},
            )
            for slot, port in enumerate(self.ports)
        ]
        self._stopping = threading.Event()
        self._payments = threading.Thread(target=self._pay, daemon=True)
        self._producer = Producer(
            {"bootstrap.servers": stack.bootstrap_servers, "log_level": 2, "partitioner": "consistent"}
        )
        self.redis: Any = redis.Redis.from_url(stack.redis_url)

    def start(self) -> None:
        for worker in self.workers:
            worker.start()
        self._payments.start()
        wait_until(lambda: self.state() == "CLOSED", 180, "the breaker being closed", every_s=0.2)

    def stop(self) -> None:
        self._stopping.set()
        if self._payments.is_alive():
            self._payments.join()
        for worker in self.workers:
            worker.stop()
        self.redis.close()

    def state(self, scope: str = "all") -> str | None:
        stored = self.redis.hget(f"{self.settings.state_prefix}:{{breaker}}:states", scope)
        return None if stored is None else str(json.loads(stored)["state"])

    def _pay(self) -> None:
        number = 0
        while not self._stopping.wait(1 / RATE):
            number += 1
            at_ms = int(time.time() * 1000)
            # Each by an account of its own: none of them is held back for what it did before.
            payment = PAYMENT._replace(
                transaction_id=f"tx-{number}",
                account_id=f"GB29-{number:06d}",
                beneficiary_account_id=f"FR76-{number:06d}",
                event_time_ms=at_ms,
            )
            key, value = payment.account_id.encode(), WIRE.encode_transaction(payment)
            self._producer.produce(self.settings.topic("transactions.v1"), value, key)
            self._producer.poll(0)
        self._producer.flush(120)


def _is_ready(port: int) -> bool:
    return status(port, "/ready") == 200


@pytest.fixture
def deployment(stack: EmbeddedStack, database_url: str, owner: Connection, tmp_path: Path) -> Iterator[Deployment]:
    appoint(owner, {"ann": "OPERATOR", "bob": "OPERATOR"})
    write_people(tmp_path / "people.jsonl", registry_acts(owner))
    made = Deployment(stack, database_url, tmp_path)
    made.start()
    yield made
    made.stop()


def consented(database_url: str, drill_id: str, **changed: object) -> LiveDrill:
    with closing(connect(url_as(database_url, "fraud_oncall"), "test")) as people:
        now_ms = server_now_ms(people)
        live = LiveDrill(drill_id, "slow-model", "all", OPEN_S, now_ms - MINUTE_MS, now_ms + 5 * MINUTE_MS, "x", REASON)
        live = live._replace(**changed)
        append_proposal(people, live, identity("ann"))
        append_consent(people, live, identity("bob"))
        return live


def test_the_live_breaker_opens_everywhere_and_closes_by_itself(
    deployment: Deployment, database_url: str, owner: Connection, tmp_path: Path
) -> None:
    consented(database_url, "0a1b2c3d")
    asked, said = LiveAsked("slow-model", "0a1b2c3d", identity("ann"), WARM_S), list[str]()
    done = carry_out_live(asked, deployment.settings, tmp_path / "reports", said.append)
    report, log = done.report, (tmp_path / "worker-0.log").read_text()[-600:]
    figures = {each["measure"]: each["figure"] for each in report["findings"]}
    course = "\n".join([*(each["what"] for each in report["moments"]), *report["faults"], log])
    assert figures["trip_s"] is not None, course
    assert 0 < figures["trip_s"] < OPEN_S, course
    assert figures["recover_s"] is not None, course
    assert figures["page_s"] is None, "there is no service that delivers alerts here, and unknown is not met"
    assert (report["verdict"], report["faults"]) == ("FAILED", ["no incident was opened"])
    assert report["live"]["decided_by_it"] > RATE
    assert report["live"]["decided_by_fallback_minor"]
    assert deployment.state() == "CLOSED"
    changes = [moment["what"] for moment in report["moments"] if moment["what"].startswith("breaker")]
    assert [change.partition(" for")[0] for change in changes] == [
        "breaker CLOSED to OPEN",
        "breaker OPEN to HALF_OPEN",
        "breaker HALF_OPEN to CLOSED",
    ]
    assert "by consent of ann and bob" in changes[0]
    assert not done.not_recorded
    [found] = read_live_drills(owner, 10)
    assert (found.begun_by, found.verdict) == ("ann", "FAILED")
    assert "On the live breaker" in (tmp_path / "reports" / "slow-model-0a1b2c3d.html").read_text("utf-8")
    with pytest.raises(Failure, match="used before"):
        carry_out_live(asked, deployment.settings, tmp_path / "reports", said.append)


def test_a_drill_whose_command_dies_ends_all_the_same(
    deployment: Deployment, database_url: str, owner: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    consented(database_url, "0a1b2c3d")

    def dies(*_: object) -> None:
        raise SystemExit(9)

    monkeypatch.setattr(live_run, "_follow", dies)
    asked = LiveAsked("slow-model", "0a1b2c3d", identity("bob"), WARM_S)
    with pytest.raises(SystemExit):
        carry_out_live(asked, deployment.settings, tmp_path / "reports", lambda _: None)
    wait_until(lambda: deployment.state() == "OPEN", OPEN_S, "the drill's beginning", every_s=0.1)
    wait_until(lambda: deployment.state() == "CLOSED", OPEN_S + 180, "the drill's end", every_s=0.5)
    [found] = read_live_drills(owner, 10)
    assert (found.begun_by, found.verdict) == ("bob", None), "it shows that there is no report of it"


def test_what_can_not_be_carried_out_begins_nothing(
    deployment: Deployment, database_url: str, owner: Connection, tmp_path: Path
) -> None:
    now_ms = server_now_ms(owner)
    consented(database_url, "0a1b2c3d")
    consented(database_url, "11111111", from_ms=now_ms + MINUTE_MS, until_ms=now_ms + 2 * MINUTE_MS)
    consented(database_url, "22222222", drill="one-postcode", scope="segment:postcode_area=NOWHERE")
    refused = {
        ("slow-model", "ffffffff"): "there is no live drill",
        ("failing-model", "0a1b2c3d"): "was consented to as slow-model",
        ("slow-model", "11111111"): "its time has not come",
        ("one-postcode", "22222222"): "nothing was decided in its scope",
    }
    for (drill, drill_id), why in refused.items():
        asked = LiveAsked(drill, drill_id, identity("ann"), 2.0)
        with pytest.raises(Failure, match=why):
            carry_out_live(asked, deployment.settings, tmp_path / "reports", lambda _: None)
    without = deployment.settings.model_copy(update={"people_file": None})
    with pytest.raises(Failure, match="FRAUD_PEOPLE_FILE"):
        carry_out_live(LiveAsked("slow-model", "0a1b2c3d", identity("ann"), 2.0), without, tmp_path, lambda _: None)
    (tmp_path / "people.jsonl").write_text("")
    with pytest.raises(Failure, match="Refused"):
        carry_out_live(
            LiveAsked("slow-model", "0a1b2c3d", identity("ann"), 2.0), deployment.settings, tmp_path, lambda _: None
        )
    assert [None] * 3 == [each.begun_by for each in read_live_drills(owner, 10)]
    assert deployment.state() == "CLOSED"
