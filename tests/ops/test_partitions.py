"""The job that makes the months' partitions, as the only thing that its role can do."""

from __future__ import annotations

import json

import psycopg
import pytest

from pipeline.domain.times import utc_text
from pipeline.io.filing import UNFILED_MS, Filing, server_now_ms
from pipeline.io.postgres import Connection, connect
from tests.commands import Fraud
from tests.servers import url_as

OTHERS = (
    "fraud_audit",
    "fraud_executor",
    "fraud_review",
    "fraud_rollback",
    "fraud_reconcile",
    "fraud_incident",
    "fraud_bias",
    "fraud_reader",
)


def test_job_makes_months_ahead_and_of_the_past(fraud: Fraud, database_url: str, owner: Connection) -> None:
    job = url_as(database_url, "fraud_partitions")
    answer = fraud(
        "database", "ensure-partitions", "--months", "4", "--since", "2024-11-15", "--json", database_url=job
    )
    assert answer.code == 0, answer.err
    assert {4} == {json.loads(line)["months_ahead"] for line in answer.out.splitlines()}
    assert (True,) == owner.execute("SELECT to_regclass('audit.ai_decision_log_2024_11') IS NOT NULL").fetchone()


@pytest.mark.parametrize("role", OTHERS)
def test_no_service_makes_a_partition(database_url: str, role: str) -> None:
    with connect(url_as(database_url, role), "test") as connection:
        for act in ("control.ensure_all_partitions(3)", "control.ensure_month(now())"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT {act}".encode())


def test_the_jobs_role_reads_and_writes_nothing(database_url: str) -> None:
    with connect(url_as(database_url, "fraud_partitions"), "test") as connection:
        for table in ("audit.ai_decision_log", "ledger.posting", "review.review_case", "control.consumer_position"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SELECT FROM {table}".encode())


def test_time_is_filed_under_its_month_once_that_was_made(database_url: str, owner: Connection) -> None:
    now_ms = server_now_ms(owner)
    last_year_ms = now_ms - 400 * 86_400_000
    filing = Filing("audit.dead_letter")
    with connect(url_as(database_url, "fraud_audit"), "test") as connection:
        assert {now_ms: now_ms, last_year_ms: UNFILED_MS} == filing.file(connection, [now_ms, last_year_ms])
        owner.execute("SELECT control.ensure_month(%s)", [utc_text(last_year_ms)])
        assert {last_year_ms: last_year_ms} == filing.file(connection, [last_year_ms])
