"""Records of decisions.v1 that a consumer passed over, since it isn't proved who wrote them.

Invariants
1. A record that is not proved is never acted on, and holds nobody up: whoever may write to the topic could write it.
2. It is not passed over in silence: it is told, counted and kept, before the position moves past it.
3. One whose key was unknown is taken in once the key set knows the key and the seal holds, so that a key that came late
   loses nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Final, Generic

import structlog
from prometheus_client import Counter

from pipeline.alerts.catalogue import unproved_alert
from pipeline.domain.alert import Alert
from pipeline.domain.log import ContentT, LogRecord, Unproved
from pipeline.domain.refusals import Refusal
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.seals.proving import SealCheck

PORTION: Final = 500
"""Records that are looked up, read and taken in at a time."""
TELL_AGAIN_S: Final = 60.0
_BEGINNING: Final = (-1, -1)
_PASSED_OVER, _TAKEN_IN = "PASSED_OVER", "TAKEN_IN"

UNPROVED: Final = Counter(
    "fraud_unproved_records_total", "Records of decisions.v1 of which it isn't proved who wrote them", ["why"]
)
log = structlog.stdlib.get_logger("seals")


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
            self._keep(connection, _PASSED_OVER, unproved)

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

    def noted(self, connection: Connection, positions: Mapping[int, int]) -> list[Unproved]:
        """Return what was noted from these offsets on, by partition: from before a crash; without their bytes."""
        found: list[Unproved] = []
        for partition, offset in positions.items():
            wanted = {"consumer": self._consumer, "topic": self._topic, "partition": partition, "first": offset}
            with failures_named():
                rows = connection.execute(self._statements["noted_from"], wanted).fetchall()
            found += [Unproved(partition, at, b"", why, key_id) for at, why, key_id in rows]
        return found

    def taken_in(self, connection: Connection, records: Iterable[LogRecord[ContentT]], key_ids: Iterable[str]) -> None:
        """Keep that these were proved after all, and taken in."""
        self._keep(
            connection,
            _TAKEN_IN,
            [
                Unproved(record.partition, record.offset, record.value, "KEY_UNKNOWN", key_id)
                for record, key_id in zip(records, key_ids, strict=True)
            ],
        )

    def under(
        self, connection: Connection, key_ids: Sequence[str], partitions: Sequence[int], after: tuple[int, int]
    ) -> list[tuple[int, int]]:
        """Return places of what was passed over because one of these keys was unknown, and not taken in since.

        Those behind the place `after`, ascending, PORTION at most.
        """
        wanted = {
            "consumer": self._consumer, "topic": self._topic, "keys": list(key_ids), "partitions": list(partitions),
            "after_partition": after[0], "after_offset": after[1], "limit": PORTION,
        }  # fmt: skip
        with failures_named():
            return connection.execute(self._statements["passed_over_for"], wanted).fetchall()

    def _keep(self, connection: Connection, event: str, records: Sequence[Unproved]) -> None:
        rows = [
            {
                "consumer": self._consumer, "topic": self._topic, "partition": each.partition,
                "offset": each.offset, "event": event, "why": str(each.why), "key_id": each.key_id,
                "record": each.value,
            }
            for each in records
        ]  # fmt: skip
        with failures_named(), connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(self._statements["note_unproved"], rows)


class LateProofs(Generic[ContentT]):
    """Takes in what was passed over, once its key is known. For one thread."""

    def __init__(
        self,
        passed_over: PassedOver,
        check: SealCheck,
        topic: str,
        open_reader: Callable[[], LogReader],
        decode: Callable[[bytes | None], ContentT | Refusal],
    ) -> None:
        self._passed_over, self._check, self._topic = passed_over, check, topic
        self._open_reader, self._decode = open_reader, decode
        self._seen: tuple[frozenset[str], frozenset[int]] | None = None
        self._after: tuple[int, int] | None = None  # the last place that was looked at; None where all were

    def take_in(
        self,
        connection: Connection,
        partitions: Iterable[int],
        accept: Callable[[Sequence[LogRecord[ContentT]]], None],
    ) -> None:
        """Look at a portion, whenever the keys or the partitions are others than before, until all was looked at.

        Called with every turn, so that what is new doesn't wait for it. accept: stores; it may raise.
        """
        now = self._check.key_ids(), frozenset(partitions)
        if now != self._seen:
            self._seen, self._after = now, _BEGINNING
        if self._after is None:
            return
        places = self._passed_over.under(connection, sorted(now[0]), sorted(now[1]), self._after)
        if places:
            with closing(self._open_reader()) as reader:
                self._take_in(connection, reader, places, accept)
        self._after = places[-1] if len(places) == PORTION else None

    def _take_in(
        self,
        connection: Connection,
        reader: LogReader,
        places: Sequence[tuple[int, int]],
        accept: Callable[[Sequence[LogRecord[ContentT]]], None],
    ) -> None:
        proved: list[LogRecord[ContentT]] = []
        key_ids: list[str] = []
        for place in places:
            record = reader.one_presented(self._topic, *place)
            if record is None or self._check.unproved(record) is not None:
                continue
            content = self._decode(record.value)
            if isinstance(content, Refusal):
                continue  # it stays passed over, and named as that
            proved.append(LogRecord(*place, record.timestamp_ms, record.key or b"", record.value, content))
            key_ids.append(self._check.key_id(record))
        if proved:
            accept(proved)
            self._passed_over.taken_in(connection, proved, key_ids)
            log.warning("unproved_taken_in", topic=self._topic, records=len(proved))
