"""What the service has to say itself, from the moment that it is known until it stands on alerts.v1.

It is stored with what it is about, so that whoever runs next tells what a service that died could not. It may stand on
the topic twice, under one id.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import structlog
from psycopg.types.json import Jsonb

from pipeline.alerts.catalogue import CATALOGUE, AlertCode, alert, over
from pipeline.domain.alert import Alert
from pipeline.io.postgres import Connection, statements

OWN_AT_ONCE: Final = 100
TIME_MS_MAX: Final = 2**53
_CODE: Final = AlertCode.ALERT_NOT_DELIVERED
_SQL: Final = statements("pipeline.oncall", "oncall")
_log = structlog.stdlib.get_logger("alerts")


class OwnAlert(NamedTuple):
    """told: None where the row holds nothing that the service says."""

    sequence: int
    told: Alert | None


def append_own_alert(connection: Connection, own: Alert) -> None:
    """Append it in the caller's transaction."""
    assert own.code == _CODE, "of nothing else does the service tell in this way"
    connection.execute(_SQL["append_own_alert"], {"alert": Jsonb(own._asdict())})


def own_alerts_to_tell(connection: Connection) -> list[OwnAlert]:
    """What does not stand on the topic yet, in order, a bounded number."""
    rows = connection.execute(_SQL["own_alerts_to_tell"], {"limit": OWN_AT_ONCE}).fetchall()
    return [OwnAlert(sequence, _own_alert(sequence, fields)) for sequence, fields in rows]


def append_told(connection: Connection, sequences: Iterable[int]) -> None:
    for sequence in sequences:
        connection.execute(_SQL["append_own_alert_told"], {"sequence": sequence})


def _own_alert(sequence: int, row: object) -> Alert | None:
    """The alert as the catalogue makes it of what the row says. A row of another form is logged, and None."""
    fields = row if isinstance(row, dict) else {}
    evidence, raised_at_ms = fields.get("evidence"), fields.get("raised_at_ms")
    allowed = [each for each in CATALOGUE[_CODE].severities if each == fields.get("severity")]
    if not isinstance(evidence, dict) or type(raised_at_ms) is not int or not allowed:
        _log.critical("own_alert_unreadable", sequence=sequence)
        return None
    if not 0 <= raised_at_ms < TIME_MS_MAX:
        _log.critical("own_alert_unreadable", sequence=sequence)
        return None
    said = {str(name): str(value) for name, value in evidence.items()}
    made = alert(_CODE, str(fields.get("summary")), str(fields.get("scope")), said, raised_at_ms, allowed[0])
    return over(made, made.raised_at_ms) if fields.get("is_over") is True else made
