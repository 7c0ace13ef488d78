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
from pipeline.domain.decision import Decision
from pipeline.domain.execution import Execution
from pipeline.domain.features import NONE
from pipeline.domain.log import Presented, Prove, Unproved
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.reconcile.reading_on_service import ReadOn, Stretch
from pipeline.reconcile.told import Booked, Lives, Subject, ToldFault, fault_of, is_comparable, step_of

CONSUMER: Final = "reconcile-told"

_SQL: Final = statements("pipeline.reconcile", "told")
log = structlog.get_logger("reconcile")


class UnprovedTold:
    """What a reader has passed over of executions.v1, because nobody proves to have told it. For one thread."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[int, int]] = {}  # by partition: the first offset, and how many there are

    def noting(self, prove: Prove) -> Prove:
        """Return the same check, which notes what it finds unproved."""

        def checked(record: Presented) -> Unproved | None:
            unproved = prove(record)
            if unproved is not None:
                first, count = self._found.get(record.partition, (record.offset, 0))
                self._found[record.partition] = min(first, record.offset), count + 1
            return unproved

        return checked

    def taken(self, partition: int) -> tuple[int, int]:
        """Return the first offset that was noted of a partition, and how many were, and forget them."""
        return self._found.pop(partition, (-1, 0))

    def forget(self) -> None:
        self._found.clear()


class ToldWatch:
    """For one thread, with a reader of its own. Raises what the adapters raise."""

    def __init__(
        self,
        reader: LogReader,
        wire: WireFormat,
        topic: str,
        publish: Callable[[Iterable[Alert]], None],
        now_ms: Callable[[], int],
        unproved: UnprovedTold | None = None,
    ) -> None:
        """unproved: notes what the reader's own check passes over; None where it has none."""
        self._log, self._wire = ReadOn(reader, topic, CONSUMER), wire
        self._publish, self._now_ms = publish, now_ms
        self._unproved = unproved or UnprovedTold()

    @property
    def is_behind(self) -> bool:
        return self._log.is_behind

    def forget(self) -> None:
        """After a failure it isn't known what was stored."""
        self._log.forget()
        self._unproved.forget()

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
            booked = _booked(connection, asked, self._logged_at_ms)
            for record, one in readable:
                if is_comparable(one, record.source.timestamp_ms, lives):
                    fault = fault_of(one, booked.get((one.execution_id, step_of(one))), lives)
                    if fault is not None:
                        faults[record.source.offset] = fault
            first, passed_over = self._unproved.taken(stretch.partition)
            if passed_over:
                faults[first] = ToldFault.UNPROVED
            count = len(faults) + max(passed_over - 1, 0)
            self._tell(stretch.partition, faults, count)
            self._log.advance(connection, stretch.partition, stretch.end)
        self._log.moved(stretch.partition, stretch.end)
        return count

    def _tell(self, partition: int, faults: dict[int, ToldFault], count: int) -> None:
        """One alert for what was read at once, which names the first."""
        if not faults:
            return
        first = min(faults)
        evidence = {
            "partition": str(partition),
            "first_offset": str(first),
            "why": faults[first].value,
            "records": str(count),
        }
        log.error("told_by_nobody", **evidence)
        self._publish([_alert(evidence, self._now_ms())])

    def _logged_at_ms(self, record: bytes) -> int | None:
        """When a payment was logged, as its decision's record says; None where that is no decision."""
        decision = self._wire.decode_decision_record(record)
        return decision.source_timestamp_ms if isinstance(decision, Decision) else None


def _alert(evidence: dict[str, str], at_ms: int) -> Alert:
    code = AlertCode.TOLD_IMPLAUSIBLE
    return alert(code, CATALOGUE[code].meaning, "execution", evidence, at_ms)


def _lives(connection: Connection) -> Lives:
    found = connection.execute(_SQL["lives"]).fetchone()
    assert found is not None, "the migration begins the first life"
    return Lives(*found)


def _booked(
    connection: Connection, told: Sequence[Execution], logged_at_of: Callable[[bytes], int | None]
) -> dict[tuple[str, int], Booked]:
    """What the ledger has of these executions, by execution and step.

    When the payment was logged only the executor says there: so the decision's own word counts, or that it isn't known.
    """
    wanted = [(one.execution_id, step_of(one)) for one in told if _is_uuid(one.execution_id)]
    if not wanted:
        return {}
    names, steps = zip(*sorted(set(wanted)), strict=True)
    rows = connection.execute(_SQL["booked"], [list(names), list(steps)]).fetchall()
    found: dict[tuple[str, int], Booked] = {}
    for name, step, at_step, sequence, state, aim, returned_minor, record, *subject in rows:
        known = Subject(*subject)
        logged_at_ms = None if record is None else logged_at_of(record)
        if logged_at_ms is not None and known.payment_logged_at_ms != NONE:
            known = known._replace(payment_logged_at_ms=logged_at_ms)
        found[name, step] = Booked(known, at_step, sequence, state, aim, returned_minor)
    return found


def _is_uuid(name: str) -> bool:
    """Whether it is one as we write them; another spelling is no id that the ledger told."""
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False
