"""The follower of a worker, by its settings: which topic it reads, under which group, and whom it tells."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.decide.outcomes.due import OutcomesDue
from pipeline.decide.outcomes.following_service import Follower
from pipeline.decide.outcomes.intake_service import READ_MAX, Intake, Logs, Telling
from pipeline.domain.alert import Alert
from pipeline.domain.log import LogRecord, Outgoing, Prove, Record
from pipeline.domain.refusals import Refusal
from pipeline.io.avro.wire import WireFormat
from pipeline.io.dead_letters import DeadLetters
from pipeline.io.kafka.log_reader import Extent, LogReader, RangeRead
from pipeline.io.kafka.positioned_log import PositionedLog, PositionsOf
from pipeline.io.settings import Outcomes, Settings
from pipeline.seals.seal_files import decision_proves, execution_proves
from pipeline.state.outcome_records import Told, told_by_decision, told_by_execution
from pipeline.state.store import RedisState
from pipeline.state.windows import since_of

GROUP_SUFFIX: Final = "-outcomes"


class OutcomesTopic:
    """The topic of outcomes, as a follower reads it and tells of it."""

    def __init__(
        self,
        settings: Settings,
        wire: WireFormat,
        open_reader: Callable[[], LogReader],
        dead_letters: DeadLetters,
        append: Callable[[Sequence[Outgoing]], Awaitable[None]],
    ) -> None:
        self._settings, self._wire, self._open_reader = settings, wire, open_reader
        self._dead_letters, self._append = dead_letters, append
        self._name = settings.outcomes.topic
        self._topic = settings.topic(self._name)
        self._alerts = AlertPublisher(append, wire, settings.topic("alerts.v1"))

        self._logs = Logs(self._open_source, self._read, self._extents, self._since_of, self._payment_partitions)

    def intake(self, state: RedisState, due: OutcomesDue) -> Intake:
        return Intake(state, self._logs, Telling(self._refuse, self._raise_alert), due)

    def follower(self, intake: Intake) -> Follower:
        return Follower(intake, self._logs, patience_s=self._settings.state_patience_s)

    def _open_source(self, positions: PositionsOf) -> PositionedLog[Told]:
        settings = self._settings
        return PositionedLog(
            settings.bootstrap_servers,
            self._topic,
            self._told,
            f"{settings.consumer_group}{GROUP_SUFFIX}",
            slot=settings.worker_slot,
            positions=positions,
            options=settings.kafka_options,
            prove=self._prove(),
        )

    def _prove(self) -> Prove | None:
        """None where nobody seals what the executor tells."""
        proves = decision_proves if self._settings.outcomes is Outcomes.DECISIONS else execution_proves
        return proves(self._settings).get(self._topic)

    def _told(self, value: bytes | None) -> Told:
        if self._settings.outcomes is Outcomes.DECISIONS:
            return told_by_decision(self._wire.decode_decision_record(value))
        return told_by_execution(self._wire.decode_execution(value))

    def _read(self, partition: int, first: int, end: int) -> RangeRead[LogRecord[Told]]:
        with self._open_reader() as reader:
            return reader.read_range(self._topic, partition, first, end, READ_MAX, self._log_record)

    def _log_record(self, record: Record) -> LogRecord[Told]:
        content = self._told(record.value)
        return LogRecord(*record.source, record.key or b"", record.value or b"", content)

    def _extents(self) -> Mapping[int, Extent]:
        with self._open_reader() as reader:
            return reader.extents(self._topic)

    def _since_of(self, partition: int, oldest: int) -> int:
        with self._open_reader() as reader:
            found = reader.read_range(self._topic, partition, oldest, None, 1, _timestamp_ms)
        return since_of(found.taken[0] if found.taken else None, time.time_ns() // 1_000_000)

    def _payment_partitions(self) -> int:
        with self._open_reader() as reader:
            return len(reader.extents(self._settings.topic("transactions.v1")))

    async def _refuse(self, record: Record, refusal: Refusal) -> None:
        await self._append([self._dead_letters.letter(self._name, record, *refusal)])

    async def _raise_alert(self, raised: Alert) -> None:
        await self._alerts.publish([raised])


def _timestamp_ms(record: Record) -> int:
    return record.source.timestamp_ms
