"""What the service has to say itself, from the moment that it is known until it stands on alerts.v1.

It is stored with what it is about, so that whoever runs next tells what a service that died could not. It may stand on
the topic twice, under one id.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import Final, NamedTuple

import structlog
from psycopg.types.json import Jsonb

from pipeline.alerts.catalogue import CATALOGUE, OVER_BY_ITSELF, AlertCode, alert, over
from pipeline.domain.alert import Alert
from pipeline.domain.log import Unproved
from pipeline.io.postgres import Connection, statements
from pipeline.oncall import metrics

OWN_AT_ONCE: Final = 100
TIME_MS_MAX: Final = 2**53
TELL_AGAIN_S: Final = 60.0
"""Between what is told of forged ends on one partition: whoever may write there decides how many there are."""
_CODES: Final = frozenset({AlertCode.ALERT_NOT_DELIVERED, AlertCode.ALERTS_FORGED})
_SQL: Final = statements("pipeline.oncall", "oncall")
_log = structlog.stdlib.get_logger("alerts")


class OwnAlert(NamedTuple):
    """told: None where the row holds nothing that the service says."""

    sequence: int
    told: Alert | None


def append_own_alert(connection: Connection, own: Alert) -> None:
    """Append it in the caller's transaction."""
    assert own.code in _CODES, "of nothing else does the service tell in this way"
    connection.execute(_SQL["append_own_alert"], {"alert": Jsonb(own._asdict())})


def own_alerts_to_tell(connection: Connection) -> list[OwnAlert]:
    """What does not stand on the topic yet, in order, a bounded number."""
    rows = connection.execute(_SQL["own_alerts_to_tell"], {"limit": OWN_AT_ONCE}).fetchall()
    return [OwnAlert(sequence, _own_alert(sequence, fields)) for sequence, fields in rows]


def own_ends(connection: Connection, alert_ids: Collection[str]) -> set[tuple[str, int]]:
    """Return the words of the service itself that these alerts are over: the id and the time of each."""
    rows = connection.execute(_SQL["own_ends"], {"alert_ids": list(alert_ids)}).fetchall()
    return {(alert_id, int(raised_at_ms)) for alert_id, raised_at_ms in rows if str(raised_at_ms).isdecimal()}


class ForgedEnds:
    """Records that say something is over and that nothing proves: what is to be told of them. topic: by its full name.

    They are told of at once, and what comes on a partition within TELL_AGAIN_S after that together.
    """

    def __init__(self, topic: str, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._topic, self._clock_s = topic, clock_s
        self._untold: dict[int, tuple[Unproved, Unproved, int]] = {}  # by partition: the first, the last, how many
        self._told_at_s: dict[int, float] = {}

    def note(self, unproved: Iterable[Unproved]) -> None:
        for record in unproved:
            metrics.UNPROVED.inc()
            first, _, count = self._untold.get(record.partition, (record, record, 0))
            self._untold[record.partition] = first, record, count + 1

    def tell(self, connection: Connection, now_ms: int) -> bool:
        """Append what is due, in the caller's transaction; return whether anything was.

        Where that is rolled back, the records are read and noted again.
        """
        now_s = self._clock_s()
        due = [each for each in self._untold if now_s - self._told_at_s.get(each, -TELL_AGAIN_S) >= TELL_AGAIN_S]
        for partition in due:
            append_own_alert(connection, _forged_ends(self._topic, *self._untold[partition], now_ms))
            del self._untold[partition]
            self._told_at_s[partition] = now_s
        return bool(due)


def _forged_ends(topic: str, first: Unproved, last: Unproved, records: int, now_ms: int) -> Alert:
    where = f"{topic}[{first.partition}] at {first.offset}" + (f" to {last.offset}" if records > 1 else "")
    say = f"{records} records say" if records > 1 else "A record says"
    summary = f"{say} that something is over, and nothing proves who wrote {where} ({first.why}); nothing ended by it."
    evidence = {
        "topic": topic,
        "partition": str(first.partition),
        "first_offset": str(first.offset),
        "last_offset": str(last.offset),
        "records": str(records),
        "why": str(first.why),
    }
    return alert(AlertCode.ALERTS_FORGED, summary, "all", evidence, now_ms)


def append_told(connection: Connection, sequences: Iterable[int]) -> None:
    for sequence in sequences:
        connection.execute(_SQL["append_own_alert_told"], {"sequence": sequence})


def _own_alert(sequence: int, row: object) -> Alert | None:
    """The alert as the catalogue makes it of what the row says. A row of another form is logged, and None."""
    fields = row if isinstance(row, dict) else {}
    evidence, raised_at_ms = fields.get("evidence"), fields.get("raised_at_ms")
    code = next((each for each in _CODES if each == fields.get("code")), None)
    allowed = [] if code is None else [each for each in CATALOGUE[code].severities if each == fields.get("severity")]
    if code is None or not isinstance(evidence, dict) or type(raised_at_ms) is not int or not allowed:
        _log.critical("own_alert_unreadable", sequence=sequence)
        return None
    if not 0 <= raised_at_ms < TIME_MS_MAX:
        _log.critical("own_alert_unreadable", sequence=sequence)
        return None
    said = {str(name): str(value) for name, value in evidence.items()}
    made = alert(code, str(fields.get("summary")), str(fields.get("scope")), said, raised_at_ms, allowed[0])
    is_over = fields.get("is_over") is True and code in OVER_BY_ITSELF
    return over(made, made.raised_at_ms) if is_over else made
