"""The worker's traces: whose payments are traced, what their decisions' headers say, and that nothing else changes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decide.batch import Judged, SetAside
from pipeline.decide.tracing.worker_agent import Marked, Times, WorkerTraces
from pipeline.domain.decision import Outcome
from pipeline.domain.log import Outgoing, Source, Span
from pipeline.io.kafka.batches import Batch
from pipeline.seals.seal import Sealer
from pipeline.traces.context import TraceContext, parsed, trace_id_of_decision, trace_id_of_place
from pipeline.traces.span import Kind
from tests.decide.test_batch import decisions_of, judged, record
from tests.decisions import decision_of
from tests.records import PAYMENT
from tests.traces.given import UPSTREAM, KeptSpans, counted, tracer

ASKING = UPSTREAM.header
QUIET = UPSTREAM._replace(is_sampled=False).header
SEALER = Sealer("decisions.v1", lambda _: 0, "00" * 8, lambda text: b"s" * 64)
SANCTIONED = PAYMENT._replace(beneficiary_country="KP", transaction_id="tx-blocked")


def payments(count: int) -> list:
    return [record(number, PAYMENT._replace(transaction_id=f"tx-{number}")) for number in range(count)]


class Marking:
    """A batch that is judged, sealed and marked; the traces go on from there."""

    def __init__(self, records: list, headers: dict[int, bytes] | None = None, **limits: float) -> None:
        self.kept = KeptSpans()
        traces = {records[number].source: header for number, header in (headers or {}).items()}
        self.batch = Batch(records, [Span(0, 0, len(records), 0)], 0, traces)
        self.judged: Judged = judged(records)
        letters = [Outgoing("dead", b"", each.code.encode()) for each in self.judged.set_aside_in_log_order]
        self.sealed = SEALER.seal([*letters, *self.judged.outgoing])
        self.outgoing = [
            each._replace(headers=None if each.headers is None else [*each.headers]) for each in self.sealed
        ]
        self.traces = WorkerTraces(tracer(self.kept, **limits), "transactions.v1", "decisions.v1", "fraud-decide")
        self.marked = self.traces.mark(self.batch, self.judged, self.outgoing)

    def commit(self) -> KeptSpans:
        now_s = time.perf_counter()
        self.traces.committed(self.marked, Times(now_s - 4, now_s - 3, now_s - 2, now_s - 1, now_s))
        return self.kept

    @property
    def contexts(self) -> list[TraceContext | None]:
        """What each decision's header says, in their order."""
        return [self.context(each) for each in self.outgoing if each.topic == "decisions.v1"]

    def context(self, record: Outgoing) -> TraceContext | None:
        values = [value for name, value in record.headers or () if name == "traceparent"]
        assert len(values) <= 1
        return parsed(values[0]) if values else None


def test_a_payment_whose_publisher_asks_is_traced_as_its_child() -> None:
    marking = Marking(payments(3), {1: ASKING}, upstream_per_s=10)
    spans = marking.commit()
    decided, batch = spans.one("decide transactions.v1"), spans.one("process transactions.v1")
    assert [None, decided.context, None] == marking.contexts
    assert (UPSTREAM.trace_id, UPSTREAM.span_id) == (decided.context.trace_id, decided.parent_id)
    assert decided.context.span_id != UPSTREAM.span_id
    assert ((UPSTREAM,), (batch.context,)) == (batch.links, decided.links)
    assert (None, Kind.CONSUMER, Kind.CONSUMER) == (batch.parent_id, batch.kind, decided.kind)
    assert 4 * 10**9 == pytest.approx(decided.ended_ns - decided.started_ns, abs=10**8)
    named = {"messaging.system": "kafka", "messaging.operation.name": "decide", "messaging.operation.type": "process"}
    where = {"messaging.destination.name": "transactions.v1", "messaging.consumer.group.name": "fraud-decide"}
    place = {"messaging.destination.partition.id": "0", "messaging.kafka.offset": 1}
    [_, decision, _] = decisions_of(marking.judged)
    ours = {"fraud.decision_id": decision.decision_id, "fraud.outcome": "ALLOW", "fraud.route": "MODEL"}
    assert {**named, **where, **place, **ours, "fraud.traced_for": "upstream"} == decided.attributes
    assert {**named, **where, "messaging.batch.message_count": 3} == batch.attributes
    stages = [span for span in spans.spans if span.parent_id == batch.context.span_id]
    assert ["observe", "judge", "commit"] == [stage.name for stage in stages]
    assert {batch.context.trace_id} == {stage.context.trace_id for stage in stages}


def test_a_trace_that_nobody_asks_for_goes_on_under_its_publisher_s_span() -> None:
    marking = Marking(payments(2), {0: QUIET}, upstream_per_s=10, notable_per_s=10)
    assert [UPSTREAM._replace(is_sampled=False), None] == marking.contexts
    assert [] == marking.commit().spans


def test_3_publishers_can_t_have_more_traced_than_the_limit() -> None:
    before = counted("fraud_traces_limited_total", why="upstream")
    marking = Marking(payments(30), dict.fromkeys(range(30), ASKING), upstream_per_s=10)
    asked = [context is not None and context.is_sampled for context in marking.contexts]
    assert [True] * 10 + [False] * 20 == asked
    assert {UPSTREAM.trace_id} == {context.trace_id for context in marking.contexts}
    assert 20 == counted("fraud_traces_limited_total", why="upstream") - before
    assert 10 == len(marking.commit().named("decide transactions.v1"))


def test_what_blocks_escalates_or_fails_is_traced_within_the_limit() -> None:
    records = [record(0), record(1, SANCTIONED), record(2, value=b"rubbish"), record(3, SANCTIONED)]
    marking = Marking(records, {3: QUIET}, notable_per_s=10)
    spans = marking.commit()
    by_offset = {span.attributes["messaging.kafka.offset"]: span for span in spans.named("decide transactions.v1")}
    assert {1, 2} == by_offset.keys()  # the copy of what was blocked is no error
    [_, blocked] = decisions_of(marking.judged)
    assert Outcome.BLOCK is blocked.outcome
    assert (trace_id_of_decision(blocked.decision_id), None) == (by_offset[1].context.trace_id, by_offset[1].parent_id)
    assert trace_id_of_place("transactions.v1", 0, 2) == by_offset[2].context.trace_id
    assert (None, "FRAMING_UNKNOWN") == (by_offset[1].error, by_offset[2].error)
    letters = [marking.context(each) for each in marking.outgoing if each.topic == "dead"]
    assert [by_offset[2].context, UPSTREAM._replace(is_sampled=False)] == letters
    assert {by_offset[1].context, by_offset[2].context} == set(spans.one("process transactions.v1").links)


def test_more_that_is_notable_than_the_limit_is_counted() -> None:
    before = counted("fraud_traces_limited_total", why="notable")
    records = [record(number, SANCTIONED._replace(transaction_id=f"tx-{number}")) for number in range(9)]
    marking = Marking(records, {8: ASKING}, notable_per_s=5)
    assert 5 == len(marking.commit().named("decide transactions.v1"))
    assert 4 == counted("fraud_traces_limited_total", why="notable") - before
    assert [True] * 5 + [False] * 3 == [context is not None for context in marking.contexts[:8]]


def test_a_share_is_traced_of_those_that_no_publisher_traces() -> None:
    marking = Marking(payments(4), {1: QUIET, 2: b"broken"}, share=1.0)
    assert [True, False, True, True] == [context is not None and context.is_sampled for context in marking.contexts]
    assert UPSTREAM.trace_id == marking.contexts[1].trace_id
    derived = [trace_id_of_decision(each.decision_id) for each in decisions_of(marking.judged)]
    assert [derived[0], derived[2], derived[3]] == [marking.contexts[number].trace_id for number in (0, 2, 3)]


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.integers(0, 5), st.binary(max_size=80) | st.sampled_from([ASKING, QUIET, b"x" * 10**6])))
def test_1_no_header_changes_a_byte_of_a_decision_or_its_seal(headers: dict[int, bytes]) -> None:
    records = [*payments(4), record(4, SANCTIONED), record(5, value=b"")]
    marking = Marking(records, headers, share=0.5, upstream_per_s=2, notable_per_s=2)
    for sealed, marked in zip(marking.sealed, marking.outgoing, strict=True):
        assert sealed[:4] == marked[:4]  # topic, key, value and partition
        assert (sealed.headers or []) == [each for each in marked.headers or [] if each[0] == "seal"]
    marking.commit()
    plain = [decision_of(each.value) for each in judged(records).outgoing if each.topic == "decisions.v1"]
    assert plain == decisions_of(marking.judged)


def test_spans_are_of_what_was_committed_only() -> None:
    assert [] == Marking(payments(2), {0: ASKING}, upstream_per_s=1).kept.spans


def test_nothing_is_marked_while_nothing_is_traced() -> None:
    batch = Batch([], [], 0, {Source(0, 0, 0): ASKING})
    off = WorkerTraces(tracer(None, share=1.0), "transactions.v1", "decisions.v1", "g")
    set_aside = Judged(set_aside=[SetAside(record(0), "POISON", "")])
    assert off.mark(batch, set_aside, [Outgoing("dead", b"", b"")]) is None
    off.committed(None, Times(0, 0, 0, 0, 0))


def test_a_batch_has_a_scope_only_where_something_of_it_is_traced() -> None:
    assert Marked(UPSTREAM, 3).scope is None
    assert UPSTREAM == Marking(payments(1), {0: ASKING}, upstream_per_s=1).marked.members[0].parent
