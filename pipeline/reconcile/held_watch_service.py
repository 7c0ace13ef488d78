"""Looks for transactions on the broker that somebody leaves open: no reader gets past what one of them has written.

Whoever may write to a topic in transactions, with the credential of a worker or of the rollback, can hold every
partition of it for as long as the broker lets a transaction last, and then again. Nothing fails meanwhile: whoever
reads sees the end of the log before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

import structlog

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.domain.alert import Alert
from pipeline.domain.log import TopicPartition
from pipeline.io.kafka.log_reader import Extent

LOOK_S: Final = 15.0
HELD_S: Final = 60.0
"""A worker's transaction lasts 5 s at most, and one of the rollback 15, unless a setting says otherwise."""
TOLD_AGAIN_S: Final = 3_600.0
log = structlog.get_logger("reconcile")


class Ends(Protocol):
    """The ends of a topic's partitions: of what is committed, and of what was written."""

    def extents(self, topic: str) -> dict[int, Extent]: ...

    def uncommitted_ends(self, topic: str) -> dict[int, int]: ...


class Standing(NamedTuple):
    """Where a partition's readers stand, since when, and when somebody was told of it; None: nobody was."""

    offset: int
    since_s: float
    told_s: float | None = None


class HeldWatch:
    """For one thread. Raises what the adapters raise."""

    def __init__(
        self,
        ends: Ends,
        topics: Sequence[str],
        publish: Callable[[Iterable[Alert]], None],
        now_ms: Callable[[], int],
        now_s: Callable[[], float],
    ) -> None:
        """now_s: of a clock that never goes back."""
        self._ends, self._topics, self._publish = ends, topics, publish
        self._now_ms, self._now_s = now_ms, now_s
        self._standing: dict[TopicPartition, Standing] = {}
        self._due_s = now_s()

    def step(self) -> list[TopicPartition]:
        """Return the partitions of which somebody was told now. Where no reader gets on is looked at now and then."""
        now_s = self._now_s()
        if now_s < self._due_s:
            return []
        self._due_s = now_s + LOOK_S
        return [place for topic in self._topics for place in self._look(topic, now_s)]

    def _look(self, topic: str, now_s: float) -> list[TopicPartition]:
        """What is committed is asked for last: what was committed in between is no transaction that is open."""
        written = self._ends.uncommitted_ends(topic)
        committed = {partition: extent.high for partition, extent in self._ends.extents(topic).items()}
        held = []
        for partition, offset in committed.items():
            place = TopicPartition(topic, partition)
            before = self._standing.get(place)
            if offset >= written.get(partition, 0):
                self._standing.pop(place, None)
                continue
            if before is None or before.offset != offset:
                self._standing[place] = Standing(offset, now_s)
                continue
            is_told = before.told_s is not None and now_s - before.told_s < TOLD_AGAIN_S
            if now_s - before.since_s >= HELD_S and not is_told:
                self._tell(place, offset)
                self._standing[place] = before._replace(told_s=now_s)
                held.append(place)
        return held

    def _tell(self, place: TopicPartition, offset: int) -> None:
        evidence = {"topic": place.topic, "partition": str(place.partition), "offset": str(offset)}
        log.error("transaction_left_open", **evidence)
        what = (
            f"A transaction that somebody leaves open holds partition {place.partition} of {place.topic} at offset "
            f"{offset}: nobody reads what stands behind it."
        )
        scope = f"{place.topic}:{place.partition}"
        self._publish([alert(AlertCode.TRANSACTION_LEFT_OPEN, what, scope, evidence, self._now_ms())])
