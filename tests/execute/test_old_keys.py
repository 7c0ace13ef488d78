"""A key that the rail may have forgotten is asked about and never submitted again, wherever a crash has left it."""

from __future__ import annotations

from contextlib import closing
from urllib.request import urlopen

import orjson
import pytest

from ops.rail.misbehaviour import Misbehaviour
from pipeline.execute.batch_service import Executor
from pipeline.execute.saga import Answer
from tests.execute.given import PAYER, Desk, decision, reversal


class Crash(Exception):
    """Stands for kill -9."""


def books(address):
    with urlopen(f"{address}/v1/books") as answer:
        return orjson.loads(answer.read())


def crash_before_the_answer_is_stored(desk, record, monkeypatch):
    """The rail is asked, and nothing of its answer is known."""

    def crash(*_arguments, **_named):
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(Executor, "_ask_rail", crash)
        with pytest.raises(Crash):
            desk.hear(record)


def test_after_a_crash_an_old_key_is_not_submitted(desk, executor_url, appender, rail_of, monkeypatch):
    desk.open(GB29_0001=10_000)
    paid = decision()
    crash_before_the_answer_is_stored(desk, paid, monkeypatch)
    rail = rail_of()
    with closing(Desk(executor_url, appender, rail, rail_keeps_keys_s=0.0)) as second:
        second.resume()
        assert second.state(paid) == "IN_DOUBT"
        assert books(rail)["counts"] == {}
        cases = second.connection.execute("SELECT reason, missing_minor FROM ledger.recovery_case").fetchall()
        assert cases == [("RAIL_KEY_FORGOTTEN", 700)]
        assert second.retry() == 0
        assert books(rail)["counts"] == {}
        assert second.findings() == []


def test_after_a_crash_a_young_key_is_submitted(desk, executor_url, appender, rail_of, monkeypatch):
    desk.open(GB29_0001=10_000)
    paid = decision()
    crash_before_the_answer_is_stored(desk, paid, monkeypatch)
    rail = rail_of()
    with closing(Desk(executor_url, appender, rail)) as second:
        second.resume()
        assert second.state(paid) == "SETTLED"
        assert books(rail)["counts"] == {"ACCEPTED": 1}


def test_an_old_key_that_the_rail_still_knows_is_taken_as_it_says(desk, executor_url, appender, monkeypatch):
    desk.open(GB29_0001=10_000)
    paid = decision()
    real = Executor._append

    def crash_after_the_answer(self, connection, rows):
        if any(row.transition.step == "CREDIT" for row in rows.transitions):
            raise Crash
        real(self, connection, rows)

    with monkeypatch.context() as patched:
        patched.setattr(Executor, "_append", crash_after_the_answer)
        with pytest.raises(Crash):
            desk.hear(paid)
    with closing(Desk(executor_url, appender, desk.rail_address, rail_keeps_keys_s=0.0)) as second:
        second.resume()
        assert second.state(paid) == "SETTLED"


def test_a_silent_rail_makes_no_case_of_an_old_key(desk, executor_url, appender, rail_of, monkeypatch):
    desk.open(GB29_0001=10_000)
    paid = decision()
    crash_before_the_answer_is_stored(desk, paid, monkeypatch)
    silent = rail_of(Misbehaviour(error_before_share=1.0))
    with closing(Desk(executor_url, appender, silent, rail_keeps_keys_s=0.0)) as second:
        second.resume()
        assert second.state(paid) == "IN_DOUBT"
        assert second.connection.execute("SELECT count(*) FROM ledger.recovery_case").fetchone() == (0,)
        assert second.retry() == 1


def test_an_old_recall_is_not_asked_for_again(desk, executor_url, appender, rail_of, monkeypatch):
    desk.open(GB29_0001=10_000, GB29_0002=0)
    paid = decision()
    desk.hear(paid)
    crash_before_the_answer_is_stored(desk, reversal(paid, "BLOCK"), monkeypatch)
    with closing(Desk(executor_url, appender, rail_of(), rail_keeps_keys_s=0.0)) as second:
        second.resume()
        assert second.state(paid) == "RECALL_IN_DOUBT"
        assert second.retry() == 0
        assert second.balance(PAYER) == 9_300


def doubtful_recall(desk, monkeypatch):
    """A payment whose recall is in doubt, and a reversal to ALLOW that follows it: it is to be paid anew."""
    paid = decision()
    desk.hear(paid)
    blocked = reversal(paid, "BLOCK")
    with monkeypatch.context() as patched:
        patched.setattr(desk.rail, "recall", unanswered)
        desk.hear(blocked)
    allowed = reversal(paid, "ALLOW", after=blocked)
    desk.hear(allowed)
    assert desk.state(paid) == "RECALL_IN_DOUBT"
    return paid, allowed


def doubtful_payment(desk, monkeypatch):
    """A payment that is in doubt, and a reversal to BLOCK: it is to be recalled, as far as the payee still has it."""
    paid = decision()
    with monkeypatch.context() as patched:
        patched.setattr(desk.rail, "pay", unanswered)
        desk.hear(paid)
    blocked = reversal(paid, "BLOCK")
    desk.hear(blocked)
    assert desk.state(paid) == "IN_DOUBT"
    return paid, blocked


def unanswered(requests, **_):
    return {request.key: Answer.UNKNOWN for request in requests}


def crash_once_asked(desk, second_step, monkeypatch):
    """The rail has done what `second_step` stored, and its answer is lost with the process."""
    answered, real = {"SUBMIT": {"CREDIT"}}.get(second_step, {"RECALLED", "PART_RECALLED"}), Executor._append

    def crash(self, connection, rows):
        if any(row.transition.step in answered and row.transition.sequence > 5 for row in rows.transitions):
            raise Crash
        real(self, connection, rows)

    with monkeypatch.context() as patched:
        patched.setattr(Executor, "_append", crash)
        with pytest.raises(Crash):
            desk.retry()


@pytest.mark.parametrize(
    ("doubtful", "step", "state"),
    [(doubtful_recall, "SUBMIT", "IN_DOUBT"), (doubtful_payment, "RECALL", "RECALL_IN_DOUBT")],
)
def test_what_follows_a_doubt_is_asked_about_after_a_crash(
    doubtful, step, state, desk, executor_url, appender, rail_of, monkeypatch
):
    """The settled position is past it, so no restart resumes it: whoever looks after doubts finds it."""
    desk.open(GB29_0001=10_000, GB29_0002=0)
    record, _ = doubtful(desk, monkeypatch)
    crash_once_asked(desk, step, monkeypatch)
    assert desk.steps(record)[-1] == step
    forgetful = rail_of()
    with closing(Desk(executor_url, appender, forgetful, rail_keeps_keys_s=0.0)) as second:
        second.resume()
        second.retry()
        assert second.state(record) == state
        assert books(forgetful)["counts"] == {}
        cases = second.connection.execute("SELECT reason FROM ledger.recovery_case").fetchall()
        assert cases == [("RAIL_KEY_FORGOTTEN",)]
        assert second.findings() == []


def test_what_follows_a_doubt_is_done_once_where_the_rail_knows_it(desk, executor_url, appender, monkeypatch):
    desk.open(GB29_0001=10_000, GB29_0002=0)
    paid, _ = doubtful_recall(desk, monkeypatch)
    crash_once_asked(desk, "SUBMIT", monkeypatch)
    before = books(desk.rail_address)
    with closing(Desk(executor_url, appender, desk.rail_address, rail_keeps_keys_s=0.0)) as second:
        second.retry()
        assert second.state(paid) == "SETTLED"
        assert books(second.rail_address) == before


def test_a_record_heard_about_a_key_that_a_crash_left_pays_nothing(desk, executor_url, appender, rail_of, monkeypatch):
    """It is read from storage to hear the record, and waits for the rail since before."""
    desk.open(GB29_0001=10_000, GB29_0002=0)
    paid, allowed = doubtful_recall(desk, monkeypatch)
    crash_once_asked(desk, "SUBMIT", monkeypatch)
    forgetful = rail_of()
    with closing(Desk(executor_url, appender, forgetful, rail_keeps_keys_s=0.0)) as second:
        second.next_offset = desk.next_offset
        second.resume()
        second.hear(reversal(paid, "BLOCK", after=allowed), decision())
        assert second.state(paid) == "IN_DOUBT"
        assert books(forgetful)["counts"] == {"ACCEPTED": 1}
