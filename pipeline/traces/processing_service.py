"""Spans of the batches that a service processes: one for each record that is traced, and one for the batch.

A record is traced where whoever wrote it traced it, by its header; where something goes wrong with it, within the limit
of notable ones; and in no other case: whether a payment is among the share was decided before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import structlog

from pipeline.domain.log import LogRecord
from pipeline.io.kafka.client import BrokerFailed
from pipeline.traces.context import TraceContext, parsed, trace_id_of_decision
from pipeline.traces.current_service import Scope, within
from pipeline.traces.span import Attributes, EndedSpan, Kind, Operation, batch_span, messaging, place
from pipeline.traces.tracer_service import Tracer, Why, child_of, new_trace, span_in


class ReadBack(NamedTuple):
    """What is read back of a record that an earlier process heard: its place on the topic, and its header."""

    partition: int
    offset: int
    traceparent: bytes | None


Record = LogRecord[Any]
NameOf = Callable[[Record], str]
"""By which a record is known while it is processed: the id of the decision that it is about, where it is decoded."""
HeaderAt = Callable[[int, int], bytes | None]
"""The header at a place of the topic, by partition and offset. Raises BrokerFailed."""
Place = tuple[int, int]
"""Partition and offset of a decision's record."""
READ_BACK_MAX: Final = 20
"""Headers that are read back at once, at some 10 ms each. Of what is more, the next time reads on."""

UNFINISHED_MAX: Final = 10_000
"""Contexts of what went wrong that are remembered, for when it is tried again; some 3 MB. The oldest leaves first. As
many headers that were read back."""
log = structlog.get_logger("traces")


class Member:
    """A record that is traced while it is processed."""

    __slots__ = ("attributes", "context", "error", "parent_id")

    def __init__(self, context: TraceContext, parent_id: str | None, attributes: Attributes) -> None:
        self.context, self.parent_id = context, parent_id
        self.attributes: dict[str, str | int] = dict(attributes)
        self.error: str | None = None


class Processing:
    """A batch under way, its records by name."""

    def __init__(
        self, tracer: Tracer, records: Mapping[str, Record | ReadBack], unfinished: Mapping[str, TraceContext]
    ) -> None:
        """unfinished: contexts of what went wrong before, and is tried again without its record."""
        self._tracer, self._records = tracer, records
        self.error: str | None = None  # that ended it
        self.members: dict[str, Member] = {}
        self.context = new_trace() if tracer.is_on else None
        for name, record in records.items():
            parent = parsed(record.traceparent)
            if parent is not None and parent.is_sampled and tracer.may(Why.CONTINUED):
                self._join(name, record, child_of(parent), parent.span_id)
        for name, parent in unfinished.items():
            if tracer.may(Why.CONTINUED):
                self.members[name] = Member(child_of(parent), parent.span_id, {})

    def note(self, decision_id: str, attributes: Attributes, error: str | None = None) -> None:
        """Say what became of a record. With an error it is traced although nobody traced it before, within the limit.

        Only for records that are known by their decisions.
        """
        member = self.members.get(decision_id)
        if member is None and error is not None and decision_id in self._records and self._tracer.may(Why.NOTABLE):
            record = self._records[decision_id]
            parent = parsed(record.traceparent)
            context = span_in(trace_id_of_decision(decision_id)) if parent is None else child_of(parent)
            member = self._join(decision_id, record, context, None if parent is None else parent.span_id)
        if member is not None:
            member.attributes.update(attributes)
            member.error = error or member.error

    def fail(self, error: str) -> None:
        """Say that the batch ended so. It is traced, within the limit, although nothing of it was."""
        if self.members or self._tracer.may(Why.NOTABLE):
            self.error = error
        for member in self.members.values():
            member.error = error

    def scope_of(self, names: Sequence[str]) -> Scope | None:
        """Return the scope of something that is done for these alone: a child of the one, or the batch's, with links.

        None where nothing of it is traced. The trace of a single one goes on even so, for whoever is called.
        """
        if self.context is None:
            return None
        if len(names) == 1:
            return self._scope_of_one(names[0])
        links = tuple(self.members[each].context for each in names if each in self.members)
        return Scope(self.context, links) if links else None

    def _scope_of_one(self, name: str) -> Scope | None:
        if name in self.members:
            return Scope(self.members[name].context)
        record = self._records.get(name)
        parent = None if record is None else parsed(record.traceparent)
        return None if parent is None else Scope(parent._replace(is_sampled=False))

    def _join(self, name: str, record: Record | ReadBack, context: TraceContext, parent_id: str | None) -> Member:
        member = self.members[name] = Member(context, parent_id, place(record.partition, record.offset))
        return member


NOTHING: Final = Processing(Tracer(None), {}, {})
"""Stands for a batch where nothing is traced."""


class BatchTraces:
    """The batches of one service, for one thread."""

    def __init__(
        self, tracer: Tracer, operation: str, topic: str, group: str, header_at: HeaderAt = lambda *_: None
    ) -> None:
        """operation: what the service does with a record, in one word. header_at: where it tries again."""
        self._tracer, self._operation = tracer, operation
        self._attributes = messaging(operation, Operation.PROCESS, topic, group)
        self.current = NOTHING
        self._unfinished: dict[str, TraceContext] = {}
        self._header_at = header_at
        self._read_back: dict[str, ReadBack] = {}

    @contextmanager
    def processing(self, records: Iterable[Record], name_of: NameOf) -> Iterator[Processing]:
        """Process a batch; its spans are recorded on leaving, with the error where there is one.

        Where a batch holds several records of one name, the last one speaks for it.
        """
        if not self._tracer.is_on:
            yield NOTHING
            return
        known = {name_of(record): record for record in records}
        with self._under_way(Processing(self._tracer, known, {}), len(known)) as processing:
            yield processing

    @contextmanager
    def trying_again(self, places: Mapping[str, Place]) -> Iterator[Processing]:
        """Try again what went wrong, or was left undone, with records of these names, in the traces that they are in.

        Those that this process met itself it still knows. The header of those that an earlier one heard is read back
        from the topic, a bounded number at once.
        """
        if not self._tracer.is_on:
            yield NOTHING
            return
        known = {name: self._unfinished[name] for name in places if name in self._unfinished}
        heard = self._heard_before({name: place for name, place in places.items() if name not in known})
        with self._under_way(Processing(self._tracer, heard, known), len(places)) as processing:
            yield processing

    def _heard_before(self, places: Mapping[str, Place]) -> dict[str, ReadBack]:
        wanted = [name for name in places if name not in self._read_back]
        try:
            for name in wanted[:READ_BACK_MAX]:
                self._read_back[name] = ReadBack(*places[name], self._header_at(*places[name]))
        except BrokerFailed as error:  # whoever publishes says what that means
            log.info("traces_not_read_back", why=str(error))
        self._tracer.pass_over(Why.CONTINUED, sum(name not in self._read_back for name in wanted))
        found = {name: self._read_back[name] for name in places if name in self._read_back}
        while len(self._read_back) > UNFINISHED_MAX:
            del self._read_back[next(iter(self._read_back))]
        return found

    @contextmanager
    def _under_way(self, processing: Processing, records: int) -> Iterator[Processing]:
        self.current, started_ns = processing, time.time_ns()
        try:
            with within(self._scope(processing)):
                yield processing
        except Exception as error:
            processing.fail(type(error).__name__)
            raise
        finally:
            self.current = NOTHING
            self._emit(processing, records, started_ns)
            self._remember(processing)

    @contextmanager
    def asking(self, names: Sequence[str]) -> Iterator[None]:
        """Ask somebody else about these, by `Tracer.call`."""
        with within(self.current.scope_of(names)):
            yield

    def _scope(self, processing: Processing) -> Scope | None:
        return Scope(processing.context) if processing.members and processing.context is not None else None

    def _remember(self, processing: Processing) -> None:
        for name, member in processing.members.items():
            self._unfinished.pop(name, None)
            if member.error is not None:
                self._unfinished[name] = member.context
        while len(self._unfinished) > UNFINISHED_MAX:
            del self._unfinished[next(iter(self._unfinished))]

    def _emit(self, processing: Processing, records: int, started_ns: int) -> None:
        members, batch = processing.members.values(), processing.context
        if batch is None or not (members or processing.error):
            return
        times_ns, links = (started_ns, time.time_ns()), tuple(member.context for member in members)
        spans = [batch_span("process", self._attributes, records, batch, links, times_ns, processing.error)]
        name = f"{self._operation} {self._attributes['messaging.destination.name']}"
        for member in members:
            attributes = {**self._attributes, **member.attributes}
            if member.error is not None:
                attributes["error.type"] = member.error
            ids = member.context, member.parent_id
            spans.append(EndedSpan(name, Kind.CONSUMER, *ids, *times_ns, attributes, (batch,), member.error))
        self._tracer.emit(spans)


def name_of_place(record: Record) -> str:
    """Return the name of a record that is not decoded."""
    return f"{record.partition}:{record.offset}"


UNTRACED: Final = BatchTraces(Tracer(None), "", "", "")
"""Stands for the traces of a service that records none."""
