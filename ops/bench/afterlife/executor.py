"""Payments settled a second: decisions of the worker through the executor, on real Kafka, PostgreSQL and a rail.

The worker decides first and ends, and the audit service stores what it decided. Then two executors take all decisions
from their topic to settled payments, with the rail, the broker and the database on the same machine. Afterwards, on the
same server and into the same tables, a bare client inserts the same rows one payment at a time, each in a transaction
of its own, without a rail, a topic, locks or a look at a balance. Nor does the database look: its triggers are set
aside for that client. Batching has to beat that.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import psutil
import psycopg

from ops.bench.rig.database import open_payers, positions, prepare_database, settled_offsets, states
from ops.bench.rig.deciding import decide
from ops.bench.rig.payments import paid, payments
from ops.bench.rig.services import audit_process, executor_process
from ops.bench.rig.stored import Tail
from ops.bench.rig.supervision import running, stop_all
from ops.bench.rig.waiting import wait_until
from ops.migrations.migrate import migrate
from ops.processes.servers import ServerProcess, free_port
from ops.rail.process import rail_process, rail_url
from ops.stack.real import RealStack
from pipeline.execute.ledger_admin_store import findings
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import connect

PAYMENTS: Final = 60_000
EXECUTORS: Final = 2
"""Executors, which share the partitions; while one waits for PostgreSQL or the rail, the other computes."""
BARE_PAYMENTS: Final = 3_000
SECONDS_MAX: Final = 300.0
GOAL: Final = {"settled_per_s_min": 2_000, "ratio_to_bare_min": 1.0}


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    count = PAYMENTS // 20 if is_quick else PAYMENTS
    with RealStack(folder / "stack", with_postgres=True) as stack:
        prepare_database(stack, folder)
        say(f"{decide(stack, folder, payments(WireFormat(), count)):,} payments decided")
        opened = open_payers(stack.database_url, paid(count))
        say(f"{opened:,} accounts opened")
        ends = _audited(folder, stack)
        measured = _execute(folder, stack, ends)
        say(f"executor: {measured}")
        bare_per_s = _bare(stack.database_url, min(BARE_PAYMENTS, count // 2))
        say(f"bare transactions, one a payment: {bare_per_s:,.0f} a second")
    settled_per_s = float(measured["settled_per_s"])
    ratio = round(settled_per_s / bare_per_s, 2)
    is_reached = settled_per_s >= GOAL["settled_per_s_min"] and ratio > GOAL["ratio_to_bare_min"]
    return {
        "ok": not measured["findings"],
        **measured,
        "bare_per_s": round(bare_per_s),
        "ratio_to_bare": ratio,
        "goal": GOAL,
        "reached": is_reached,
    }


def _audited(directory: Path, stack: RealStack) -> dict[int, int]:
    """Let the audit service store everything, because nothing else is executed; return where the topic ends.

    It ends before the executors begin: its cost is measured by a bench of its own.
    """
    ends = {}
    for found in Tail(stack.bootstrap_servers, "decisions.v1").news():
        ends[found.partition] = found.offset + 1
    with running(audit_process(stack, directory)):
        wait_until(lambda: positions(stack.database_url, "audit") == ends, SECONDS_MAX, "auditing", every_s=0.5)
    return ends


def _execute(directory: Path, stack: RealStack, ends: dict[int, int]) -> dict[str, Any]:
    assert stack.postgres is not None
    port = free_port()
    rail = rail_process(directory / "rail", port)
    servers, address = stack.bootstrap_servers, rail_url(port)
    executors = [
        executor_process(directory, servers, stack.database_url, address, slot=slot) for slot in range(EXECUTORS)
    ]
    processes: dict[str, list[ServerProcess]] = {
        "postgres": [stack.postgres],
        "broker": [stack.broker],
        "rail": [rail],
        "executors": executors,
    }
    with running(rail), _ended_with(executors):
        before = {name: _cpu_s(each) for name, each in processes.items() if name != "executors"}
        before["executors"] = sum(_started(executor) for executor in executors)
        wait_until(lambda: settled_offsets(stack.database_url) == ends, SECONDS_MAX, "executing", every_s=0.5)
        cpu_s = {name: _cpu_s(each) - before[name] for name, each in processes.items()}
    return _measured(stack.database_url, cpu_s)


@contextlib.contextmanager
def _ended_with(executors: Sequence[ServerProcess]) -> Iterator[None]:
    """End the executors that are started within the block."""
    try:
        yield
    finally:
        stop_all(executors)


def _started(executor: ServerProcess) -> float:
    """Start the executor; return the CPU time that this took, because its imports are no part of a payment."""
    executor.start()
    return tree_cpu_seconds(executor.pid)


def _cpu_s(processes: Sequence[ServerProcess]) -> float:
    return sum(tree_cpu_seconds(process.pid) for process in processes)


def tree_cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, of its children that live, and of those that it has waited for.

    PostgreSQL's sessions are such children.
    """
    parent = psutil.Process(pid)
    own = parent.cpu_times()
    total = own.user + own.system + own.children_user + own.children_system
    for child in parent.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = child.cpu_times()
            total += times.user + times.system
    return float(total)


def _measured(database_url: str, cpu_s: dict[str, float]) -> dict[str, Any]:
    with connect(database_url, "bench") as connection:
        row = connection.execute(
            "SELECT count(*) FILTER (WHERE step = 'COMPLETE'), count(*),"
            " extract(epoch FROM max(recorded_at) - (SELECT min(recorded_at) FROM ledger.execution))::float8,"
            " (SELECT count(*) FROM ledger.posting WHERE step <> 'FUND'), (SELECT count(*) FROM ledger.execution)"
            " FROM ledger.transition"
        ).fetchone()
        assert row is not None
        settled, steps, seconds, postings, executions = row
        return {
            "executions": executions,
            "settled": settled,
            "seconds": round(seconds, 2),
            "settled_per_s": round(settled / seconds),
            "rows_a_payment": round((steps + postings + executions) / executions, 2),
            **{f"{name}_cpu_us": round(value / executions * 1e6, 1) for name, value in cpu_s.items()},
            "states": states(connection),
            "findings": [finding._asdict() for finding in findings(connection)],
        }


# The bare client

_SELECTS: Final = {
    "execution": (
        "SELECT execution_id, decision_id, transaction_id, account_id, beneficiary_account_id, currency, amount_minor,"
        " cause, aim, event_time, caused_at, topic_partition, topic_offset FROM ledger.execution"
        " WHERE execution_id = ANY(%s)"
    ),
    "transition": (
        "SELECT execution_id, sequence, step, from_state, to_state, aim, cause, reason, caused_at"
        " FROM ledger.transition WHERE execution_id = ANY(%s)"
    ),
    "posting": (
        "SELECT posting_id, execution_id, step, attempt, source_account_id, destination_account_id, currency,"
        " amount_minor, event_time, caused_at, reverses FROM ledger.posting WHERE execution_id = ANY(%s)"
    ),
}


def _bare(database_url: str, count: int) -> float:
    """Measure the bare client's payments a second, into an empty database of the same server."""
    payments = _rows(database_url, count)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE bare")
    bare_url = f"{database_url.rpartition('/')[0]}/bare"
    migrate(bare_url)
    with connect(bare_url, "bench") as connection:
        connection.execute("SET session_replication_role = replica")  # no triggers: that is what is bare
        started = time.perf_counter()
        for payment in payments:
            with connection.transaction():
                for statement, values in payment:
                    connection.execute(statement, values)
        return len(payments) / (time.perf_counter() - started)


def _rows(database_url: str, count: int) -> list[list[tuple[bytes, list[Any]]]]:
    """Return the statements of each payment: one for each table, with all the payment's rows in it."""
    with connect(database_url, "bench") as connection:
        ids = [
            execution_id
            for (execution_id,) in connection.execute(
                "SELECT execution_id FROM ledger.execution_state WHERE state = 'SETTLED' LIMIT %s", [count]
            ).fetchall()
        ]
        payments: dict[Any, list[tuple[bytes, list[Any]]]] = {each: [] for each in ids}
        for table, select in _SELECTS.items():
            cursor = connection.execute(select.encode(), [ids])
            assert cursor.description is not None
            columns = [column.name for column in cursor.description]
            by_id: dict[Any, list[Sequence[Any]]] = {}
            for row in cursor.fetchall():
                by_id.setdefault(row[columns.index("execution_id")], []).append(row)
            for execution_id, rows in by_id.items():
                payments[execution_id].append(_insert(table, columns, rows))
    return list(payments.values())


def _insert(table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[bytes, list[Any]]:
    one = f"({', '.join(['%s'] * len(columns))})"
    statement = f"INSERT INTO ledger.{table} ({', '.join(columns)}) VALUES {', '.join([one] * len(rows))}"  # noqa: S608
    return statement.encode(), [value for row in rows for value in row]
