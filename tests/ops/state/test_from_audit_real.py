"""State that is lost together with the log behind it comes back from the audit table, and decisions are as before."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest
import redis
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from ops.bench.rig.commands import completed, with_settings
from ops.bench.rig.database import positions, prepare_database
from ops.bench.rig.services import audit_process, url_of, worker_process
from ops.bench.rig.supervision import running
from ops.bench.rig.waiting import wait_committed, wait_until
from ops.stack.real import RealStack
from ops.stack.topics import create_topics
from pipeline.domain.decision import Decision
from pipeline.domain.features import COLUMN, UNKNOWN
from pipeline.io.clock import now_ms
from pipeline.io.kafka.bulk_publisher import BulkPublisher
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.settings import Settings
from tests.archive import WIRE
from tests.records import PAYMENT

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

PAYMENTS = 60
LEFT_IN_LOG = 2
"""Payments that the log still has, so that the table is known to reach it."""
WAIT_S = 120.0
ACCOUNT = "GB29-0001"
OF_THE_ACCOUNT = ("account_count_7d", "account_volume_minor_30d", "account_distinct_beneficiaries_24h")


def publish(settings: Settings, numbers: Sequence[int]) -> None:
    """Publish payments of one account, to ten payees, from hours ago until now."""
    publisher, begun_ms = BulkPublisher(settings), now_ms()
    for number in numbers:
        paid = PAYMENT._replace(
            transaction_id=f"tx-{number}",
            account_id=ACCOUNT,
            beneficiary_account_id=f"payee-{number % 10}",
            event_time_ms=begun_ms - (PAYMENTS - number) * 60_000,
            beneficiary_opened_at_ms=None,
        )
        publisher.publish("transactions.v1", ACCOUNT.encode(), WIRE.encode_transaction(paid), 0)
    publisher.flush()


def decisions(settings: Settings, count: int) -> list[Decision]:
    with LogReader.of(settings) as log:
        records = list(islice(log.read("decisions.v1", {0: 0}, is_followed=True), count))
    decoded = [WIRE.decode_decision_record(record.value) for record in records]
    return [decision for decision in decoded if isinstance(decision, Decision)]


def lose_the_past(stack: RealStack) -> None:
    """Delete the state, and all but the last records of the log."""
    with redis.Redis.from_url(stack.redis_url) as client:
        client.flushall()
    admin = AdminClient({"bootstrap.servers": stack.bootstrap_servers})
    place = TopicPartition("transactions.v1", 0, PAYMENTS - LEFT_IN_LOG)
    for deleted in admin.delete_records([place]).values():
        deleted.result()


def restored(folder: Path, stack: RealStack) -> list[dict[str, object]]:
    """Run the command; return the records that it prints."""
    settings = {
        "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "FRAUD_REDIS_URL": stack.redis_url,
        "FRAUD_DATABASE_URL": url_of(stack.database_url, "fraud_reader"),
    }
    command = [sys.executable, "-m", "ops.cli", "state", "restore", "--from-audit", "--json"]
    done = completed(command, folder / "restore.log", timeout_s=WAIT_S, environment=with_settings(settings))
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_i4_a_payment_is_decided_with_what_only_the_audit_table_still_has(tmp_path: Path) -> None:
    with RealStack(tmp_path / "stack", with_postgres=True) as stack:
        settings = Settings(bootstrap_servers=stack.bootstrap_servers)
        create_topics(stack.bootstrap_servers, partitions=1)
        prepare_database(stack, tmp_path)
        publish(settings, range(PAYMENTS))
        with (
            running(worker_process(tmp_path, stack.bootstrap_servers, stack.redis_url)),
            running(audit_process(stack, tmp_path)),
        ):
            wait_committed(stack.bootstrap_servers, PAYMENTS, WAIT_S, "deciding")
            decisions(settings, PAYMENTS)
            wait_until(lambda: positions(stack.database_url, "audit").get(0, 0) >= PAYMENTS, WAIT_S, "auditing")
        lose_the_past(stack)
        told = restored(tmp_path, stack)
        publish(settings, [PAYMENTS])
        with running(worker_process(tmp_path, stack.bootstrap_servers, stack.redis_url, name="worker-anew")):
            *_, before, after = decisions(settings, PAYMENTS + 1)
    assert told[0]["partition"] == {"partition": 0}.get("partition")
    assert (told[0]["payments"], told[0]["is_whole"]) == (PAYMENTS - LEFT_IN_LOG, True)
    then, now = ([decision.snapshot.features[COLUMN[name]] for name in OF_THE_ACCOUNT] for decision in (before, after))
    assert now == [then[0] + 1, then[1] + PAYMENT.amount_minor, then[2]]
    assert after.snapshot.features[COLUMN["is_new_beneficiary"]] == 0
    assert UNKNOWN not in after.snapshot.features
