"""What goes wrong between the steps: crashes, a rail that misbehaves, a second process that thinks it is the first."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from urllib.request import urlopen

import orjson
import pytest
from prometheus_client import REGISTRY

from ops.rail.misbehaviour import Misbehaviour
from pipeline.execute import batch_service
from pipeline.execute.batch_service import Executor
from pipeline.execute.notice_topics import Notices
from pipeline.execute.rail_client import Rail
from pipeline.execute.saga import Answer
from pipeline.io.postgres import DatabaseRefused, PositionMoved
from tests.execute.given import PAYEE, PAYER, Desk, decision, reversal, review


class Crash(Exception):
    """Stands for kill -9: nothing of the process is used afterwards."""


BOUNDARIES = {
    "before it is heard": (Executor, "_hear", True),
    "once it is reserved": (Executor, "_finish", True),
    "before the rail is asked": (Rail, "pay", True),
    "after the rail has paid": (Rail, "pay", False),
    "once the answer is stored": (Executor, "_complete", True),
    "after upstream was told": (Notices, "tell", False),
    "once it is complete": (Executor, "_take_checkpoints", True),
}


def crash_at(monkeypatch, owner, name, *, is_before):
    real = getattr(owner, name)

    def crashing(*arguments, **named):
        if not is_before:
            real(*arguments, **named)
        raise Crash

    monkeypatch.setattr(owner, name, crashing)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_a_crash_at_any_boundary_changes_nothing(boundary, desk, executor_url, appender, monkeypatch):
    desk.open(GB29_0001=10_000)
    allowed, held, blocked = decision(), decision("ESCALATE"), decision("BLOCK")
    batch = desk.batch(allowed, held, blocked)
    owner, name, is_before = BOUNDARIES[boundary]
    with monkeypatch.context() as patched:
        crash_at(patched, owner, name, is_before=is_before)
        with pytest.raises(Crash):
            desk.execution.accept(desk.connection, batch)
    with closing(Desk(executor_url, appender, desk.rail_address)) as second:
        second.resume()
        heard = second.execution.heard.read(second.connection, [0])[0]
        if not heard:
            second.execution.accept(second.connection, batch)
        assert (second.state(allowed), second.state(held), second.state(blocked)) == ("SETTLED", "HELD", "REFUSED")
        assert second.steps(allowed) == ["RESERVE", "DEBIT", "SUBMIT", "CREDIT", "COMPLETE"]
        assert (second.balance(PAYER), second.balance(PAYEE)) == (8_600, 700)
        assert second.findings() == []


def test_after_a_crash_the_rail_is_asked_before_it_is_told_to_pay(desk, executor_url, appender, monkeypatch):
    """A rail that has forgotten a key would pay it again."""
    desk.open(GB29_0001=10_000)
    allowed = decision()
    with monkeypatch.context() as patched:
        crash_at(patched, Rail, "pay", is_before=False)
        with pytest.raises(Crash):
            desk.hear(allowed)
    asked, post = [], Rail._post
    monkeypatch.setattr(Rail, "_post", lambda client, path, body: asked.append(path) or post(client, path, body))
    with closing(Desk(executor_url, appender, desk.rail_address)) as second:
        second.resume()
        assert second.state(allowed) == "SETTLED"
    assert asked == ["/v1/transfers/query", "/v1/lookup"]


@pytest.mark.parametrize("boundary", ["before", "after"])
def test_a_crash_around_a_recall_changes_nothing(boundary, desk, executor_url, appender, monkeypatch):
    desk.open(GB29_0001=1_000)
    paid = decision()
    desk.hear(paid)
    with monkeypatch.context() as patched:
        crash_at(patched, Rail, "recall", is_before=boundary == "before")
        with pytest.raises(Crash):
            desk.hear(reversal(paid, "BLOCK"))
    with closing(Desk(executor_url, appender, desk.rail_address)) as second:
        second.resume()
        assert (second.state(paid), second.balance(PAYER), second.balance(PAYEE)) == ("REVERSED", 1_000, 0)


MISBEHAVIOURS = {
    "says 503": Misbehaviour(seed=3, error_before_share=0.5),
    "pays, then says 500": Misbehaviour(seed=3, error_after_share=0.5),
    "pays half, then says 500": Misbehaviour(seed=3, partial_share=0.5),
    "pays, and its reply is lost": Misbehaviour(seed=3, lost_reply_share=0.5),
    "is slower than we wait": Misbehaviour(seed=3, slow_share=0.4, slow_ms=600),
    "gets every request twice": Misbehaviour(seed=3, duplicate_share=1.0),
}


@pytest.mark.parametrize("misbehaviour", MISBEHAVIOURS)
def test_a_rail_that_misbehaves_pays_once(misbehaviour, executor_url, appender, rail_of):
    rail = rail_of(MISBEHAVIOURS[misbehaviour])
    with closing(Desk(executor_url, appender, rail, timeout_s=0.3)) as desk:
        desk.open(GB29_0001=100_000)
        for _ in range(4):
            desk.hear(*[decision() for _ in range(5)])
        for _ in range(20):
            if not desk.retry():
                break
        assert desk.states() == {"SETTLED": 20}
        assert (desk.balance(PAYEE), paid_by_rail(rail)) == (14_000, 14_000)
        assert desk.findings() == []


def paid_by_rail(address: str) -> int:
    with urlopen(f"{address}/v1/books") as answer:
        return orjson.loads(answer.read())["paid_minor"].get("GBP", 0)


def test_what_the_rail_does_not_say_stays_in_doubt_and_is_never_guessed(executor_url, appender, rail_of):
    silent = rail_of(Misbehaviour(error_after_share=1.0))
    with closing(Desk(executor_url, appender, silent)) as desk:
        desk.open(GB29_0001=1_000)
        paid = decision()
        desk.hear(paid)
        assert desk.state(paid) == "IN_DOUBT"
        assert desk.retry() == 1
        desk.hear(reversal(paid, "BLOCK"))
        assert (desk.state(paid), desk.balance("/clearing")) == ("IN_DOUBT", 700)
        assert desk.findings() == []


def test_what_is_in_doubt_is_taken_up_once_the_rail_speaks(executor_url, appender, rail_of):
    with closing(Desk(executor_url, appender, rail_of(Misbehaviour(error_before_share=1.0)))) as desk:
        desk.open(GB29_0001=1_000)
        paid = decision()
        desk.hear(paid)
        desk.hear(reversal(paid, "BLOCK"))
        assert desk.state(paid) == "IN_DOUBT"
        desk.rail._connection.port = int(rail_of().rpartition(":")[2])
        assert desk.retry() == 0
        assert (desk.state(paid), desk.balance(PAYER)) == ("REVERSED", 1_000)
        assert desk.steps(paid)[3:5] == ["DOUBT", "CREDIT"]


@pytest.mark.parametrize("looked_at_max", [1, 3, 7, 8, 100])
def test_what_stays_in_doubt_keeps_nothing_else_from_being_asked_about(desk, monkeypatch, looked_at_max):
    """The rail says nothing of those that came into doubt first."""
    monkeypatch.setattr(batch_service, "DOUBTFUL_MAX", looked_at_max)
    desk.open(GB29_0001=1_000_000)
    pending, answered = [decision(amount_minor=1) for _ in range(7)], decision(amount_minor=2)
    pay, asked = desk.rail.pay, Counter()

    def silent(transfers, **_):
        asked.update(transfer.key for transfer in transfers)
        return {transfer.key: Answer.UNKNOWN for transfer in transfers}

    monkeypatch.setattr(desk.rail, "pay", silent)
    for one in (*pending, answered):
        desk.hear(one)
    asked.clear()

    def answers_one(transfers, **named):
        known = [transfer for transfer in transfers if transfer.amount_minor == 2]
        return silent([each for each in transfers if each not in known]) | (pay(known, **named) if known else {})

    monkeypatch.setattr(desk.rail, "pay", answers_one)
    rounds = 0
    while rounds < 3:
        rounds += desk.execution.retry_doubtful(desk.connection, [0]).is_last
    assert desk.state(answered) == "SETTLED"
    assert sorted(asked.values()) == [3] * 7


@pytest.mark.parametrize("boundary", ["once the answer is stored", "after upstream was told"])
def test_a_crash_after_the_doubt_is_over_changes_nothing(boundary, executor_url, appender, rail_of, monkeypatch):
    with closing(Desk(executor_url, appender, rail_of(Misbehaviour(error_before_share=1.0)))) as desk:
        desk.open(GB29_0001=1_000)
        paid = decision()
        desk.hear(paid)
        assert desk.state(paid) == "IN_DOUBT"
    owner, name, is_before = BOUNDARIES[boundary]
    address = rail_of()
    with closing(Desk(executor_url, appender, address)) as second, monkeypatch.context() as patched:
        crash_at(patched, owner, name, is_before=is_before)
        with pytest.raises(Crash):
            second.retry()
    with closing(Desk(executor_url, appender, address)) as third:
        third.resume()
        assert third.retry() == 0
        assert (third.state(paid), third.balance(PAYEE), paid_by_rail(address)) == ("SETTLED", 700, 700)


def test_what_the_rail_refuses_is_given_back(executor_url, appender, rail_of):
    with closing(Desk(executor_url, appender, rail_of(Misbehaviour(refused_share=1.0)))) as desk:
        desk.open(GB29_0001=1_000)
        paid = decision()
        desk.hear(paid)
        assert (desk.state(paid), desk.reason(paid), desk.balance(PAYER)) == ("REFUSED", "RAIL_REFUSED", 1_000)
        assert desk.steps(paid)[3:] == ["REJECT", "UNDEBIT", "UNRESERVE", "REFUSE"]


def test_a_recall_that_the_rail_refuses_leaves_it_settled(executor_url, appender, rail_of):
    with closing(Desk(executor_url, appender, rail_of(Misbehaviour(recall_refused_share=1.0)))) as desk:
        desk.open(GB29_0001=1_000)
        paid = decision()
        desk.hear(paid)
        desk.hear(reversal(paid, "BLOCK"))
        assert (desk.state(paid), desk.reason(paid), desk.balance(PAYEE)) == ("SETTLED", "RECALL_REFUSED", 700)


def test_a_second_process_cannot_hear_the_same_records(desk, executor_url, appender):
    desk.open(GB29_0001=10_000)
    batch = desk.batch(decision(), decision())
    with closing(Desk(executor_url, appender, desk.rail_address)) as zombie:
        desk.execution.accept(desk.connection, batch)
        with pytest.raises(PositionMoved):
            zombie.execution.accept(zombie.connection, batch)
    assert (desk.states(), desk.balance(PAYEE)) == ({"SETTLED": 2}, 1_400)


def test_a_second_process_cannot_store_the_same_answer(desk, executor_url, appender, monkeypatch):
    """The zombie stands between the rail's reply and its own commit while its successor finishes."""
    desk.open(GB29_0001=10_000)
    with closing(Desk(executor_url, appender, desk.rail_address)) as successor:
        real = Rail.pay

        def paused(rail, transfers, **named):
            answers = real(rail, transfers, **named)
            if rail is desk.rail:
                successor.resume()
            return answers

        monkeypatch.setattr(Rail, "pay", paused)
        with pytest.raises(DatabaseRefused):
            desk.hear(decision())
        assert (successor.states(), successor.balance(PAYEE)) == ({"SETTLED": 1}, 700)
        assert successor.findings() == []


def test_what_is_in_doubt_can_be_reviewed_back(executor_url, appender, rail_of):
    """A review may meet a payment that a reversal is taking back while the rail is silent."""
    with closing(Desk(executor_url, appender, rail_of(Misbehaviour(error_before_share=1.0)))) as desk:
        desk.open(GB29_0001=1_000)
        paid = decision()
        desk.hear(paid)
        desk.hear(reversal(paid, "ESCALATE"))
        desk.hear(review(paid, "BLOCK"))
        desk.rail._connection.port = int(rail_of().rpartition(":")[2])
        desk.retry()
        assert (desk.state(paid), desk.balance(PAYER)) == ("REFUSED", 1_000)


def test_metrics_count_what_was_committed_and_never_what_was_rolled_back(desk, monkeypatch):
    def moved() -> float:
        labels = {"step": "CREDIT", "currency": "GBP"}
        return REGISTRY.get_sample_value("fraud_money_moved_minor_total", labels) or 0

    def steps() -> float:
        return REGISTRY.get_sample_value("fraud_execution_steps_total", {"step": "RESERVE"}) or 0

    desk.open(GB29_0001=10_000)
    before, reserved = moved(), steps()
    first = decision()
    batch = desk.batch(first)
    with monkeypatch.context() as patched:
        crash_at(patched, Notices, "raise_orphans", is_before=True)  # the last thing before the commit
        with pytest.raises(Crash):
            desk.execution.accept(desk.connection, batch)
    assert (before, reserved) == (moved(), steps())
    desk.execution.accept(desk.connection, batch)
    assert ("SETTLED", 700, 1) == (desk.state(first), moved() - before, steps() - reserved)
