"""Cases of decisions that never were, for tests that begin at the desk."""

from __future__ import annotations

from contextlib import closing

from ops.stack.postgres import postgres_url
from pipeline.io.postgres import Connection, connect
from pipeline.review.case_store import Opening, RecordPlace, open_cases
from pipeline.review.cases import Case, opening


def plant(connection: Connection, case: Case, summary: str = "why") -> None:
    """As a superuser writes it, past the triggers, which ask the audit log."""
    url = postgres_url(connection.info.port, database=connection.info.dbname)
    with closing(connect(url, "test")) as owner, owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        open_cases(owner, [Opening(case, case.decision_id, summary, RecordPlace(0, 7))], [opening(case)])
