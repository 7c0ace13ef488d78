"""Compares what is told on executions.v1 with the ledger, record by record as it arrives.

Whoever has the executor's credential on the broker, and none on the database, could tell decision workers that an
account has paid whom it never paid, or that its payments were refused, so that its next ones look harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final
from uuid import UUID

import structlog

from pipeline.alerts.catalogue import CATALOGUE, AlertCode, alert
from pipeline.domain.alert import Alert
from pipeline.domain.execution import Execution
from pipeline.domain.log import Record
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import TopicMissing
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, Positions, failures_named, statements
from pipeline.reconcile.told import Booked, Lives, Subject, ToldFault, fault_of, is_comparable, step_of

CONSUMER: Final = "reconcile-told"
RECORDS_A_TURN: Final = 1_000

_SQL: Final = statements("pipeline.reconcile", "told")
log = structlog.get_logger("reconcile")


class ToldWatch:
    """For one thread, with a reader of its own. Raises what the adapters raise."""

    def __init__(
        self,
        reader: LogReader,
        wire: WireFormat,
        topic: str,
        publish: Callable[[Iterable[Alert]], None],
        now_ms: Callable[[], int],
    ) -> None:
        self._reader, self._wire, self._topic = reader, wire, topic
        self._publish, self._now_ms = publish, now_ms
        self._positions = Positions(CONSUMER, topic)
        self._next: dict[int, int] = {}
        self.is_behind = False

    def forget(self) -> None:
        """After a failure it isn't known what was stored."""
        self._next = {}

    def step(self, connection: Connection) -> int:
        """Compare what has come, RECORDS_A_TURN of each partition at most; return how many records nobody told."""
        try:
            extents = self._reader.extents(self._topic)
        except TopicMissing:  # another system carries payments out
            self.is_behind = False
            return 0
        if self._next.keys() != extents.keys():
            with failures_named():
                self._next = self._positions.read(connection, extents)
        self.is_behind, found = False, 0
        for partition, extent in extents.items():
            start = max(self._next[partition], extent.low)
            if start >= extent.high:
                continue
            read = self._reader.read_range(self._topic, partition, start, None, RECORDS_A_TURN, _itself)
            self.is_behind |= not read.is_at_end
            found += self._compare(connection, partition, read.taken, read.end_offset)
        return found

    def _compare(self, connection: Connection, partition: int, records: Sequence[Record], end: int) -> int:
        """A fault is told before the position moves past it; told again, the alert has the same id."""
        told = [(record, self._wire.decode_execution(record.value)) for record in records]
        readable = [(record, one) for record, one in told if isinstance(one, Execution)]
        faults = {record.source.offset: ToldFault.UNREADABLE for record, one in told if not isinstance(one, Execution)}
        with failures_named(), connection.transaction():
            lives = _lives(connection)
            asked = [one for record, one in readable if is_comparable(one, record.source.timestamp_ms, lives)]
            booked = _booked(connection, asked)
            for record, one in readable:
                if is_comparable(one, record.source.timestamp_ms, lives):
                    fault = fault_of(one, booked.get((one.execution_id, step_of(one))), lives)
                    if fault is not None:
                        faults[record.source.offset] = fault
            self._tell(partition, faults)
            self._positions.advance(connection, partition, self._next[partition], end)
        self._next[partition] = end
        return len(faults)

    def _tell(self, partition: int, faults: dict[int, ToldFault]) -> None:
        """One alert for what was read at once, which names the first."""
        if not faults:
            return
        first = min(faults)
        evidence = {
            "partition": str(partition),
            "first_offset": str(first),
            "why": faults[first].value,
            "records": str(len(faults)),
        }
        log.error("told_by_nobody", **evidence)
        self._publish([_alert(evidence, self._now_ms())])


def _alert(evidence: dict[str, str], at_ms: int) -> Alert:
    code = AlertCode.TOLD_IMPLAUSIBLE
    return alert(code, CATALOGUE[code].meaning, "execution", evidence, at_ms)


def _lives(connection: Connection) -> Lives:
    found = connection.execute(_SQL["lives"]).fetchone()
    assert found is not None, "the migration begins the first life"
    return Lives(*found)


def _booked(connection: Connection, told: Sequence[Execution]) -> dict[tuple[str, int], Booked]:
    """What the ledger has of these executions, by execution and step."""
    wanted = [(one.execution_id, step_of(one)) for one in told if _is_uuid(one.execution_id)]
    if not wanted:
        return {}
    names, steps = zip(*sorted(set(wanted)), strict=True)
    rows = connection.execute(_SQL["booked"], [list(names), list(steps)]).fetchall()
    found: dict[tuple[str, int], Booked] = {}
    for name, step, at_step, sequence, state, aim, returned_minor, *subject in rows:
        found[name, step] = Booked(Subject(*subject), at_step, sequence, state, aim, returned_minor)
    return found


def _is_uuid(name: str) -> bool:
    """Whether it is one as we write them; another spelling is no id that the ledger told."""
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _itself(record: Record) -> Record:
    return record
