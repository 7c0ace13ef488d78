"""Records of decisions.v1, and dead letters, that a consumer passed over, since it isn't proved who wrote them.

Invariants
1. A record that is not proved is never acted on, and holds nobody up: whoever may write to the topic could write it.
2. It is not passed over in silence: it is told, counted and kept, before the position moves past it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import structlog
from prometheus_client import Counter

from pipeline.alerts.catalogue import unproved_alert
from pipeline.domain.alert import Alert
from pipeline.domain.log import Unproved
from pipeline.io.postgres import Connection, failures_named, statements

TELL_AGAIN_S: Final = 60.0

UNPROVED: Final = Counter(
    "fraud_unproved_records_total", "Decisions and dead letters of which it isn't proved who wrote them", ["why"]
)
log = structlog.stdlib.get_logger("seals")


class Noted(NamedTuple):
    """A record that was passed over before."""

    partition: int
    offset: int
    why: str
    key_id: str | None
    record_sha256: bytes


class PassedOver:
    """For one consumer of one topic. Raises DatabaseUnavailable, DatabaseRefused, and what `tell` raises."""

    def __init__(self, consumer: str, topic: str, tell: Callable[[Sequence[Alert]], None] | None = None) -> None:
        """tell: None where another consumer of the same records tells of them."""
        self._consumer, self._topic, self._tell = consumer, topic, tell
        self._statements = statements("pipeline.seals", "unproved")
        self._untold: dict[tuple[int, str], tuple[Unproved, Unproved, int]] = {}  # by partition and why: first, last
        self._told_at_s: dict[tuple[int, str], float] = {}

    def note(self, connection: Connection, unproved: Sequence[Unproved]) -> None:
        """Tell and keep what is passed over, if anything; called with every turn. Noted again, it is the same rows."""
        for record in unproved:
            UNPROVED.labels(record.why).inc()
            of_kind = (record.partition, record.why)
            first, _, count = self._untold.get(of_kind, (record, record, 0))
            self._untold[of_kind] = first, record, count + 1
        self._tell_due()
        if unproved:
            self._keep(connection, unproved)

    def _tell_due(self) -> None:
        """At once, and what comes within TELL_AGAIN_S after that together, so that nobody can bury who is on call."""
        now_s = time.monotonic()
        due = [each for each in self._untold if now_s - self._told_at_s.get(each, -TELL_AGAIN_S) >= TELL_AGAIN_S]
        for partition, why in due:
            first, last, count = self._untold[partition, why]
            place = {"topic": self._topic, "partition": partition, "first": first.offset, "last": last.offset}
            log.error("record_unproved", **place, records=count, why=why)
        if due and self._tell is not None:
            at_ms = time.time_ns() // 1_000_000
            self._tell([unproved_alert(self._topic, *self._untold[each], at_ms) for each in due])
        for each in due:
            del self._untold[each]
            self._told_at_s[each] = now_s

    def noted(self, connection: Connection, positions: Mapping[int, int]) -> list[Noted]:
        """Return what was noted from these offsets on, by partition: from before a crash."""
        found: list[Noted] = []
        for partition, offset in positions.items():
            wanted = {"consumer": self._consumer, "topic": self._topic, "partition": partition, "first": offset}
            with failures_named():
                rows = connection.execute(self._statements["noted_from"], wanted).fetchall()
            found += [Noted(partition, *row) for row in rows]
        return found

    def _keep(self, connection: Connection, records: Sequence[Unproved]) -> None:
        rows = [
            {
                "consumer": self._consumer, "topic": self._topic, "partition": each.partition,
                "offset": each.offset, "why": str(each.why), "key_id": each.key_id,
                "record": each.value,
            }
            for each in records
        ]  # fmt: skip
        with failures_named(), connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(self._statements["note_unproved"], rows)
