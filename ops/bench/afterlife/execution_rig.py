"""What the benches of execution share: the executor as a process, accounts with money, and where everything stands."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import psycopg

from ops.bench.rig.worker_process import status
from ops.stack.processes import LOOPBACK, ServerProcess, free_port
from pipeline.domain.payment import Transaction
from pipeline.execute.ledger_admin_store import Opening, append_openings
from pipeline.io.postgres import Connection, connect

AMPLE_MINOR: Final = 10**13
"""More than any account of the traffic spends, so that funds are never why a payment isn't settled."""


def url_of(database_url: str, role: str) -> str:
    """The owner's address as another role's, on a server that asks for no password."""
    return database_url.replace("//fraud_owner@", f"//{role}@")


def executor_process(
    directory: Path,
    bootstrap_servers: str,
    database_url: str,
    rail: str,
    *,
    slot: int = 0,
    module: str = "ops.cli",
    arguments: tuple[str, ...] = ("executor", "run"),
    environment: Mapping[str, str] | None = None,
) -> ServerProcess:
    """As users run it, in its own role. Not started yet."""
    port = free_port()
    return ServerProcess(
        f"executor {slot}",
        [sys.executable, "-m", module, *arguments],
        is_ready=lambda: status(port, "/live") == 200,
        log_path=directory / f"executor-{slot}.log",
        environment={
            "FRAUD_BOOTSTRAP_SERVERS": bootstrap_servers,
            "FRAUD_DATABASE_URL": url_of(database_url, "fraud_executor"),
            "FRAUD_RAIL_URL": rail,
            "FRAUD_WORKER_SLOT": str(slot),
            "FRAUD_WEB_HOST": LOOPBACK,
            "FRAUD_EXECUTOR_PORT": str(port),
            **(environment or {}),
        },
    )


def open_payers(database_url: str, transactions: Iterable[Transaction], balance_minor: int = AMPLE_MINOR) -> int:
    """Opens every account that pays, in each of its currencies. How many."""
    payers = {(transaction.account_id, transaction.currency): transaction.event_time_ms for transaction in transactions}
    openings = [Opening(account_id, currency, 0, balance_minor) for account_id, currency in sorted(payers)]
    with connect(url_of(database_url, "fraud_executor"), "bench") as connection:
        return append_openings(connection, openings, min(payers.values(), default=0))


def states(connection: Connection) -> dict[str, int]:
    """How many executions stand in each state; NEW where no step was taken yet."""
    rows = connection.execute(
        "SELECT coalesce(state, 'NEW'), count(*) FROM ledger.execution_state GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return dict(rows)


def settled_offsets(database_url: str) -> dict[int, int]:
    """Up to where each partition of decisions.v1 is executed and announced; empty while the database is away."""
    try:
        with psycopg.connect(database_url, connect_timeout=2) as connection:
            rows = connection.execute(
                "SELECT partition, next_offset FROM control.consumer_position WHERE consumer = 'executor-settled'"
            ).fetchall()
            return dict(rows)
    except psycopg.OperationalError:
        return {}
