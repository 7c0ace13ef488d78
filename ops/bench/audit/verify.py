"""100,000 decisions are read from the audit table and decided again at their original versions, with the same bytes.

The worker decides the generator's payments on the real stack, the audit service stores them, and both end. Then every
row's record is decoded from the table alone and given to `pipeline.replay.verify`.
"""

from __future__ import annotations

import time
from collections import Counter
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
from ops.stack.real import RealStack
from pipeline.domain.decision import StoredDecision
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import statements
from pipeline.io.settings import Settings
from pipeline.replay.archive_files import RegimeArchive
from pipeline.replay.verify import Result, verify

DECISIONS: Final = 100_000
ROWS_AT_ONCE: Final = 2_000


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    count = DECISIONS // 20 if is_quick else DECISIONS
    with RealStack(folder / "stack", with_postgres=True) as stack:
        prepare_database(stack, folder)
        say(f"deciding {count:,} payments")
        decide(stack, folder, payments(WireFormat(), count))
        with psycopg.connect(stack.database_url) as connection:
            _audit(stack, folder, connection, count)
            began = time.monotonic()
            results = _verify_all(say, connection)
    is_whole = results == Counter({Result.IDENTICAL: count})
    return {
        "ok": is_whole,
        "decisions": count,
        "results": dict(results),
        "seconds": round(time.monotonic() - began, 1),
    }


def _audit(stack: RealStack, directory: Path, connection: psycopg.Connection, count: int) -> None:
    connection.autocommit = True
    with running(audit_process(stack, directory)):
        wait_until(lambda: stored(connection) >= count, SECONDS_MAX, f"storing {count} decisions")
    connection.autocommit = False


def _verify_all(say: Callable[[str], None], connection: psycopg.Connection) -> Counter[str]:
    archive = RegimeArchive.of(Settings())
    results: Counter[str] = Counter()
    for decisions in _stored(connection):
        checks = verify(decisions, archive.regime_of)
        results.update(check.result for check in checks)
        for check in checks:
            if check.result is not Result.IDENTICAL:
                say(f"{check.decision_id}: {check.result} {check.differing} {check.why}")
    return results


def _stored(connection: psycopg.Connection) -> Iterator[list[StoredDecision]]:
    wire = WireFormat()
    with connection.cursor("records") as cursor:  # on the server, so that the rows come in parts
        cursor.execute(statements("pipeline.audit", "audit")["records_of_decisions"])
        while rows := cursor.fetchmany(ROWS_AT_ONCE):
            decisions = []
            for _, _, record in rows:
                stored = wire.decode_stored_decision(bytes(record))
                assert isinstance(stored, StoredDecision), stored
                decisions.append(stored)
            yield decisions
