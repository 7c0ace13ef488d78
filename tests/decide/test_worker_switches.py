"""A worker process and a person's kill switch, on the embedded stack: finding (c), as a restore does it."""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any

import pytest
import redis
from confluent_kafka import Producer

from ops.bench.rig.services import status
from ops.bench.rig.stored import Tail
from ops.bench.rig.waiting import wait_until
from ops.processes.servers import LOOPBACK, ServerProcess, free_port
from ops.stack.topics import create_topics
from pipeline.breaker import control_command as control
from pipeline.domain.alert import Alert
from pipeline.domain.decision import BreakerState, Decision, Route
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from pipeline.keys.key_sets import KeyUse
from pipeline.people.roles import Role
from pipeline.seals.seal_files import seal_check
from tests.known import appoint, identity
from tests.records import NOON_MS, PAYMENT
from tests.servers import unused_prefix
from tests.stamped import write_for_workers

WIRE = WireFormat()
WAIT_S = 120.0
REASON = "it turns away pensioners"


class Scene:
    def __init__(self, stack, owner, folder) -> None:
        self.redis: Any = redis.Redis.from_url(stack.redis_url)
        self.port, prefix = free_port(), unused_prefix()
        self.settings = Settings(
            bootstrap_servers=stack.bootstrap_servers,
            redis_url=stack.redis_url,
            topic_prefix=prefix,
            state_prefix=prefix,
            consumer_group=prefix,
            web_port=self.port,
            people_file=folder / "people.jsonl",
        )
        appoint(owner, {"ana": Role.OPERATOR})
        write_for_workers(owner, folder / "people.jsonl", self.settings)
        create_topics(stack.bootstrap_servers, prefix=prefix)
        self._producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "log_level": 2})
        names = ("bootstrap_servers", "redis_url", "topic_prefix", "state_prefix", "consumer_group", "web_port")
        names += ("people_file",)
        environment = {f"FRAUD_{name.upper()}": str(getattr(self.settings, name)) for name in names}
        self.worker = ServerProcess(
            "worker",
            [sys.executable, "-m", "ops.cli", "worker", "run"],
            is_ready=lambda: status(self.port, "/ready") == 200,
            log_path=folder / "worker.log",
            environment=environment,
        )

    def pay(self, transaction_id: str, at_ms: int) -> Decision:
        """Publish a payment and wait for its decision."""
        payment = PAYMENT._replace(transaction_id=transaction_id, event_time_ms=at_ms)
        key, value = PAYMENT.account_id.encode(), WIRE.encode_transaction(payment)
        self._producer.produce(self.settings.topic("transactions.v1"), value, key, timestamp=at_ms)
        assert self._producer.flush(WAIT_S) == 0
        found: list[Decision] = []

        def is_decided() -> bool:
            decided = [WIRE.decode_decision_record(record.value) for record in self._tail("decisions.v1")]
            found[:] = [each for each in decided if isinstance(each, Decision)]
            return transaction_id in [each.transaction_id for each in found]

        wait_until(is_decided, WAIT_S, "deciding a payment", every_s=0.1)
        return next(each for each in found if each.transaction_id == transaction_id)

    def wait_until_it_is(self, state: BreakerState) -> None:
        def is_seen() -> bool:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/ready", timeout=WAIT_S) as answer:
                self.ready = json.loads(answer.read())
            stored = self.redis.hget(f"{self.settings.state_prefix}:{{breaker}}:states", "all")
            return stored is not None and json.loads(stored)["state"] == state

        wait_until(is_seen, WAIT_S, f"the breaker being {state}", every_s=0.1)

    def lose_breaker(self) -> None:
        """Do what a restore does, which leaves the breaker's keys out."""
        keys = self.redis.keys(f"{self.settings.state_prefix}:{{breaker}}:*")
        assert keys
        self.redis.delete(*keys)

    def alerts(self) -> list[str]:
        found = [WIRE.decode_alert(record.value) for record in self._tail("alerts.v1")]
        return [str(each.code) for each in found if isinstance(each, Alert)]

    def unproved_alerts(self) -> list[str]:
        """The codes of alerts that no worker's seal proves, as on-call and incidents ask for it."""
        check, topic = seal_check(self.settings, KeyUse.DECISIONS), self.settings.topic("alerts.v1")
        with LogReader.of(self.settings) as log:
            found = [
                record
                for partition, extent in log.extents(topic).items()
                for record in log.presented_range(topic, partition, extent.low, None, 1_000).taken
            ]
        unproved = [WIRE.decode_alert(record.value) for record in found if check.unproved(record) is not None]
        return [str(each.code) for each in unproved if isinstance(each, Alert)]

    def _tail(self, topic: str) -> list[Any]:
        return list(Tail(self.settings.bootstrap_servers, self.settings.topic(topic)).news())


def mode(decision: Decision) -> tuple[Route, BreakerState]:
    return decision.route, decision.breaker_state


@pytest.mark.timeout(900)
def test_i4_kill_switch_outlives_the_breakers_keys_and_the_worker(stack, owner, tmp_path):
    scene, ana = Scene(stack, owner, tmp_path), identity("ana")
    scene.worker.start()
    try:
        scene.wait_until_it_is(BreakerState.CLOSED)
        assert mode(scene.pay("tx-1", NOON_MS)) == (Route.MODEL, BreakerState.CLOSED)
        thrown = control.force_open(scene.settings, "all", ana, REASON)
        assert (thrown.before, thrown.after) == (BreakerState.CLOSED, BreakerState.FORCED_OPEN)
        scene.wait_until_it_is(BreakerState.FORCED_OPEN)
        assert mode(scene.pay("tx-2", NOON_MS + 1)) == (Route.FALLBACK, BreakerState.FORCED_OPEN)
        assert "BREAKER_FORCE_OPEN" in scene.alerts()
        assert not scene.unproved_alerts(), "what the breaker says is a worker's word"

        scene.worker.stop()
        scene.lose_breaker()
        scene.worker.start()
        assert mode(scene.pay("tx-3", NOON_MS + 2)) == (Route.FALLBACK, BreakerState.FORCED_OPEN)
        scene.wait_until_it_is(BreakerState.FORCED_OPEN)
        assert scene.ready["switches"] == "followed"
        [record] = control.states(scene.settings)
        assert (record.state, record.cause.author, record.cause.text) == (BreakerState.FORCED_OPEN, "ana", REASON)

        released = control.release(scene.settings, "all", ana, REASON, accept_shift=False)
        assert (released.before, released.after) == (BreakerState.FORCED_OPEN, BreakerState.HALF_OPEN)
        assert scene.pay("tx-4", NOON_MS + 3).breaker_state is BreakerState.FORCED_OPEN, "its file is of before"
        write_for_workers(owner, tmp_path / "people.jsonl", scene.settings)
        scene.wait_until_it_is(BreakerState.HALF_OPEN)
    finally:
        scene.worker.stop()
        scene.redis.close()
