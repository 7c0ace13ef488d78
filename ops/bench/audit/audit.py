"""Decisions a second into the audit log on the real stack, bytes a row on disk, and a bare COPY of the same rows.

The worker decides the generator's payments first, and ends. Then the audit service starts on the whole topic; the count
runs from its first committed row to its last, in committed rows. Then the same rows, encoded beforehand, are copied
into a table of the same shape (constraints, partitions and indexes) in batches of the same size, which shows what
PostgreSQL alone can do. Compiled code builds the service's rows, as in the image, where a C compiler is found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import psycopg

from ops.bench.audit.logged import SECONDS_MAX, stored
from ops.bench.rig.database import prepare_database
from ops.bench.rig.deciding import decide
from ops.bench.rig.payments import payments
from ops.bench.rig.services import audit_process
from ops.bench.rig.supervision import running
from ops.bench.rig.waiting import wait_until
from ops.compiled import compiled_tree_or_none, python_path
from ops.processes.servers import ServerProcess, process_cpu_seconds
from ops.stack.real import RealStack
from pipeline.audit.log_store import RECORDS_MAX
from pipeline.audit.rows import COPY_END, COPY_START
from pipeline.io.avro.wire import WireFormat

RECORDS: Final = 200_000
GOAL_PER_S: Final = 10_000
GOAL_RATIO: Final = 0.4
POLL_S: Final = 0.02


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    count = RECORDS // 20 if is_quick else RECORDS
    tree = compiled_tree_or_none(say)
    with RealStack(folder / "stack", with_postgres=True) as stack:
        prepare_database(stack, folder)
        say(f"deciding {count:,} payments")
        decide(stack, folder, payments(WireFormat(), count))
        with psycopg.connect(stack.database_url, autocommit=True) as connection:
            ingested = _ingest(say, stack, folder, connection, count, tree)
            on_disk = _bytes_a_row(connection, count)
            bare = _bare_copy(say, connection)
    ratio = round(float(str(ingested["decisions_per_s"])) / float(str(bare["rows_per_s"])), 3)
    is_reached = float(str(ingested["decisions_per_s"])) >= GOAL_PER_S and ratio >= GOAL_RATIO
    return {
        "compiled": tree is not None,
        "records": count,
        "service": ingested,
        "bare_copy": bare,
        "ratio": ratio,
        "bytes_a_row": on_disk,
        "goal": {"decisions_per_s_min": GOAL_PER_S, "ratio_min": GOAL_RATIO},
        "reached": is_reached,
    }


def _ingest(
    say: Callable[[str], None],
    stack: RealStack,
    directory: Path,
    connection: psycopg.Connection,
    count: int,
    tree: Path | None,
) -> dict[str, object]:
    service = audit_process(stack, directory, python_path(tree))
    with running(service):
        first, began = _first_rows(service, connection)
        before = process_cpu_seconds(service.pid)
        wait_until(lambda: stored(connection) >= count, SECONDS_MAX, f"storing {count} decisions", every_s=POLL_S)
        seconds, cpu_s = time.monotonic() - began, process_cpu_seconds(service.pid) - before
    result = {
        "decisions_per_s": round((count - first) / seconds),
        "service_cpu_us": round(cpu_s / (count - first) * 1e6, 1),
    }
    say(f"the service: {result}")
    return dict(result)


def _first_rows(service: ServerProcess, connection: psycopg.Connection) -> tuple[int, float]:
    """Wait for the first rows; return how many there are, and when."""

    def is_begun() -> bool:
        assert service.is_running, "the audit service has ended; see its log"
        return stored(connection) > 0

    wait_until(is_begun, SECONDS_MAX, "starting the audit service", every_s=POLL_S)
    return stored(connection), time.monotonic()


def _bytes_a_row(connection: psycopg.Connection, count: int) -> dict[str, int]:
    query = """SELECT sum(pg_relation_size(relid) + coalesce(pg_relation_size(reltoastrelid), 0))::bigint,
        sum(pg_indexes_size(relid))::bigint
        FROM pg_partition_tree('audit.ai_decision_log') JOIN pg_class ON oid = relid WHERE isleaf"""
    found = connection.execute(query).fetchone()
    record = connection.execute("SELECT avg(length(record))::int FROM audit.ai_decision_log").fetchone()
    assert found is not None
    assert record is not None
    return {"table": int(found[0]) // count, "indexes": int(found[1]) // count, "record_itself": int(record[0])}


def _bare_copy(say: Callable[[str], None], connection: psycopg.Connection) -> dict[str, object]:
    with connection.transaction():
        connection.execute(
            "CREATE TABLE audit.bare (LIKE audit.ai_decision_log INCLUDING ALL) PARTITION BY RANGE (filed_at)"
        )
        connection.execute("SELECT control.attach_partition('audit.bare', '_all', 'MINVALUE', 'MAXVALUE')")
    batches = list(_batches(connection))
    began = time.monotonic()
    for batch in batches:
        with connection.transaction(), connection.cursor().copy("COPY audit.bare FROM STDIN (FORMAT binary)") as copy:
            copy.write(batch)
    seconds = time.monotonic() - began
    copied = connection.execute("SELECT count(*) FROM audit.bare").fetchone()
    assert copied is not None
    result = {"rows_per_s": round(copied[0] / seconds), "rows": copied[0], "batches": len(batches)}
    say(f"a bare COPY: {result}")
    return dict(result)


def _batches(connection: psycopg.Connection) -> Iterator[bytes]:
    """Yield the table's rows in PostgreSQL's binary format, as many at once as the service stores at once."""
    rows: list[bytes] = []
    query = "COPY (SELECT * FROM audit.ai_decision_log ORDER BY topic_offset) TO STDOUT (FORMAT binary)"
    with connection.cursor().copy(query) as copy:
        for part in copy:
            rows.append(bytes(part).removeprefix(COPY_START))
            if len(rows) == RECORDS_MAX:
                yield COPY_START + b"".join(rows) + COPY_END
                rows = []
    yield COPY_START + b"".join(rows)  # the last part is the end
