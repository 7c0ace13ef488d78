"""The traces of the worker's batches: which payments are traced, the headers of their decisions, and their spans.

Invariants
1. A decision's header `traceparent` stands beside its seal. No byte of its value, key or seal depends on it.
2. A payment that is not traced costs no span and no context: where a publisher wrote a header that asks for nothing, it
   goes on as it is.
3. Spans are recorded of what was committed only.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

from pipeline.decide.batch import DUPLICATE, Judged, SetAside
from pipeline.decide.verdict import Verdict
from pipeline.domain.decision import Outcome, Silence
from pipeline.domain.identities import decision_id
from pipeline.domain.log import TRACE_HEADER, Outgoing, Source
from pipeline.domain.payment import Decoded
from pipeline.io.kafka.batches import Batch
from pipeline.io.settings import Settings
from pipeline.traces.context import (
    TraceContext,
    is_passed_on_as_it_is,
    parsed,
    trace_id_of_decision,
    trace_id_of_place,
)
from pipeline.traces.current_service import Scope
from pipeline.traces.sampling import places_taken
from pipeline.traces.span import Attributes, EndedSpan, Kind, Operation, batch_span, messaging, place
from pipeline.traces.tracer_service import Tracer, Why, child_of, new_trace, span_in, tracer_of

OPERATION: Final = "decide"


class _Member(NamedTuple):
    """A payment that is traced. parent: what its publisher said, if it did."""

    context: TraceContext
    parent: TraceContext | None
    attributes: Attributes
    error: str | None


@dataclass(slots=True)
class Marked:
    """A batch whose records were looked at; `context` is that of its own span, if any of them is traced."""

    context: TraceContext
    records: int
    members: list[_Member] = field(default_factory=list)

    @property
    def scope(self) -> Scope | None:
        return Scope(self.context) if self.members else None


class Times(NamedTuple):
    """When the stages of a batch ended, on the clock of time.perf_counter; 0 for one that was not told."""

    started_s: float
    observed_s: float
    judged_s: float
    committing_s: float
    committed_s: float


class WorkerTraces:
    """For one event loop."""

    def __init__(self, tracer: Tracer, transactions: str, decisions: str, group: str) -> None:
        """transactions, decisions: the topics. group: of the workers."""
        self._tracer, self._transactions, self._decisions = tracer, transactions, decisions
        self._attributes = messaging(OPERATION, Operation.PROCESS, transactions, group)

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Raises Failure where a file of the settings can't be read."""
        topics = settings.topic("transactions.v1"), settings.topic("decisions.v1")
        return cls(tracer_of(settings, "worker"), *topics, settings.consumer_group)

    @property
    def is_on(self) -> bool:
        """Whether `mark` looks at what was decided."""
        return self._tracer.is_on

    def close(self) -> None:
        """Export what waits, for a few seconds at most."""
        self._tracer.close()

    def mark(self, batch: Batch, judged: Judged, outgoing: list[Outgoing]) -> Marked | None:
        """Put headers on what goes out of a batch, dead letters first; return what is traced of it."""
        if not self._tracer.is_on:
            return None
        marked = Marked(new_trace(), len(batch.records))
        for number, each in enumerate(judged.set_aside_in_log_order):
            self._mark_set_aside(marked, batch, each, outgoing, number)
        self._mark_decisions(marked, batch, judged, outgoing)
        return marked

    def committed(self, marked: Marked | None, times: Times) -> None:
        """Record the spans of a batch that is committed."""
        if marked is None or not marked.members:
            return
        times_ns = _wall_ns(times.started_s), _wall_ns(times.committed_s)
        links = tuple(member.parent or member.context for member in marked.members)
        spans = [batch_span("process", self._attributes, marked.records, marked.context, links, times_ns)]
        spans += self._stages(marked.context, times)
        name = f"{OPERATION} {self._transactions}"
        for context, parent, attributes, error in marked.members:
            parent_id = None if parent is None else parent.span_id
            told = {**self._attributes, **attributes}
            spans.append(EndedSpan(name, Kind.CONSUMER, context, parent_id, *times_ns, told, (marked.context,), error))
        self._tracer.emit(spans)

    def _mark_decisions(self, marked: Marked, batch: Batch, judged: Judged, outgoing: list[Outgoing]) -> None:
        payments, verdicts, headers = judged.decided, judged.verdicts, batch.traceparents
        places = [number for number, each in enumerate(outgoing) if each.topic == self._decisions]
        assert len(places) == len(payments) == len(verdicts), "each decision has its payment and its verdict"
        sources = [payment.record.source for payment in payments]
        notable = {number for number, verdict in enumerate(verdicts) if _is_notable(verdict)}
        taken = self._taken(sources)
        for number in range(len(places)) if headers else sorted(notable.union(taken)):
            header = headers.get(sources[number])
            if header is None:
                if number not in notable and number not in taken:
                    continue
            elif number not in notable and is_passed_on_as_it_is(header):
                _put(outgoing, places[number], header)
                continue
            parent, verdict = parsed(header), verdicts[number]
            why = self._why(parent, is_taken=number in taken, is_notable=number in notable)
            if why is None:
                if parent is not None:
                    _put(outgoing, places[number], parent._replace(is_sampled=False).header)
                continue
            member = _decided(payments[number].decoded, sources[number], verdict, parent, why)
            marked.members.append(member)
            _put(outgoing, places[number], member.context.header)

    def _mark_set_aside(
        self, marked: Marked, batch: Batch, each: SetAside, outgoing: list[Outgoing], number: int
    ) -> None:
        """A record that became no decision is an error, but for one that was published twice."""
        source = each.record.source
        parent = parsed(batch.traceparents.get(source))
        if each.code == DUPLICATE or not self._tracer.may(Why.NOTABLE):
            if parent is not None:
                _put(outgoing, number, parent._replace(is_sampled=False).header)
            return
        if parent is None:
            context = span_in(trace_id_of_place(self._transactions, source.partition, source.offset))
        else:
            context = child_of(parent)
        attributes = {
            **place(source.partition, source.offset),
            "error.type": each.code,
            "fraud.traced_for": Why.NOTABLE,
        }
        marked.members.append(_Member(context, parent, attributes, each.code))
        _put(outgoing, number, context.header)

    def _taken(self, sources: Sequence[Source]) -> frozenset[int]:
        share = self._tracer.share
        if not share:
            return frozenset()
        partitions, offsets = [source.partition for source in sources], [source.offset for source in sources]
        return frozenset(places_taken(partitions, offsets, share))

    def _why(self, parent: TraceContext | None, *, is_taken: bool, is_notable: bool) -> Why | None:
        """Whoever began a trace chose whether it is among the share; a publisher's choice has its limit."""
        if parent is not None and parent.is_sampled and self._tracer.may(Why.UPSTREAM):
            return Why.UPSTREAM
        if parent is None and is_taken and self._tracer.may(Why.SHARE):
            return Why.SHARE
        return Why.NOTABLE if is_notable and self._tracer.may(Why.NOTABLE) else None

    def _stages(self, batch: TraceContext, times: Times) -> list[EndedSpan]:
        """The batch's own time, by stage. It may have waited for the batch ahead between judging and committing."""
        parts = (
            ("observe", times.started_s, times.observed_s),
            ("judge", times.observed_s, times.judged_s),
            ("commit", times.committing_s, times.committed_s),
        )
        return [
            EndedSpan(name, Kind.INTERNAL, child_of(batch), batch.span_id, _wall_ns(begun_s), _wall_ns(ended_s), {})
            for name, begun_s, ended_s in parts
            if begun_s and ended_s
        ]


def _decided(decoded: Decoded, source: Source, verdict: Verdict, parent: TraceContext | None, why: Why) -> _Member:
    own_id = decision_id(decoded.transaction, decoded.digest, source)
    context = span_in(trace_id_of_decision(own_id)) if parent is None else child_of(parent)
    attributes: dict[str, str | int] = {
        **place(source.partition, source.offset),
        "fraud.decision_id": own_id,
        "fraud.outcome": str(verdict.outcome),
        "fraud.route": str(verdict.route),
        "fraud.traced_for": str(why),
    }
    error = verdict.fault or "MODEL_FAILED" if verdict.silence is Silence.FAILED else None
    if error is not None:
        attributes["error.type"] = error
    return _Member(context, parent, attributes, error)


def _is_notable(verdict: Verdict) -> bool:
    return verdict.outcome is not Outcome.ALLOW or verdict.silence is Silence.FAILED


def _put(outgoing: list[Outgoing], number: int, header: bytes) -> None:
    record = outgoing[number]
    if record.headers is None:
        outgoing[number] = record._replace(headers=[(TRACE_HEADER, header)])
    else:
        record.headers.append((TRACE_HEADER, header))  # beside the seal


def _wall_ns(at_s: float) -> int:
    return time.time_ns() - int((time.perf_counter() - at_s) * 1_000_000_000)
