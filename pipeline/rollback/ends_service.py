"""Whether everybody whose word a plan takes has read decisions.v1 to its end.

A plan is made from the audit log, the ledger and the reviews. Where one of them is behind the topic, it would be made
on what is no longer so: the plan waits for them for a while, and then isn't made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from pipeline.domain.log import Record
from pipeline.io.postgres import Connection
from pipeline.rollback.plan_store import positions_of

READERS: Final = {
    "audit": "the audit log",
    "executor-settled": "the executor",
    "review": "the review service",
}
"""Consumers of decisions.v1 whose positions are looked at, and what they are called."""
AUDIT: Final = {"audit": READERS["audit"]}
READERS_PATIENCE_S: Final = 60.0
"""Time that audit, executor and reviews have to come to the topic's end; they are moments behind while they run."""
POLL_S: Final = 0.5


class TopicEnds(NamedTuple):
    """The topic as a reader of committed records sees it."""

    name: str
    ends: Callable[[], Mapping[int, int]]
    read: Callable[[Mapping[int, int]], Iterable[Record]]  # from these offsets to the ends as they are met


class Behind(NamedTuple):
    """A reader that hasn't stored a record which stood on the topic when the plan was asked for."""

    who: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.who} has not taken in decisions.v1[{self.partition}] at {self.offset} yet"


def wait_for_readers(
    connection: Connection,
    topic: TopicEnds,
    patience_s: float,
    wait: Callable[[float], object] = time.sleep,
    *,
    readers: Mapping[str, str] = READERS,
) -> Behind | None:
    """Wait until all `readers` have what stood on the topic at the call; else say who is behind, after `patience_s`."""
    ends = {partition: end for partition, end in topic.ends().items() if end}
    deadline = time.monotonic() + patience_s
    while (behind := _behind(connection, topic, ends, readers)) is not None:
        if time.monotonic() >= deadline:
            return behind
        wait(POLL_S)
    return None


def _behind(
    connection: Connection, topic: TopicEnds, ends: Mapping[int, int], readers: Mapping[str, str]
) -> Behind | None:
    positions = positions_of(connection, topic.name, list(readers))
    for consumer, found in positions.items():
        lagging = {partition: found.get(partition, 0) for partition, end in ends.items()}
        lagging = {partition: offset for partition, offset in lagging.items() if offset < ends[partition]}
        if not lagging:
            continue
        # A partition may end with markers of transactions, which no position passes: only a record is behind.
        for record in topic.read(lagging):
            if record.source.offset < ends[record.source.partition]:
                return Behind(readers[consumer], record.source.partition, record.source.offset)
    return None
