"""The worker's side of the breaker: what it counts, what it tells, and what it keeps outside Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace

import pytest
import redis

from pipeline.breaker import Switches
from pipeline.breaker.answer_counts import Answer
from pipeline.breaker.hour_topics import HourTopic
from pipeline.breaker.store import BreakerStore
from pipeline.decide import observing_agent
from pipeline.decide.breaker_agent import BreakerWatch
from pipeline.decide.observing_agent import MODES_FRESH_S, Ahead, Observer, Subject
from pipeline.domain.alert import Alert
from pipeline.domain.decision import Outcome
from pipeline.domain.log import Outgoing, Span
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.client import BrokerAway
from pipeline.io.kafka.transaction_log import Batch
from tests.breaker.given import START_MS, settings

WIRE = WireFormat()
IN_FORCE = SimpleNamespace(
    model=SimpleNamespace(version="m1"),
    policy=SimpleNamespace(breaker=settings(window_s=60, error_window_s=30, evaluation_interval_s=10)),
)


class Scene:
    """A worker's watch on a real Redis, a broker that may be away, and simulated time."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.now_ms, self.is_away, self.kept, self.told = START_MS, False, list[Outgoing](), list[Alert]()
        self.store = BreakerStore(url, "watch", clock_ms=lambda: self.now_ms)
        hours = HourTopic("breaker_hours.v1", WIRE, self._no_reader, self._append)
        self.watch, self._offset = BreakerWatch(self.store, lambda: Switches(), hours), 0

    async def count(self, answers: Sequence[Answer], seconds: float = 0.01) -> None:
        spans = [Span(0, self._offset, self._offset + 100, 0)]
        self._offset += 100
        await self.watch.record(Batch([], spans, epoch=0), answers, IN_FORCE, seconds)
        await self.watch.flush()

    async def look(self) -> None:
        await self.watch.watch(IN_FORCE, self._publish)

    async def totals(self) -> dict[str, int]:
        raw = await self.store._ask("HGETALL", self.store._key["totals"])
        return {name.decode(): int(value) for name, value in raw.items()}

    async def _publish(self, alerts: Sequence[Alert]) -> None:
        if self.is_away:
            raise BrokerAway("it is away")
        self.told += alerts

    async def _append(self, records: Sequence[Outgoing]) -> None:
        if self.is_away:
            raise BrokerAway("it is away")
        self.kept += records

    @staticmethod
    def _no_reader():
        raise BrokerAway("it is away")


def run(url: str, steps) -> None:
    async def closing() -> None:
        scene = Scene(url)
        try:
            await steps(scene)
        finally:
            await scene.watch.close()

    asyncio.run(closing())


def answer(account_id: str, outcome: Outcome | None = Outcome.ALLOW) -> Answer:
    return Answer(outcome, 1, {}, "CARD", account_id)


def test_one_account_counts_as_much_as_the_policy_lets_it_and_every_payment_has_its_time(redis_at):
    async def steps(scene: Scene) -> None:
        await scene.count([answer("flood", Outcome.BLOCK)] * 90 + [answer(f"a{number}") for number in range(10)], 0.9)
        totals = await scene.totals()
        assert (totals["block|all"], totals["allow|all"], totals["latency_900|all"]) == (2, 10, 100)
        assert (totals["allow|channel:CARD"], totals["allow|model:m1"], totals["position|0"]) == (10, 10, 100)

    run(redis_at, steps)


def test_alert_that_could_not_be_published_is_published_later_under_the_same_id(redis_at):
    async def steps(scene: Scene) -> None:
        scene.is_away = True
        with pytest.raises(BrokerAway):
            await scene.look()  # an empty store: it opens everything
        scene.is_away = False
        await scene.look()
        await scene.look()
        assert [(alert.code, alert.scope) for alert in scene.told] == [("BREAKER_STATE_LOST", "all")]

    run(redis_at, steps)


def failing(scene: Scene) -> list[Answer]:
    return [answer(f"a{scene.now_ms}-{number}", None) for number in range(100)]


@pytest.mark.parametrize("is_redis_back", [True, False])
def test_trip_that_redis_lost_before_it_was_told_is_told_with_its_counts_and_positions(redis_at, is_redis_back):
    async def steps(scene: Scene) -> None:
        await scene.store.initialise("a.person", IN_FORCE.policy.breaker)
        await scene.look()
        scene.is_away, is_tripped = True, False
        while not is_tripped:
            await scene.count(failing(scene))
            scene.now_ms += 10_000
            try:
                await scene.look()
            except BrokerAway:
                is_tripped = True
        server = redis.Redis.from_url(scene.url)
        server.flushall() if is_redis_back else server.set("watch:{breaker}:states", "no hash")
        server.close()
        scene.is_away, before = False, len(scene.told)
        await scene.look()
        codes = [alert.code for alert in scene.told[before:]]
        assert ["BREAKER_TRIP", "BREAKER_TRIP"] == codes[:2]  # of all traffic, and of the version
        assert is_redis_back == ("BREAKER_STATE_LOST" in codes)
        evidence = scene.told[before].evidence
        assert int(evidence["errors"]) >= 100
        assert evidence["end_positions"].startswith("0:")
        await scene.look()
        assert len(codes) == len(scene.told[before:])

    run(redis_at, steps)


def test_scope_that_cannot_be_judged_is_told_once(redis_at):
    async def steps(scene: Scene) -> None:
        await scene.store.initialise("a.person", IN_FORCE.policy.breaker)
        await scene.look()
        before, hours = len(scene.told), 0
        while hours < 30:
            scene.now_ms, hours = scene.now_ms + 3_600_000, hours + 1
            await scene.look()
            await scene.count([answer("one")])
            scene.now_ms += 10_000
            await scene.look()
        told = [(alert.code, alert.scope) for alert in scene.told[before:]]
        assert [("MODEL_UNWATCHED", "all"), ("MODEL_UNWATCHED", "model:m1")] == told

    run(redis_at, steps)


def test_hours_are_kept_outside_redis_once_they_can_be(redis_at):
    async def steps(scene: Scene) -> None:
        await scene.watch.restore()  # the broker is away: it goes on with what Redis has
        await scene.store.initialise("a.person", IN_FORCE.policy.breaker)
        await scene.look()
        for _ in range(2):
            await scene.count([answer(f"a{number}") for number in range(100)])
            scene.now_ms += 3_600_000
            scene.is_away = not scene.is_away
            if scene.is_away:
                await scene.look()
                assert scene.kept == []
        await scene.look()
        kept = [WIRE.decode_breaker_hour(record.value) for record in scene.kept]
        assert [(hour.start_ms, "all" in hour.scopes) for hour in kept][:1] == [(START_MS, True)]
        before = len(scene.kept)
        await scene.look()
        assert len(scene.kept) == before

    run(redis_at, steps)


JUDGE = SimpleNamespace(in_force=None, rollout=None)


class Words:
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
    state, breaker = SlowState(clock, seconds), Words()
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
