"""The incident service: follows alerts.v1, stores every transition of the breaker, and opens incidents.

Each turn reads what has come, and stores it with its positions in one transaction. So a kill leaves what was stored and
where to go on, and a record that is read again, from wherever, changes nothing. Two services may run: they take turns,
and what one has stored the other passes over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import structlog

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.alerts.incident_kinds import kind_of
from pipeline.breaker.told_transitions import told_transition
from pipeline.domain.alert import Alert, IncidentKind
from pipeline.domain.log import Presented, Prove
from pipeline.incident import metrics
from pipeline.incident.incident_store import (
    OpenIncidents,
    Place,
    append_alert,
    append_incident,
    append_transition,
    is_stored,
    take_turn,
)
from pipeline.incident.placing import Standing, incident_id_of, joined, kept, suspect_since
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.kafka.log_reader import Extent, LogReader
from pipeline.io.postgres import Connection, Held, Positions, failures_named
from pipeline.people.act_store import RegistryReader
from pipeline.people.registry import Registry
from pipeline.promotion.watch_service import LateWatch, RolloutWatch

CONSUMER: Final = "incident"
GROUP: Final = "fraud-incident"
RECORDS_A_TURN: Final = 500
"""Of one partition; each takes up to four statements, so a turn of a few partitions lasts a second or two."""
IDLE_S: Final = 0.5

log = structlog.get_logger("incident")


class _Told(NamedTuple):
    """unproved: why it isn't proved that a worker told of a transition; empty where it is, or of any other alert."""

    told: Alert
    place: Place
    unproved: str


class _Read(NamedTuple):
    """A partition's part of a turn: where it was read from and to, and what was told there."""

    before: int
    after: int
    told: Sequence[_Told]
    unread: Sequence[Alert]
    is_at_end: bool


class IncidentService:
    """For one thread. Raises what the adapters raise."""

    def __init__(
        self,
        reader: LogReader,
        wire: WireFormat,
        topic: str,
        held: Held,
        tell: Callable[[Sequence[Alert]], None],
        lookback_ms: int,
        now_ms: Callable[[], int],
        rollouts: RolloutWatch | LateWatch | None = None,
        *,
        prove: Prove,
    ) -> None:
        """topic: alerts.v1 with its prefix. lookback_ms: from an alert back to the first decisions that are suspect.
        prove: says whether a worker wrote a record; only workers know of the breaker's transitions.

        rollouts: takes a model back that goes wrong; None where no record of the registry is signed.
        """
        self._rollouts, self._prove = rollouts, prove
        self._reader, self._wire, self._topic, self._held = reader, wire, topic, held
        self._tell, self._lookback_ms, self._now_ms = tell, lookback_ms, now_ms
        self._positions = Positions(CONSUMER, topic)
        self._registry, self._open = RegistryReader(), OpenIncidents()

    def step(self, stopping: threading.Event) -> str | None:
        """Take in what has come; ready once it has met the topic's end."""
        connection = self._held.connection()
        reads = self._read(connection)
        if unread := [each for read in reads.values() for each in read.unread]:
            self._tell(unread)  # before the position moves on: told again after a kill, it has the same id
        if any(read.after > read.before for read in reads.values()):
            self._store(connection, reads)
        if self._rollouts is not None:
            self._rollouts.look(connection)  # by the transitions that are stored by now
        if all(read.is_at_end for read in reads.values()):
            stopping.wait(IDLE_S)
            return None
        return "it is behind: alerts of before are read first"

    def begin_again(self) -> None:
        """Forget the connection, and what was read over it."""
        self._held.drop()
        self._registry, self._open = RegistryReader(), OpenIncidents()

    def close(self) -> None:
        self._held.drop()
        self._reader.close()

    def _read(self, connection: Connection) -> dict[int, _Read]:
        extents = self._reader.extents(self._topic)
        with failures_named():
            positions = self._positions.read(connection, extents)
        return {partition: self._part(partition, extent, positions[partition]) for partition, extent in extents.items()}

    def _part(self, partition: int, extent: Extent, before: int) -> _Read:
        if extent.high < before:
            raise BrokerFailed(f"{self._topic}[{partition}] ends before what was read of it: it was made anew")
        if extent.high == before:
            return _Read(before, before, [], [], is_at_end=True)
        first = max(before, extent.low)
        read = self._reader.presented_range(self._topic, partition, first, None, RECORDS_A_TURN)
        told: list[_Told] = []
        unreadable: list[Presented] = []
        for record in read.taken:
            decoded = self._wire.decode_alert(record.value)
            if isinstance(decoded, Alert):
                if decoded.is_over:
                    continue  # what it tells of is on-call's; an incident is over when a person says so
                alert_kept = kept(decoded)
                is_transition = told_transition(alert_kept) is not None
                unproved = self._prove(record) if is_transition else None
                why = "" if unproved is None else unproved.why
                told.append(_Told(alert_kept, Place(partition, record.offset), why))
            else:
                unreadable.append(record)
        unread = [_expired(partition, before, first, self._now_ms())] if 0 < before < first else []
        if unreadable:
            unread.append(_unreadable(partition, unreadable))
        return _Read(before, max(read.end_offset, first), told, unread, read.is_at_end)

    def _store(self, connection: Connection, reads: dict[int, _Read]) -> None:
        # Alerts stand on partitions by their ids; by time, what came first opens an incident and the rest joins it. A
        # copy that nobody sealed stands behind the record that it was made of.
        found = (each for read in reads.values() for each in read.told)
        every = sorted(found, key=lambda each: (each.told.raised_at_ms, each.unproved != ""))
        with failures_named(), connection.transaction():
            take_turn(connection)
            for partition, read in reads.items():
                if read.after > read.before:
                    self._positions.advance(connection, partition, read.before, read.after)
            registry = self._registry.read(connection)
            placing = _Placing(connection, self._open, registry, self._lookback_ms)
            for told, place, unproved in every:
                transition = told_transition(told)
                if transition is not None:
                    transition = transition.unproved(unproved) if unproved else transition
                    append_transition(connection, told, transition, place)
                if (kind := kind_of(told.code, told.severity)) is not None:
                    # Its scope and its times are whoever's word, so they are no part of what a model did.
                    is_proved = transition is not None and not unproved
                    placing.place(IncidentKind.FORGERY if unproved else kind, told, place, is_proved=is_proved)
        metrics.ALERTS.inc(len(every))
        for incident_id, kind, told in placing.opened:
            metrics.OPENED.labels(kind).inc()
            log.error("incident_opened", incident=incident_id, kind=kind, code=told.code, scope=told.scope)


class _Placing:
    """One transaction's alerts, each stored in its incident. `opened`: what came of it."""

    def __init__(self, connection: Connection, known: OpenIncidents, registry: Registry, lookback_ms: int) -> None:
        self._connection, self._known, self._registry = connection, known, registry
        self._lookback_ms = lookback_ms
        self._standing: dict[IncidentKind, dict[str, Standing]] = {}
        self.opened: list[tuple[str, IncidentKind, Alert]] = []

    def place(self, kind: IncidentKind, told: Alert, place: Place, *, is_proved: bool) -> None:
        if is_stored(self._connection, told):
            return
        standing = self._open_ones(kind)
        found = joined(told, list(standing.values()), is_proved=is_proved)
        if found is None:
            incident_id = incident_id_of(kind, told)
            # Before a drill nothing was wrong.
            lookback_ms = 0 if kind is IncidentKind.DRILL else self._lookback_ms
            suspect_since_ms = suspect_since(told, lookback_ms)
            append_incident(self._connection, incident_id, kind, told, suspect_since_ms)
            found = Standing(incident_id, frozenset(), told.raised_at_ms, told.raised_at_ms)
            self.opened.append((incident_id, kind, told))
        append_alert(self._connection, found.incident_id, told, place)
        standing[found.incident_id] = found.joined_by(told, is_proved=is_proved)

    def _open_ones(self, kind: IncidentKind) -> dict[str, Standing]:
        """The open incidents of a kind. Nobody changes them meanwhile: the transaction has its turn."""
        if kind not in self._standing:
            found = self._known.of(self._connection, kind, self._registry)
            self._standing[kind] = {each.incident_id: each for each in found}
        return self._standing[kind]


def _expired(partition: int, before: int, first: int, at_ms: int) -> Alert:
    summary = f"Alerts were deleted before they were read: {before} to {first - 1} of partition {partition}."
    return _unread(partition, before, first - 1, "EXPIRED", summary, at_ms)


def _unreadable(partition: int, records: Sequence[Presented]) -> Alert:
    """raised_at_ms is the first record's, so that the alert is the same whenever it is told."""
    first, last = records[0], records[-1]
    summary = (
        f"Alerts can't be read: {len(records):,} records of partition {partition}, from "
        f"{first.offset} to {last.offset}."
    )
    return _unread(partition, first.offset, last.offset, "UNREADABLE", summary, max(first.timestamp_ms, 0))


def _unread(partition: int, first: int, last: int, why: str, summary: str, at_ms: int) -> Alert:
    evidence = {"partition": str(partition), "first_offset": str(first), "last_offset": str(last), "why": why}
    return alert(AlertCode.ALERTS_UNREAD, summary, "all", evidence, at_ms)
