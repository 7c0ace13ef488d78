"""Decisions on decisions.v1, made by the worker from the generator's payments, and the audit service on them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Final

import psycopg

from ops.bench.rig.feeder import known_records
from ops.bench.rig.payments import payments
from ops.bench.rig.topics_io import Outbound, committed_counts, prepare_topics, publish, read_topic, wait_until
from ops.bench.rig.worker_process import worker_process
from ops.migrations.migrate import migrate
from ops.stack.postgres import postgres_url
from ops.stack.processes import ServerProcess
from ops.stack.real import RealStack
from pipeline.audit.key_files import create_signing_key
from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.identities import reversal_id, review_id
from pipeline.domain.reversal import Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.io.avro.wire import WireFormat

SECONDS_MAX: Final = 600
GROUP: Final = "fraud-decide"
REVIEWED_EVERY: Final = 13
REVERSED_EVERY: Final = 17


def decide(stack: RealStack, directory: Path, count: int, *, partitions: int = 4, is_messy: bool = False) -> int:
    """Publishes `count` payments and has the worker decide them; how many records there were.

    is_messy: with duplicates, conflicts and garbage, which end as dead letters.
    """
    prepare_topics(stack.bootstrap_servers, "", partitions)
    records = known_records(7) if is_messy else payments(WireFormat(), count)
    published = publish(stack.bootstrap_servers, "transactions.v1", islice(records, count))
    worker = worker_process(directory, stack.bootstrap_servers, stack.redis_url)
    worker.start()
    try:
        wait_until(
            lambda: committed_counts(stack.bootstrap_servers, GROUP, "transactions.v1") >= published,
            SECONDS_MAX,
            f"deciding on {published} payments",
        )
    finally:
        worker.stop()
    return published


def prepare_database(stack: RealStack, directory: Path) -> None:
    """Migrated, and a key to sign heads with in `directory`/key."""
    migrate(stack.database_url)
    create_signing_key(directory / "key")


def audit_process(stack: RealStack, directory: Path, environment: Mapping[str, str] | None = None) -> ServerProcess:
    """`fraud audit run` as its own role; not started yet. It counts as started at once: its rows are watched."""
    return ServerProcess(
        "the audit service",
        [sys.executable, "-P", "-m", "ops.cli", "audit", "run"],
        is_ready=lambda: True,
        log_path=directory / "audit.log",
        environment={
            "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
            "FRAUD_DATABASE_URL": audit_url(stack),
            "FRAUD_AUDIT_DIRECTORY": str(directory / "outside"),
            "FRAUD_AUDIT_KEY_FILE": str(directory / "key"),
            "FRAUD_AUDIT_PORT": "0",
            **(environment or {}),
        },
    )


def audit_url(stack: RealStack) -> str:
    port = psycopg.conninfo.conninfo_to_dict(stack.database_url)["port"]
    return postgres_url(int(str(port)), user="fraud_audit")


def stored(connection: psycopg.Connection) -> int:
    """Records in the audit log, by its links: cheap to ask while it is written."""
    query = """SELECT coalesce(sum(size), 0)::bigint
        FROM (SELECT max(tree_size) AS size FROM audit.chain_link GROUP BY topic_partition) AS sizes"""
    found = connection.execute(query).fetchone()
    assert found is not None
    return int(found[0])


def publish_reviews_and_reversals(stack: RealStack) -> int:
    """After the decisions, some of them reviewed and some reversed; how many records stand on decisions.v1."""
    wire, records, decisions = WireFormat(), [], 0
    for message in read_topic(stack.bootstrap_servers, "decisions.v1"):
        decisions += 1
        value = message.value()
        assert isinstance(value, bytes)
        decision = wire.decode_decision_record(value)
        assert isinstance(decision, Decision)
        if decisions % REVIEWED_EVERY == 0:
            records.append(_after(wire, decision, _review(decision)))
        if decisions % REVERSED_EVERY == 0:
            records.append(_after(wire, decision, _reversal(decision)))
    publish(stack.bootstrap_servers, "decisions.v1", records)
    return decisions + len(records)


def _after(wire: WireFormat, decision: Decision, later: Reversal | ReviewOutcome) -> Outbound:
    return Outbound(decision.account_id.encode(), wire.encode(later), decision.decided_at_ms)


def _review(decision: Decision) -> ReviewOutcome:
    return ReviewOutcome(
        review_id(decision.decision_id, 1),
        decision.decision_id,
        decision.transaction_id,
        decision.account_id,
        reviewed_at_ms=decision.decided_at_ms + 60_000,
        outcome=Outcome.ALLOW,
        reason="The customer was called back and knew of it.",
        reviewed_by="reviewer-1",
        second_reviewer=None,
    )


def _reversal(decision: Decision) -> Reversal:
    return Reversal(
        reversal_id("plan-1", decision.decision_id),
        decision.decision_id,
        decision.transaction_id,
        decision.account_id,
        plan_id="plan-1",
        reversed_at_ms=decision.decided_at_ms + 120_000,
        reversed_outcome=decision.outcome,
        corrected_outcome=None,
        reason="Decided by a bad version.",
        requested_by="risk-1",
        approved_by="risk-2",
    )
