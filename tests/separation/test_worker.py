"""A worker with its own credential decides on a broker that denies all else, context agents included."""

import json
from pathlib import Path

import pytest

from ops.bench.worker_process import worker_process
from ops.stack.access import Principal
from ops.stack.real import RealStack
from ops.stack.topics import create_topics
from pipeline.commands.decisions import Located, located
from pipeline.commands.log_scan import Log
from pipeline.commands.publishing import BulkPublisher
from pipeline.settings import Settings
from tests.cli.archive import WIRE
from tests.records import PAYMENT

pytestmark = pytest.mark.real


def test_worker_with_its_own_credential_decides(tmp_path: Path) -> None:
    with RealStack(tmp_path / "stack", secure=True) as stack:
        create_topics(stack.bootstrap_servers, partitions=1, client_settings=stack.admin_options)
        _publish(stack)
        worker = worker_process(
            tmp_path,
            stack.bootstrap_servers,
            stack.redis_url,
            environment={"FRAUD_KAFKA_OPTIONS": json.dumps(stack.client_options(Principal.WORKER))},
        )
        worker.start()
        try:
            reading = _settings(stack, Principal.READER)
            assert _first_decision(reading) == PAYMENT.transaction_id
            assert _first_context_letter(reading) == "accounts.v1"
        finally:
            worker.stop()
        log = worker.log_path.read_text()
        assert stack.client_options(Principal.WORKER)["sasl.password"] not in log


def _publish(stack: RealStack) -> None:
    """One payment that can be decided, and one account that can't be read."""
    publisher = BulkPublisher(_settings(stack, Principal.PUBLISHER))
    publisher.publish("transactions.v1", PAYMENT.account_id.encode(), WIRE.encode_transaction(PAYMENT), 0)
    publisher.publish("accounts.v1", b"acc", b"\xc3\x01 is no account", 0)
    publisher.flush()


def _first_decision(settings: Settings) -> str:
    for found in Log(settings, "decisions.v1").read({0: 0}, is_followed=True):
        decision = located(WIRE, found)
        assert isinstance(decision, Located)
        return decision.stored.transaction.transaction_id
    raise AssertionError("the log was left before a decision was read")


def _first_context_letter(settings: Settings) -> str:
    """Followed until it comes; pytest's time-out ends a wait for nothing."""
    for found in Log(settings, "transactions.dead.v1").read({0: 0}, is_followed=True):
        fields = WIRE.decode("dead_letter.v1", found.value)
        assert isinstance(fields, dict)
        return str(fields["source_topic"])
    raise AssertionError("the log was left before a dead letter was read")


def _settings(stack: RealStack, principal: Principal) -> Settings:
    return Settings(bootstrap_servers=stack.bootstrap_servers, kafka_options=stack.client_options(principal))
