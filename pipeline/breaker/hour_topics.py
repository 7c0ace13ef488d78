"""The topic breaker_hours.v1, which keeps what is usual (ADR 0028): reading it at the start, adding to it every hour.

Redis holds the running totals and so the hours, too. This copy outlives Redis: after a loss a model is measured by what
it was measured by before. The topic is compacted, and its keys are a ring of the hours that a baseline reaches back.

Only what a worker sealed counts: who says what is usual, or that every hour was touched by an incident, decides what
the breaker can see.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Self

from pipeline.breaker.detecting.baselines import HOUR_MS
from pipeline.breaker.detecting.history import COUNTS_KEPT, DOUBTS_KEPT, HOURS_KEPT_MAX
from pipeline.domain.context import BreakerHour
from pipeline.domain.log import Outgoing, Record
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import BrokerAway
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.kafka.topic_settings import BREAKER_HOURS_TOPIC
from pipeline.io.settings import Settings
from pipeline.seals.seal_files import worker_sealer

RECORDS_A_READ: Final = 10_000


class HourTopic:
    def __init__(
        self,
        topic: str,
        wire: WireFormat,
        open_reader: Callable[[], LogReader],
        append: Callable[[Sequence[Outgoing]], Awaitable[None]],
        seal: Callable[[Sequence[Outgoing]], list[Outgoing]] = list,
    ) -> None:
        """Keep what to read and to write with.

        topic: breaker_hours.v1 with its prefix. open_reader: passes over records that no worker sealed. seal: proves
        that a worker wrote the records.
        """
        self._topic, self._wire, self._open_reader = topic, wire, open_reader
        self._append, self._seal = append, seal

    @classmethod
    def of(
        cls,
        settings: Settings,
        wire: WireFormat,
        open_reader: Callable[[], LogReader],
        append: Callable[[Sequence[Outgoing]], Awaitable[None]],
    ) -> Self:
        """The topic of a deployment, for one of its workers, which seals. Raises Failure."""
        sealer = worker_sealer(settings, name=BREAKER_HOURS_TOPIC)
        return cls(sealer.topic, wire, open_reader, append, sealer.seal)

    def read(self) -> list[BreakerHour]:
        """Return the latest record of each hour, oldest first. Raises BrokerFailed, or one of its kinds.

        A record that can't be read says nothing; that hour is then known from Redis, or not at all. What was excluded
        of an hour stays so: an older record of it that somebody publishes once more takes no incident back.
        """
        found: dict[int, BreakerHour] = {}
        with self._open_reader() as reader:
            for partition, extent in reader.extents(self._topic).items():
                begin = extent.low
                while begin < extent.high:
                    read = reader.read_range(
                        self._topic, partition, begin, extent.high, RECORDS_A_READ, lambda record: record
                    )
                    for hour in filter(None, map(self._hour, read.taken)):
                        number = hour.start_ms // HOUR_MS
                        before = found[number].excluded if number in found else []
                        found[number] = hour._replace(excluded=sorted({*before, *hour.excluded}))
                    begin = read.end_offset
                    if read.is_at_end and begin < extent.high:
                        raise BrokerAway(f"{self._topic} can't be read to its end yet")
        return [found[number] for number in sorted(found)]

    async def keep(self, hours: Sequence[BreakerHour]) -> None:
        """Append the hours. Raises BrokerAway or BrokerFailed."""
        await self._append(self._seal([Outgoing(self._topic, _key(hour), self._wire.encode(hour)) for hour in hours]))

    def _hour(self, record: Record) -> BreakerHour | None:
        decoded = self._wire.decode_breaker_hour(record.value)
        if isinstance(decoded, Refusal) or len(decoded.counts) != COUNTS_KEPT * len(decoded.scopes):
            return None
        if len(decoded.doubts) not in (0, DOUBTS_KEPT * len(decoded.scopes)):
            return None
        numbers = (*decoded.counts, *decoded.doubts)
        return decoded if min(numbers, default=0) >= 0 and decoded.start_ms >= 0 else None


def _key(hour: BreakerHour) -> bytes:
    return str(hour.start_ms // HOUR_MS % HOURS_KEPT_MAX).encode()
