"""The spans of the batches that services process, and of the requests that they make for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO

import orjson
import pytest
import structlog

from pipeline.domain.log import LogRecord
from pipeline.execute.rail_client import Rail, Transfer
from pipeline.execute.saga import Answer
from pipeline.io.kafka.client import BrokerFailed
from pipeline.traces import processing_service
from pipeline.traces.context import TraceContext, parsed, trace_id_of_decision
from pipeline.traces.current_service import Scope, current_trace_id, within
from pipeline.traces.processing_service import UNTRACED, BatchTraces
from tests.traces.given import UPSTREAM, KeptSpans, counted, tracer

IDS = [f"8f0c9a3e-1f1b-5c52-9d7e-{number:012x}" for number in range(9)]
OTHER = TraceContext("a" * 32, "b" * 16, True)
QUIET = UPSTREAM._replace(is_sampled=False)


def record(number: int, context: TraceContext | bytes | None = None) -> LogRecord[str]:
    header = context.header if isinstance(context, TraceContext) else context
    return LogRecord(2, 100 + number, 0, b"", b"", IDS[number], header)


def name_of(each: LogRecord[str]) -> str:
    return each.content


def traces(kept: KeptSpans | None, **limits: float) -> BatchTraces:
    limits = {"continued_per_s": 100, "notable_per_s": 100, **limits}
    return BatchTraces(tracer(kept, **limits), "execute", "decisions.v1", "fraud-executor")


def test_what_another_process_traced_goes_on_and_nothing_else() -> None:
    kept = KeptSpans()
    with traces(kept).processing([record(0, UPSTREAM), record(1, QUIET), record(2), record(3, b"x")], name_of) as batch:
        batch.note(IDS[0], {"fraud.execution_state": "SETTLED"})
        batch.note(IDS[1], {"fraud.execution_state": "SETTLED"})
    span, whole = kept.one("execute decisions.v1"), kept.one("process decisions.v1")
    assert 2 == len(kept.spans)
    assert (UPSTREAM.trace_id, UPSTREAM.span_id) == (span.context.trace_id, span.parent_id)
    assert ((whole.context,), (span.context,)) == (span.links, whole.links)
    assert ("2", 100) == (
        span.attributes["messaging.destination.partition.id"],
        span.attributes["messaging.kafka.offset"],
    )
    assert "SETTLED" == span.attributes["fraud.execution_state"]
    assert 4 == whole.attributes["messaging.batch.message_count"]


def test_an_error_is_traced_although_nobody_traced_it_before_within_the_limit() -> None:
    kept, before = KeptSpans(), counted("fraud_traces_limited_total", why="notable")
    with traces(kept, notable_per_s=2).processing([record(0), record(1, QUIET), record(2)], name_of) as batch:
        for number in range(3):
            batch.note(IDS[number], {"fraud.execution_state": "IN_DOUBT"}, "IN_DOUBT")
        batch.note("no record of the batch", {}, "IN_DOUBT")
    first, second = kept.named("execute decisions.v1")
    assert (trace_id_of_decision(IDS[0]), None) == (first.context.trace_id, first.parent_id)
    assert (QUIET.trace_id, QUIET.span_id) == (second.context.trace_id, second.parent_id)
    assert ("IN_DOUBT", "IN_DOUBT") == (first.error, first.attributes["error.type"])
    assert 1 == counted("fraud_traces_limited_total", why="notable") - before


def test_a_batch_that_fails_is_told_and_what_it_raised_goes_on() -> None:
    kept = KeptSpans()
    with pytest.raises(TimeoutError), traces(kept).processing([record(0, UPSTREAM), record(1)], name_of):
        raise TimeoutError
    assert ["TimeoutError"] * 2 == [span.error for span in kept.spans]
    kept = KeptSpans()
    with pytest.raises(TimeoutError), traces(kept).processing([record(1)], name_of):
        raise TimeoutError
    assert "TimeoutError" == kept.one("process decisions.v1").error


def test_what_was_in_doubt_is_settled_in_the_same_trace() -> None:
    kept = KeptSpans()
    heard = traces(kept)
    with heard.processing([record(0), record(1, UPSTREAM)], name_of) as batch:
        batch.note(IDS[0], {"fraud.execution_state": "IN_DOUBT"}, "IN_DOUBT")
        batch.note(IDS[1], {"fraud.execution_state": "SETTLED"})
    [doubted] = [span for span in kept.spans if span.error == "IN_DOUBT"]
    found: list[list[tuple[str, str | None]]] = []
    for state, error in (("IN_DOUBT", "IN_DOUBT"), ("SETTLED", None), ("SETTLED", None)):
        kept.spans.clear()
        with heard.trying_again({each: (2, 100 + number) for number, each in enumerate(IDS[:2])}) as batch:
            batch.note(IDS[0], {"fraud.execution_state": state}, error)
        told = [(span.context.trace_id, span.error) for span in kept.named("execute decisions.v1")]
        found.append(told)
    assert [[(doubted.context.trace_id, "IN_DOUBT")], [(doubted.context.trace_id, None)], []] == found


class Topic:
    """Headers of a topic by their offsets, and how often they were asked for."""

    def __init__(self, *headers: bytes | None) -> None:
        self.headers, self.asked, self.is_away = headers, 0, False

    def header_at(self, partition: int, offset: int) -> bytes | None:
        assert 2 == partition
        if self.is_away:
            raise BrokerFailed("the broker is away")
        self.asked += 1
        return self.headers[offset - 100]

    def places(self) -> dict[str, tuple[int, int]]:
        return {IDS[number]: (2, 100 + number) for number in range(len(self.headers))}


def restarted(kept: KeptSpans | None, topic: Topic) -> BatchTraces:
    limits = tracer(kept, continued_per_s=100, notable_per_s=100)
    return BatchTraces(limits, "execute", "decisions.v1", "fraud-executor", topic.header_at)


def test_what_an_earlier_process_heard_goes_on_in_its_trace_over_a_restart() -> None:
    kept, topic = KeptSpans(), Topic(UPSTREAM.header, QUIET.header, None, None)
    heard = restarted(kept, topic)
    for _ in range(2):
        kept.spans.clear()
        with heard.trying_again(topic.places()) as batch:
            batch.note(IDS[0], {"fraud.execution_state": "SETTLED"})
            batch.note(IDS[3], {"fraud.execution_state": "IN_DOUBT"}, "IN_DOUBT")
            quiet = batch.scope_of([IDS[1]])
        spans = {span.context.trace_id: span for span in kept.named("execute decisions.v1")}
        assert {UPSTREAM.trace_id, trace_id_of_decision(IDS[3])} == set(spans)
        assert UPSTREAM.span_id == spans[UPSTREAM.trace_id].parent_id
        assert quiet is not None
        assert (QUIET.trace_id, False) == (quiet.context.trace_id, quiet.context.is_sampled)
    assert 4 == topic.asked, "each header is read back once"


def test_headers_are_read_back_some_at_a_time_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing_service, "READ_BACK_MAX", 2)
    topic = Topic(*[UPSTREAM.header] * 5)
    heard, seen, before = restarted(KeptSpans(), topic), [], counted("fraud_traces_limited_total", why="continued")
    for _ in range(3):
        with heard.trying_again(topic.places()) as batch:
            seen.append(len(batch.members))
    assert [2, 4, 5] == seen
    assert 3 + 1 == counted("fraud_traces_limited_total", why="continued") - before


def test_a_broker_that_is_away_costs_the_trace_and_nothing_else() -> None:
    topic = Topic(UPSTREAM.header)
    topic.is_away = True
    heard = restarted(KeptSpans(), topic)
    with heard.trying_again(topic.places()) as batch:
        batch.note(IDS[0], {"fraud.execution_state": "SETTLED"})
    assert {} == batch.members
    topic.is_away = False
    with heard.trying_again(topic.places()) as batch:
        pass
    assert [IDS[0]] == list(batch.members)


def test_nothing_is_read_back_while_nothing_is_traced() -> None:
    topic = Topic(UPSTREAM.header)
    with restarted(None, topic).trying_again(topic.places()):
        pass
    assert 0 == topic.asked


def test_what_is_remembered_as_unfinished_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processing_service, "UNFINISHED_MAX", 3)
    heard = traces(KeptSpans())
    for number in range(9):
        with heard.processing([record(number)], name_of) as batch:
            batch.note(IDS[number], {}, "IN_DOUBT")
    assert IDS[6:] == list(heard._unfinished)


def test_no_more_goes_on_than_the_limit() -> None:
    kept, before = KeptSpans(), counted("fraud_traces_limited_total", why="continued")
    with traces(kept, continued_per_s=3).processing([record(number, UPSTREAM) for number in range(9)], name_of):
        pass
    assert 3 == len(kept.named("execute decisions.v1"))
    assert 6 == counted("fraud_traces_limited_total", why="continued") - before


def test_nothing_is_kept_or_asked_while_nothing_is_traced() -> None:
    with UNTRACED.processing([record(0, UPSTREAM)], name_of) as batch:
        batch.note(IDS[0], {}, "IN_DOUBT")
        with UNTRACED.asking(IDS[:1]):
            assert current_trace_id() is None
    assert {} == batch.members


@contextmanager
def rail_seeing() -> Iterator[tuple[str, list[str | None]]]:
    """Run a rail that accepts everything; yield its address and the `traceparent` of each request."""
    seen: list[str | None] = []

    class Pages(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = orjson.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append(self.headers["traceparent"])
            body = orjson.dumps({transfer[0]: "ACCEPTED" for transfer in asked})
            self.send_response(503 if not asked[0][0] else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
        server.shutdown()
        thread.join()


def pay(address: str, kept: KeptSpans, records: list[LogRecord[str]], asked: list[str], key: str = "k") -> Answer:
    heard = traces(kept)
    rail = Rail(address, wait=lambda _: None, tracer=heard._tracer)
    with heard.processing(records, name_of), heard.asking(asked):
        answers = rail.pay([Transfer(key, "a", "b", "GBP", 1)])
    rail.close()
    return answers[key]


def test_a_request_for_one_payment_is_its_child() -> None:
    kept = KeptSpans()
    with rail_seeing() as (address, seen):
        assert Answer.DONE is pay(address, kept, [record(0, UPSTREAM), record(1, OTHER)], IDS[:1])
    call = kept.one("POST /v1/transfers")
    [span] = [each for each in kept.named("execute decisions.v1") if each.context.trace_id == UPSTREAM.trace_id]
    assert (span.context.trace_id, span.context.span_id) == (call.context.trace_id, call.parent_id)
    assert [call.context.header.decode()] == seen
    assert 200 == call.attributes["http.response.status_code"]


def test_a_request_for_several_is_the_batch_s_and_links_those_that_are_traced() -> None:
    kept = KeptSpans()
    with rail_seeing() as (address, seen):
        pay(address, kept, [record(0, UPSTREAM), record(1, OTHER), record(2)], IDS[:3])
    call, whole = kept.one("POST /v1/transfers"), kept.one("process decisions.v1")
    assert (whole.context.trace_id, whole.context.span_id) == (call.context.trace_id, call.parent_id)
    assert {each.context for each in kept.named("execute decisions.v1")} == set(call.links)
    assert [call.context] == [parsed(header.encode()) for header in seen]


def test_a_trace_goes_on_to_the_rail_though_nothing_is_recorded_here() -> None:
    kept = KeptSpans()
    with rail_seeing() as (address, seen):
        pay(address, kept, [record(0, QUIET), record(1)], IDS[:1])
        pay(address, kept, [record(0, QUIET), record(1)], IDS[:2])
        pay(address, kept, [record(1)], IDS[1:2])
    assert ([QUIET.header.decode(), None, None], []) == (seen, kept.spans)


def test_a_request_that_fails_is_an_error_and_each_attempt_a_span() -> None:
    kept = KeptSpans()
    with rail_seeing() as (address, _):
        assert Answer.UNKNOWN is pay(address, kept, [record(0, UPSTREAM)], IDS[:1], key="")
    calls = [span for span in kept.spans if span.name.startswith("POST")]
    assert "RailSilent" == calls[0].error
    assert 503 == calls[0].attributes["http.response.status_code"]
    assert len(calls) > 1


def test_log_lines_bear_trace_and_span_and_none_outside() -> None:
    text = StringIO()
    line = structlog.wrap_logger(
        structlog.PrintLogger(text), [structlog.contextvars.merge_contextvars, structlog.processors.JSONRenderer()]
    )
    with within(Scope(UPSTREAM)):
        line.info("inside")
        with within(None):
            assert current_trace_id() is None
        assert UPSTREAM.trace_id == current_trace_id()
    line.info("outside")
    inside, outside = map(orjson.loads, text.getvalue().splitlines())
    assert {"event": "inside", "trace_id": UPSTREAM.trace_id, "span_id": UPSTREAM.span_id} == inside
    assert {"event": "outside"} == outside


def test_an_exemplar_names_no_trace_that_is_not_recorded() -> None:
    with within(Scope(QUIET)):
        assert current_trace_id() is None
