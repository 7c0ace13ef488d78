"""Sends in threads: one at a time for each name, and none that keeps the others waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from ops.bench.rig.waiting import wait_until
from pipeline.oncall.outbox import Answer, Result
from pipeline.oncall.sinks.senders_client import ABANDONED_MAX, SEND_S_MAX, Ended, Senders, SendsStuck

WAIT_S = 120.0
DELIVERED = Result(Answer.DELIVERED)


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def held(until: threading.Event) -> Callable[[], Result]:
    def send() -> Result:
        assert until.wait(WAIT_S)
        return DELIVERED

    return send


def collected(senders: Senders) -> list[Ended]:
    found: list[Ended] = []
    wait_until(lambda: bool(found.extend(senders.collect()) or found), WAIT_S, "an answer", every_s=0.01)
    return found


def test_slow_sink_keeps_no_other_waiting() -> None:
    senders, until = Senders(), threading.Event()
    senders.start("slow", held(until))
    senders.start("quick", lambda: DELIVERED)
    assert [Ended("quick", DELIVERED)] == collected(senders)
    assert senders.is_busy("slow")
    until.set()
    assert [Ended("slow", DELIVERED)] == collected(senders)
    assert senders.is_idle


def test_send_that_does_not_end_is_in_doubt_and_its_late_answer_says_nothing() -> None:
    clock, until = Clock(), threading.Event()
    senders = Senders(clock)
    senders.start("stuck", held(until))
    clock.now_s = SEND_S_MAX + 1
    [ended] = senders.collect()
    assert ("stuck", Answer.IN_DOUBT) == (ended.name, ended.result.answer)
    assert (1, False) == (senders.abandoned, senders.is_busy("stuck"))
    until.set()
    wait_until(lambda: not senders.collect() and senders.abandoned == 0, WAIT_S, "its end", every_s=0.01)


def test_fault_of_ours_in_one_sink_is_an_answer_in_doubt() -> None:
    senders = Senders()

    def fail() -> Result:
        raise KeyError("a secret")

    senders.start("broken", fail)
    [ended] = collected(senders)
    assert Answer.IN_DOUBT is ended.result.answer
    assert "secret" not in ended.result.why


def test_too_many_that_never_end_end_the_service() -> None:
    clock, until = Clock(), threading.Event()
    senders = Senders(clock)
    for number in range(ABANDONED_MAX + 1):
        senders.start("stuck", held(until))
        clock.now_s = (number + 1) * (SEND_S_MAX + 1)
        if number < ABANDONED_MAX:
            senders.collect()
    with pytest.raises(SendsStuck):
        senders.collect()
    until.set()
