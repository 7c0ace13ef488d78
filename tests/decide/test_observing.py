"""What the breaker said when a batch was asked about, and whether that still counts when the state has answered."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from pipeline.decide import observing_agent
from pipeline.decide.observing_agent import MODES_FRESH_S, Ahead, Observer, Subject

JUDGE = SimpleNamespace(in_force=None, rollout=None)


class Breaker:
    """Says a word of its own each time that it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    async def modes(self, *_: object) -> str:
        self.asked += 1
        return f"word {self.asked}"


class SlowState:
    """Answers after so long by the clock that it moves."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock, self._seconds = clock, seconds

    async def observe_prepared(self, _prepared: object, *, when_ready: bool) -> list[str]:
        assert when_ready
        await asyncio.sleep(0)
        self._clock.now_s += self._seconds
        return ["observed"]


class Clock:
    now_s = 1_000.0

    def monotonic(self) -> float:
        return self.now_s


async def observed(clock: Clock, seconds: float, *, is_judged: bool = True) -> tuple[object, object]:
    state, breaker = SlowState(clock, seconds), Breaker()
    observer = Observer(
        None, state, breaker, None, patience_s=10.0, fail=lambda _: None, tell_held=lambda _: None
    )  # fmt: skip

    async def settled() -> None: ...

    return await observer.observe(Subject(None, JUDGE, (), None), Ahead(settled, lambda: is_judged))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(observing_agent, "time", made)
    return made


@pytest.mark.parametrize(
    ("seconds", "word"), [(0.0, "word 1"), (MODES_FRESH_S, "word 1"), (MODES_FRESH_S + 0.01, None), (2.1, None)]
)
def test_the_breakers_word_is_asked_for_anew_where_the_state_took_long(clock, seconds, word):
    """A trip while Redis took 2.1 s to answer for the state went unheeded by the batch that had asked before it."""
    assert asyncio.run(observed(clock, seconds)) == (["observed"], word)


def test_the_breaker_is_not_asked_where_batches_wait_to_be_judged(clock):
    assert asyncio.run(observed(clock, 0.0, is_judged=False)) == (["observed"], None)
