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
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.reconcile.reading_on_service import ReadOn, Stretch
from pipeline.reconcile.told import Booked, Lives, Subject, ToldFault, fault_of, is_comparable, step_of

CONSUMER: Final = "reconcile-told"

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
        self._log, self._wire = ReadOn(reader, topic, CONSUMER), wire
        self._publish, self._now_ms = publish, now_ms

    @property
    def is_behind(self) -> bool:
        return self._log.is_behind

    def forget(self) -> None:
        """After a failure it isn't known what was stored."""
        self._log.forget()

    def step(self, connection: Connection) -> int:
        """Compare what has come since; return how many records nobody told. Without the topic another system carries
        payments out."""
        return sum(self._compare(connection, stretch) for stretch in self._log.stretches(connection))

    def _compare(self, connection: Connection, stretch: Stretch) -> int:
        """A fault is told before the position moves past it; told again, the alert has the same id."""
        told = [(record, self._wire.decode_execution(record.value)) for record in stretch.records]
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
            self._tell(stretch.partition, faults)
            self._log.advance(connection, stretch.partition, stretch.end)
        self._log.moved(stretch.partition, stretch.end)
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
