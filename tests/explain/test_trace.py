"""The trace that `fraud explain` names, and who named it."""

from __future__ import annotations

import json

import pytest

from pipeline.explain.whole_command import DERIVED, NAMED, NAMED_UNSAMPLED, UNKNOWN, whole
from tests.rollback.stand import WIRE
from tests.traces.given import UPSTREAM

QUIET = UPSTREAM._replace(is_sampled=False)


def own_trace(told) -> str:
    return told.explained.decision.decision_id.replace("-", "")


@pytest.mark.parametrize(
    ("headers", "origin"),
    [
        ([("traceparent", UPSTREAM.header)], NAMED),
        ([("seal", b"s"), ("traceparent", QUIET.header)], NAMED_UNSAMPLED),
        (None, DERIVED),
        ([("traceparent", b"rubbish")], DERIVED),
        ([("traceparent", UPSTREAM.header)] * 2, DERIVED),
    ],
)
def test_the_trace_is_the_record_s_or_follows_from_the_decision(bank, headers, origin):
    bank.decide("tx-traced", headers=headers)
    for settle in (lambda: None, bank.settle):  # from the topic, and from the audit log and the topic
        settle()
        told = whole(bank.settings, WIRE, "tx-traced", None)
        expected = own_trace(told) if origin == DERIVED else UPSTREAM.trace_id
        assert (expected, origin) == told.trace


def test_without_the_topic_another_trace_may_have_been_named(bank, monkeypatch):
    monkeypatch.setattr("pipeline.io.kafka.client.ANSWER_S", 0.3)
    bank.decide("tx-kept", headers=[("traceparent", UPSTREAM.header)])
    bank.settle()
    settings = bank.settings.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    told = whole(settings, WIRE, "tx-kept", None)
    assert (own_trace(told), UNKNOWN) == told.trace


def test_the_command_and_its_page_show_it(bank, fraud, tmp_path):
    bank.decide("tx-shown", headers=[("traceparent", UPSTREAM.header)])
    answer = fraud("explain", "tx-shown", **bank.environment)
    assert f"  trace                {UPSTREAM.trace_id}  {NAMED}" in answer.out.splitlines()
    answer = fraud("explain", "tx-shown", "--json", **bank.environment)
    assert {"trace_id": UPSTREAM.trace_id, "origin": NAMED} == json.loads(answer.out)["trace"]
    assert 0 == fraud("explain", "tx-shown", "--html", tmp_path / "page.html", **bank.environment).code
    assert UPSTREAM.trace_id in (tmp_path / "page.html").read_text()
