"""A worker process that learns what became of payments, on the embedded stack."""

from __future__ import annotations

import json
import sys
import urllib.request

import pytest
from confluent_kafka import Producer

from ops.bench.rig.services import status
from ops.bench.rig.stored import Tail
from ops.bench.rig.waiting import wait_until
from ops.processes.servers import LOOPBACK, ServerProcess, free_port
from ops.stack.topics import create_topics
from pipeline.domain.decision import Decision
from pipeline.domain.execution import ExecutionState
from pipeline.domain.features import COLUMN
from pipeline.io.avro.wire import WireFormat
from tests.records import NOON_MS, PAYMENT
from tests.servers import unused_prefix
from tests.state.test_outcome_records import TOLD

WIRE = WireFormat()
WAIT_S = 120.0
DAY_MS = 86_400_000


class Scene:
    def __init__(self, stack, folder) -> None:
        self.servers, self.prefix, self.port = stack.bootstrap_servers, unused_prefix(), free_port()
        create_topics(self.servers, prefix=self.prefix)
        self._producer = Producer({"bootstrap.servers": self.servers, "log_level": 2})
        self.worker = ServerProcess(
            "worker",
            [sys.executable, "-m", "ops.cli", "worker", "run"],
            is_ready=lambda: status(self.port, "/ready") == 200,
            log_path=folder / "worker.log",
            environment={
                "FRAUD_BOOTSTRAP_SERVERS": self.servers,
                "FRAUD_REDIS_URL": stack.redis_url,
                "FRAUD_TOPIC_PREFIX": self.prefix,
                "FRAUD_STATE_PREFIX": self.prefix,
                "FRAUD_CONSUMER_GROUP": self.prefix,
                "FRAUD_WEB_PORT": str(self.port),
            },
        )

    def pay(self, transaction_id: str, time_ms: int) -> Decision:
        """Publish a payment and wait for its decision."""
        payment = PAYMENT._replace(transaction_id=transaction_id, event_time_ms=time_ms)
        self._send("transactions.v1", WIRE.encode_transaction(payment), time_ms)
        found: list[Decision] = []

        def is_decided() -> bool:
            for record in Tail(self.servers, f"{self.prefix}decisions.v1").news():
                decision = WIRE.decode_decision_record(record.value)
                assert isinstance(decision, Decision)
                if decision.transaction_id == transaction_id:
                    found.append(decision)
            return bool(found)

        wait_until(is_decided, WAIT_S, "deciding a payment", every_s=0.1)
        return found[0]

    def tell(self, decision: Decision, state: ExecutionState) -> None:
        """Publish what became of a payment, as the executor does."""
        told = TOLD._replace(
            execution_id=decision.decision_id,
            account_id=decision.account_id,
            beneficiary_account_id=PAYMENT.beneficiary_account_id,
            state=state,
            event_time_ms=decision.snapshot.transaction.event_time_ms,
            payment_time_ms=decision.snapshot.transaction.event_time_ms,
            amount_gbp_minor=decision.snapshot.features[COLUMN["amount_gbp_minor"]],
            payment_logged_at_ms=decision.source_timestamp_ms,
        )
        self._send("executions.v1", WIRE.encode(told), 0)

    def wait_until_followed(self, offset: int) -> None:
        def is_followed() -> bool:
            with urllib.request.urlopen(f"http://{LOOPBACK}:{self.port}/ready", timeout=WAIT_S) as answer:
                outcomes = json.loads(answer.read())["outcomes"]
            return outcomes["why"] is None and offset in outcomes["positions"].values()

        wait_until(is_followed, WAIT_S, "following outcomes", every_s=0.1)

    def _send(self, topic: str, value: bytes, time_ms: int) -> None:
        self._producer.produce(f"{self.prefix}{topic}", value, PAYMENT.account_id.encode(), timestamp=time_ms)
        assert self._producer.flush(WAIT_S) == 0


def known(decision: Decision) -> tuple[int, int, int]:
    """Return whether the payee is unpaid, the volume of 30 days, and the outcomes that were taken in."""
    features, position = decision.snapshot.features, decision.snapshot.outcomes_position
    return features[COLUMN["is_unpaid_beneficiary"]], features[COLUMN["account_volume_minor_30d"]], position


@pytest.mark.timeout(900)
def test_a_payee_is_known_once_it_was_paid_and_what_was_refused_leaves_the_volume(stack, tmp_path):
    scene = Scene(stack, tmp_path)
    amount = PAYMENT.amount_minor
    scene.worker.start()
    try:
        scene.wait_until_followed(0)
        first = scene.pay("tx-1", NOON_MS)
        assert known(first) == (1, amount, 0)
        scene.tell(first, ExecutionState.SETTLED)
        scene.wait_until_followed(1)
        assert known(scene.pay("tx-2", NOON_MS + DAY_MS - 1)) == (1, 2 * amount, 1)
        third = scene.pay("tx-3", NOON_MS + DAY_MS)
        assert known(third) == (0, 3 * amount, 1)
        scene.tell(third, ExecutionState.REFUSED)
        scene.wait_until_followed(2)
        assert known(scene.pay("tx-4", NOON_MS + DAY_MS)) == (0, 3 * amount, 2)
    finally:
        scene.worker.stop()
