"""The loop of the services: what it waits out, what ends it, and what its pages say meanwhile."""

from __future__ import annotations

import json
import logging
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest
import structlog

from ops.processes.servers import free_port
from pipeline.io import runner
from pipeline.io.health import Health, PortUnavailable, health_pages
from pipeline.io.kafka.client import BrokerAway, BrokerFailed
from pipeline.io.postgres import DatabaseRefused, DatabaseUnavailable
from pipeline.io.runner import ENDED, Terms, keep_stepping, run_service
from pipeline.io.settings import Settings
from pipeline.terminal.failures import failure_of

HOST = "127.0.0.1"
TERMS = Terms("test", 0, "FRAUD_TEST_PORT")


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Restore signal handlers and logging, which a service sets for its whole process."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    logged = structlog.get_config(), logging.root.handlers[:], logging.root.level
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)
    structlog.configure(**logged[0])
    logging.root.handlers[:], logging.root.level = logged[1], logged[2]


class Scripted:
    """A service whose turns do as they are told, one after the other; the last one stops it."""

    def __init__(self, *turns: Exception | str | None) -> None:
        self.turns, self.stopping, self.done = list(turns), threading.Event(), []

    def step(self, stopping: threading.Event) -> str | None:
        turn = self.turns.pop(0)
        if not self.turns:
            stopping.set()
        self.done.append("step")
        if isinstance(turn, Exception):
            raise turn
        return turn

    def begin_again(self) -> None:
        self.done.append("begin again")

    def close(self) -> None:
        self.done.append("close")


def run(service: Scripted, terms: Terms = TERMS, patience_s: float = 60) -> Health:
    health = Health(60)
    keep_stepping(service, terms, health, patience_s, threading.Event())
    return health


@pytest.mark.parametrize("failure", [BrokerAway("away"), DatabaseUnavailable("away")])
def test_what_may_pass_is_waited_out_and_begun_again(failure: Exception) -> None:
    service = Scripted(None, failure, None)
    assert run(service).not_ready() is None
    assert ["step", "step", "begin again", "step"] == service.done


def test_while_it_holds_it_is_live_and_says_why_it_is_not_ready() -> None:
    health = run(Scripted(DatabaseUnavailable("the database did not carry it out")))
    assert (None, "it holds: DatabaseUnavailable, the database did not carry it out") == (
        health.not_live(),
        health.not_ready(),
    )


def test_why_a_turn_found_it_unready_is_told() -> None:
    assert "no partition is its own" == run(Scripted(None, "no partition is its own")).not_ready()


def test_what_outlasts_the_patience_ends_it() -> None:
    with pytest.raises(BrokerAway):
        run(Scripted(BrokerAway("away"), BrokerAway("away"), None), patience_s=0)


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    monotonic = __call__


class Timed(Scripted):
    """Each turn takes so long."""

    def __init__(self, clock: Clock, turn_s: float, *turns: Exception | str | None) -> None:
        super().__init__(*turns)
        self._clock, self._turn_s = clock, turn_s

    def step(self, stopping: threading.Event) -> str | None:
        self._clock.now_s += self._turn_s
        return super().step(stopping)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(runner, "time", clock)
    monkeypatch.setattr(runner, "HOLD_WAIT_S", 0)
    return clock


def test_a_turn_that_found_nothing_does_not_make_patience_whole_again(clock: Clock) -> None:
    """Begun again, a service first finds nothing to read, and then the batch that can't be stored."""
    locked = DatabaseUnavailable("locked")
    with pytest.raises(DatabaseUnavailable):
        run(Timed(clock, 1, *[locked, None] * 40), patience_s=60)
    assert 60 < clock.now_s < 65


def test_patience_is_whole_again_after_a_while_without_a_failure(clock: Clock) -> None:
    away, well = BrokerAway("away"), [None] * 10
    run(Timed(clock, 1, *[away, *well] * 10), patience_s=60)
    assert 110 == clock.now_s


@pytest.mark.parametrize("failure", [BrokerFailed("fenced"), DatabaseRefused("no right")])
def test_what_does_not_pass_ends_it_at_once(failure: Exception) -> None:
    service = Scripted(failure, None)
    with pytest.raises(type(failure)):
        run(service)
    assert ["step"] == service.done


def test_a_service_may_wait_out_failures_of_its_own() -> None:
    run(service := Scripted(DatabaseRefused("another was faster"), None), Terms("test", 0, "", (DatabaseRefused,)))
    assert ["step", "begin again", "step"] == service.done


@pytest.mark.parametrize(("turn", "code"), [(None, 0), (BrokerFailed("fenced"), ENDED)])
def test_exit_code_says_whether_it_was_told_to_end(turn: Exception | None, code: int) -> None:
    service = Scripted(turn)
    with pytest.raises(SystemExit) as ended:
        run_service(service, Settings(), TERMS)
    assert (code, ["step", "close"]) == (ended.value.code, service.done)


def test_a_bug_ends_it_as_it_is() -> None:
    with pytest.raises(ZeroDivisionError):
        run_service(service := Scripted(ZeroDivisionError()), Settings(), TERMS)
    assert "close" == service.done[-1]


class Waiting(Scripted):
    """Each turn waits for something to come."""

    def __init__(self, act: Callable[[], None]) -> None:
        super().__init__()
        self._act = act

    def step(self, stopping: threading.Event) -> str | None:
        self.done.append("step")
        self._act()
        assert stopping.wait(120)
        return None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_after_the_turn_at_hand(number: signal.Signals) -> None:
    service = Waiting(lambda: signal.raise_signal(number))
    with pytest.raises(SystemExit) as ended:
        run_service(service, Settings(), TERMS)
    assert (0, ["step", "close"]) == (ended.value.code, service.done)


def test_what_else_it_can_be_told_is_heard() -> None:
    heard: list[str] = []

    def act() -> None:
        signal.raise_signal(signal.SIGUSR1)
        signal.raise_signal(signal.SIGTERM)

    terms = Terms("test", 0, "", on_signal={signal.SIGUSR1: lambda: heard.append("SIGUSR1")})
    before = signal.getsignal(signal.SIGUSR1)
    try:
        with pytest.raises(SystemExit):
            run_service(Waiting(act), Settings(), terms)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert ["SIGUSR1"] == heard


def test_pages_fail_when_the_loop_stands_still_and_heal_when_it_turns() -> None:
    clock = Clock()
    health = Health(10, clock)
    with health_pages(HOST, 0, "", health) as port:
        assert (200, {"live": True, "why": None}) == answer(port, "live")
        assert (503, {"ready": False, "why": "it has only just been started"}) == answer(port, "ready")
        health.tell(None)
        assert (200, {"ready": True, "why": None}) == answer(port, "ready")
        clock.now_s = 11
        why = "its loop has stood still for 11 s"
        assert (503, {"live": False, "why": why}) == answer(port, "live")
        assert (503, {"ready": False, "why": why}) == answer(port, "ready")
        health.turn()
        assert (200, {"live": True, "why": None}) == answer(port, "live")
        with urllib.request.urlopen(f"http://{HOST}:{port}/metrics") as page:
            assert b"fraud_service_holds_total" in page.read()


def answer(port: int, page: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/{page}", timeout=120) as found:
            return found.status, json.load(found)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_port_that_is_taken_is_told_in_a_sentence() -> None:
    port = free_port()
    with health_pages(HOST, port, "", Health(1)), pytest.raises(PortUnavailable) as unavailable:
        run_service(Scripted(None), Settings(), Terms("test", port, "FRAUD_TEST_PORT"))
    failure = failure_of(unavailable.value)
    assert failure is not None
    assert f"{HOST}:{port}, for the health pages, can't be had (Address already in use)." == failure.what
    assert "Set FRAUD_TEST_PORT or FRAUD_WEB_HOST to something free." == failure.fix
