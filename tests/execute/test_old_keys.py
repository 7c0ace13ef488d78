"""Finding 4: a key that the rail may have forgotten is asked about and never submitted again."""

from __future__ import annotations

from contextlib import closing
from urllib.request import urlopen

import orjson
import pytest

from ops.rail.misbehaviour import Misbehaviour
from pipeline.execute.batch_service import Executor
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
