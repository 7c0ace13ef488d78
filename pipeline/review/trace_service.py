"""The traces of the review service: of what it hears, and of the outcomes that it sends, days later perhaps.

An outcome goes on in the trace of the decision that was escalated. Its header is read back from the topic, since the
case outlives this process and the database keeps no traces.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Final

import structlog

from pipeline.domain.decision import Decision, Outcome
from pipeline.domain.identities import DecisionId
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import TRACE_HEADER, LogRecord, Outgoing
from pipeline.io.kafka.client import BrokerFailed
from pipeline.io.postgres import Connection
from pipeline.review.case_store import CaseFile, decision_places
from pipeline.traces.context import TraceContext, parsed
from pipeline.traces.processing_service import READ_BACK_MAX, UNTRACED, BatchTraces, HeaderAt, Processing
from pipeline.traces.span import EndedSpan, Kind, Operation, messaging
from pipeline.traces.tracer_service import Tracer, Why, child_of

log = structlog.get_logger("review")


class ReviewTraces:
    """For one thread."""

    def __init__(self, tracer: Tracer, heard: BatchTraces, topic: str, header_at: HeaderAt) -> None:
        self._tracer, self._heard, self._topic, self._header_at = tracer, heard, topic, header_at
        self._contexts: dict[DecisionId, TraceContext | None] = {}  # of decisions whose outcomes are to be sent

    def processing(self, records: Sequence[LogRecord[DecisionRecord]]) -> AbstractContextManager[Processing]:
        """Process a batch; only what a case may follow from is of interest."""
        concerned = [record for record in records if _concerns(record.content)]
        return self._heard.processing(concerned, lambda record: record.content.decision_id)

    def look_up(self, connection: Connection, files: Iterable[CaseFile]) -> None:
        """Read back the contexts of decisions whose outcomes wait to be sent, and forget all others.

        People decide fewer than READ_BACK_MAX in one look. More wait for the next, in vain where their outcomes are
        sent before: those go on in the trace that their decision's id gives.
        """
        if not self._tracer.is_on:
            return
        waiting = {file.case.decision_id for file in files}
        self._contexts = {name: context for name, context in self._contexts.items() if name in waiting}
        wanted = sorted(waiting - self._contexts.keys())[:READ_BACK_MAX]
        for decision_id, place in decision_places(connection, wanted).items():
            try:
                self._contexts[decision_id] = parsed(self._header_at(*place))
            except BrokerFailed as error:  # whoever publishes says what that means
                log.info("traces_not_read_back", why=str(error))
                return

    def mark(self, records: Sequence[Outgoing], decision_ids: Sequence[DecisionId]) -> list[EndedSpan]:
        """Put headers on outcomes that are about to be sent; return their spans, which begin now and end when sent."""
        spans: list[EndedSpan] = []
        for record, decision_id in zip(records, decision_ids, strict=True):
            parent = self._contexts.get(decision_id)
            if parent is None or record.headers is None:
                continue
            context = parent._replace(is_sampled=False)
            if parent.is_sampled and self._tracer.may(Why.CONTINUED):
                context = child_of(parent)
                spans.append(self._sending(context, parent, decision_id))
            record.headers.append((TRACE_HEADER, context.header))  # beside the seal
        return spans

    def sent(self, spans: Sequence[EndedSpan]) -> None:
        self._tracer.emit([span._replace(ended_ns=time.time_ns()) for span in spans])

    def _sending(self, context: TraceContext, parent: TraceContext, decision_id: DecisionId) -> EndedSpan:
        attributes = {**messaging("send", Operation.SEND, self._topic), "fraud.decision_id": decision_id}
        times_ns = time.time_ns(), time.time_ns()
        return EndedSpan(f"send {self._topic}", Kind.PRODUCER, context, parent.span_id, *times_ns, attributes)


def _concerns(content: DecisionRecord) -> bool:
    return not isinstance(content, Decision) or content.outcome is Outcome.ESCALATE


NO_TRACES: Final = ReviewTraces(Tracer(None), UNTRACED, "", lambda *_: None)
"""Stands for a review service that traces nothing."""
