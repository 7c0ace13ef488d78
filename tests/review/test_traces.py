"""The traces that outcomes go on in: that of the decision that was escalated, read back from the topic."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from pipeline.domain.identities import DecisionId
from pipeline.domain.log import Outgoing
from pipeline.io.kafka.client import BrokerAway
from pipeline.io.postgres import Connection, connect
from pipeline.review import trace_service
from pipeline.review.case_store import CaseFile
from pipeline.review.cases import opening
from pipeline.review.trace_service import NO_TRACES, ReviewTraces
from pipeline.traces.context import parsed
from pipeline.traces.processing_service import UNTRACED
from tests.review.given import SMALL
from tests.review.planted import plant
from tests.traces.given import UPSTREAM, KeptSpans, tracer

ID = DecisionId("8f0c9a3e-1f1b-5c52-9d7e-6c1a5f0e2b47")
CASE = SMALL._replace(decision_id=ID)
FILE = CaseFile(CASE, "at night", (opening(CASE),))
QUIET = UPSTREAM._replace(is_sampled=False)


@pytest.fixture
def connection(reviewer_url: str) -> Iterator[Connection]:
    with closing(connect(reviewer_url, "test")) as connection:
        yield connection


class Topic:
    """The headers at places of decisions.v1."""

    def __init__(self, header: bytes | None) -> None:
        self.header, self.asked, self.is_away = header, list[tuple[int, int]](), False

    def at(self, partition: int, offset: int) -> bytes | None:
        self.asked.append((partition, offset))
        if self.is_away:
            raise BrokerAway("away")
        return self.header


def outcome() -> Outgoing:
    return Outgoing("decisions.v1", b"account", b"value", 3, [("seal", b"s")])


def traces(topic: Topic, kept: KeptSpans, **limits: float) -> ReviewTraces:
    return ReviewTraces(tracer(kept, **{"continued_per_s": 9, **limits}), UNTRACED, "decisions.v1", topic.at)


def test_an_outcome_goes_on_in_the_trace_of_its_decision(connection: Connection) -> None:
    plant(connection, CASE)
    topic, kept, record = Topic(UPSTREAM.header), KeptSpans(), outcome()
    outcomes = traces(topic, kept)
    outcomes.look_up(connection, [FILE])
    outcomes.look_up(connection, [FILE])  # known by now
    spans = outcomes.mark([record], [ID])
    assert [] == kept.spans
    outcomes.sent(spans)
    sent = kept.one("send decisions.v1")
    assert ([(0, 7)], ("seal", b"s")) == (topic.asked, record.headers[0])
    assert [("traceparent", sent.context.header)] == record.headers[1:]
    assert (UPSTREAM.trace_id, UPSTREAM.span_id) == (sent.context.trace_id, sent.parent_id)
    assert ID == sent.attributes["fraud.decision_id"]


def test_one_that_nobody_records_goes_on_unrecorded(connection: Connection) -> None:
    plant(connection, CASE)
    for header, limits in ((QUIET.header, {}), (UPSTREAM.header, {"continued_per_s": 0})):
        kept, record = KeptSpans(), outcome()
        outcomes = traces(Topic(header), kept, **limits)
        outcomes.look_up(connection, [FILE])
        assert [] == outcomes.mark([record], [ID])
        assert QUIET == parsed(dict(record.headers)["traceparent"])


def test_an_outcome_is_sent_without_a_trace_where_none_can_be_read_back(connection: Connection) -> None:
    plant(connection, CASE)
    topic, kept = Topic(UPSTREAM.header), KeptSpans()
    topic.is_away = True
    outcomes = traces(topic, kept)
    outcomes.look_up(connection, [FILE])
    record = outcome()
    assert ([], [("seal", b"s")]) == (outcomes.mark([record], [ID]), record.headers)
    topic.is_away = False
    outcomes.look_up(connection, [FILE])
    assert 1 == len(outcomes.mark([record], [ID]))


def test_what_is_read_back_is_bounded(connection: Connection, monkeypatch) -> None:
    monkeypatch.setattr(trace_service, "READ_BACK_MAX", 0)
    plant(connection, CASE)
    topic = Topic(UPSTREAM.header)
    traces(topic, KeptSpans()).look_up(connection, [FILE])
    assert [] == topic.asked


def test_nothing_is_read_back_while_nothing_is_traced(connection: Connection) -> None:
    NO_TRACES.look_up(connection, [FILE])
    record = outcome()
    assert ([], 1) == (NO_TRACES.mark([record], [ID]), len(record.headers))
