"""The records of drills, in `control.drill_record` of the deployment's database."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

from pipeline.drills.schedule import Carried
from pipeline.io.postgres import Connection, statements

_SQL: Final = statements("pipeline.drills", "drills")


class DrillRecord(NamedTuple):
    """A drill that has ended. is_full: it counts towards the schedule. figures: JSON, as the report has them."""

    drill_id: str
    drill: str
    verdict: str
    why: str
    is_full: bool
    started_at_ms: int
    ended_at_ms: int
    carried_out_by: str
    policy_version: str
    policy_sha256: bytes
    model_version: str
    figures: object
    report_sha256: bytes
    key_id: str
    signature: bytes


def append_drill(connection: Connection, record: DrillRecord) -> None:
    """Raises psycopg's errors."""
    fields: Mapping[str, object] = record._asdict()
    times = {
        name: datetime.fromtimestamp(at_ms / 1000, UTC)
        for name, at_ms in (("started_at", record.started_at_ms), ("ended_at", record.ended_at_ms))
    }
    connection.execute(_SQL["insert_drill"], {**fields, **times, "figures": json.dumps(record.figures)})


def read_latest_drills(connection: Connection) -> list[Carried]:
    """Return the latest record of each drill that counts towards the schedule."""
    return [Carried(*row) for row in connection.execute(_SQL["latest_drills"]).fetchall()]
