"""Rows a second that the chaining of tables follows, what a payment costs for it, and whether it slows who writes.

PostgreSQL gets the rows that the executor writes of a payment (an execution, six transitions, three postings), in its
role and 500 payments a transaction; first in a database whose tables are not followed, then in one whose tables are,
then while the follower runs. No rail and no broker is asked, so they come faster than any executor writes them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil
import psycopg

from ops.bench.audit.table_rows import followed_tables
from ops.bench.rig.services import url_of
from ops.migrations.migrate import migrate
from ops.processes.servers import free_port
from ops.stack.postgres import bundled_folder, postgres_server, postgres_url
from pipeline.audit.tables.log_store import TableLog
from pipeline.audit.tables.streams import TABLES_LOG
from pipeline.io.postgres import connect

PAYMENTS: Final = 200_000
PAYMENTS_A_TRANSACTION: Final = 500
ROWS_A_PAYMENT: Final = 10
STATEMENTS: Final = (
    """INSERT INTO ledger.execution (execution_id, decision_id, transaction_id, account_id, beneficiary_account_id,
            currency, amount_minor, cause, aim, event_time, caused_at, logged_at, topic_partition, topic_offset)
        SELECT md5('e' || n)::uuid, md5('d' || n)::uuid, 'tx-' || n, 'account-' || n % 1000, 'payee-' || n % 5000,
            'GBP', 1000, 'DECIDED_ALLOW', 'SETTLE', now(), date_trunc('day', now()), now(), n % 8, n
        FROM generate_series(%(first)s::integer, %(last)s::integer) AS n""",
    """INSERT INTO ledger.transition (execution_id, sequence, step, from_state, to_state, aim, cause, caused_at)
        SELECT md5('e' || n)::uuid, step, 'STEP-' || step, 'STATE-' || step, 'STATE-' || step + 1, 'SETTLE', 'DECISION',
            date_trunc('day', now())
        FROM generate_series(%(first)s::integer, %(last)s::integer) AS n, generate_series(1, 6) AS step""",
    """INSERT INTO ledger.posting (posting_id, execution_id, step, attempt, source_account_id, destination_account_id,
            currency, amount_minor, event_time, caused_at)
        SELECT md5('p' || n || '-' || step)::uuid, md5('e' || n)::uuid, 'STEP-' || step, 1, 'account-' || n % 1000,
            'payee-' || n % 5000, 'GBP', 1000, now(), date_trunc('day', now())
        FROM generate_series(%(first)s::integer, %(last)s::integer) AS n, generate_series(1, 3) AS step""",
)


class Cost(NamedTuple):
    """Of the writing of payments: by the clock, PostgreSQL's CPU and its log (WAL)."""

    payments_a_second: int
    server_us_a_payment: float
    wal_bytes_a_payment: int


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    payments, port = PAYMENTS // 10 if is_quick else PAYMENTS, free_port()
    server = postgres_server(bundled_folder(), folder / "postgres", port)
    server.start()
    try:
        owner_url = postgres_url(port)
        for name in ("unfollowed", "followed"):
            with psycopg.connect(owner_url, autocommit=True) as owner:
                owner.execute(f"CREATE DATABASE {name}".encode())
            migrate(postgres_url(port, database=name))
        _unfollow(postgres_url(port, database="unfollowed"))
        url = postgres_url(port, database="followed")
        unfollowed = _written(postgres_url(port, database="unfollowed"), 0, payments)
        say(f"not followed: {unfollowed}")
        followed = _written(url, 0, payments)
        say(f"followed: {followed}")
        with closing(TableLog(TABLES_LOG, folder / "outside", lambda: time.time_ns() // 1000)) as log:
            log.open()
            following = _followed(url, log)
            say(f"following: {following}")
            together, lag_s = _both(url, log, payments)
            say(f"written while followed: {together}; the last row was chained {lag_s} s after the last commit")
        length = sum(path.stat().st_size for path in (folder / "outside").rglob("*.*"))
    finally:
        server.stop()
    return {
        "ok": lag_s < 5 and int(str(following["rows"])) >= payments * ROWS_A_PAYMENT,
        "payments": payments,
        "unfollowed": unfollowed._asdict(),
        "followed": followed._asdict(),
        "following": following,
        "written_while_followed": together._asdict(),
        "lag_s_at_the_end": lag_s,
        "bytes_outside_a_row": round(length / (2 * payments * ROWS_A_PAYMENT), 1),
    }


def _unfollow(url: str) -> None:
    with psycopg.connect(url) as owner:
        for table in followed_tables(owner):
            owner.execute(f"ALTER TABLE {table} DROP COLUMN chain_xid".encode())


def _written(url: str, first: int, payments: int) -> Cost:
    with psycopg.connect(url_of(url, "fraud_executor"), autocommit=True) as connection:
        server, began = psutil.Process(connection.info.backend_pid), time.perf_counter()
        cpu_before_s, wal_before = _cpu_s(server), _wal(connection)
        for begin in range(first, first + payments, PAYMENTS_A_TRANSACTION):
            with connection.transaction():
                for statement in STATEMENTS:
                    bounds = {"first": begin, "last": begin + PAYMENTS_A_TRANSACTION - 1}
                    connection.execute(statement.replace("% ", "%% ").encode(), bounds)
        seconds = time.perf_counter() - began
        cpu_s, wal = _cpu_s(server) - cpu_before_s, _wal(connection) - wal_before
    return Cost(round(payments / seconds), round(cpu_s / payments * 1e6, 1), round(wal / payments))


def _followed(url: str, log: TableLog) -> Mapping[str, Any]:
    """Follow until nothing waits."""
    with connect(url_of(url, "fraud_audit"), "bench") as connection:
        server, own = psutil.Process(connection.info.backend_pid), psutil.Process()
        began, server_before_s, own_before_s = time.perf_counter(), _cpu_s(server), _cpu_s(own)
        rows, is_behind = 0, True
        while is_behind:
            taken = log.follow(connection)
            rows, is_behind = rows + taken.rows, taken.is_behind
        seconds = time.perf_counter() - began
        server_s, own_s = _cpu_s(server) - server_before_s, _cpu_s(own) - own_before_s
    return {
        "rows": rows,
        "rows_a_second": round(rows / seconds),
        "own_us_a_row": round(own_s / rows * 1e6, 2),
        "server_us_a_row": round(server_s / rows * 1e6, 2),
    }


def _both(url: str, log: TableLog, payments: int) -> tuple[Cost, float]:
    """Write while the follower follows; return also how long after the last commit all was chained."""
    stopping, ended_at = threading.Event(), [0.0]

    def follow() -> None:
        with connect(url_of(url, "fraud_audit"), "bench") as connection:
            while True:
                is_last = stopping.is_set()
                if log.follow(connection).is_behind:
                    continue
                if is_last:
                    break
                stopping.wait(1.0)
        ended_at[0] = time.perf_counter()

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    cost = _written(url, payments, payments)
    written_at = time.perf_counter()
    stopping.set()
    follower.join()
    return cost, round(ended_at[0] - written_at, 2)


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _wal(connection: psycopg.Connection[Any]) -> int:
    found = connection.execute("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint").fetchone()
    assert found is not None
    return int(found[0])
