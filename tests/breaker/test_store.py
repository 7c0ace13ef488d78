"""The breaker's memory on every Redis that it must hold on, with simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import redis

from pipeline.breaker import SEGMENT_OTHER, SEGMENTS_MAX, Event, Routing, Transition
from pipeline.breaker.answer_counts import ALL, Answer, Counts, counts_of
from pipeline.breaker.store import BreakerRefused, BreakerStore, BreakerUnavailable
from pipeline.domain.decision import BreakerState, Outcome
from tests.breaker.given import START_MS, answers, settings

T = TypeVar("T")
MODEL = "model:m1"
SETTINGS = settings(window_s=60, error_window_s=30, evaluation_interval_s=10, open_period_s=60, half_open_s=60)


class Clock:
    def __init__(self) -> None:
        self.now_ms = START_MS

    def __call__(self) -> int:
        return self.now_ms


class World:
    """Workers on one server, at one simulated time."""

    def __init__(self, url: str) -> None:
        self.server: Any = redis.Redis.from_url(url)
        self.clock, self.offset, self.url = Clock(), 0, url
        self.stores: list[BreakerStore] = []

    def worker(self) -> BreakerStore:
        store = BreakerStore(self.url, "test", clock_ms=self.clock)
        self.stores.append(store)
        return store

    async def batch(self, store: BreakerStore, counts: Counts, scopes: tuple[str, ...] = (ALL, MODEL)) -> None:
        assert await store.record([(0, self.offset, self.offset + 100)], dict.fromkeys(scopes, counts))
        self.offset += 100

    async def seconds(self, store: BreakerStore, count: int, counts: Counts) -> list[Transition]:
        """Let `count` seconds pass, each with a batch of `counts` and an evaluation."""
        made: list[Transition] = []
        for _ in range(count):
            await self.batch(store, counts)
            self.clock.now_ms += 1000
            made += await store.evaluate(SETTINGS, "m1")
        return made


@pytest.fixture
def world(redis_at: str) -> Iterator[World]:
    world = World(redis_at)
    yield world
    world.server.close()


def run(world: World, steps: Coroutine[Any, Any, T]) -> T:
    async def closing() -> T:
        try:
            return await steps
        finally:
            for store in world.stores:
                await store.close()

    return asyncio.run(closing())


CALM, BLOCKING = answers(100, 5, 5), answers(100, 60, 5)


def states(records: dict[str, Any]) -> dict[str, str]:
    return {scope: record.state.value for scope, record in records.items()}


def test_trips_recovers_and_says_why(world):
    async def steps():
        store = world.worker()
        assert await store.initialise("a.person", SETTINGS)
        assert await world.seconds(store, 120, CALM) == []
        (tripped,) = await world.seconds(store, 60, BLOCKING)
        assert (tripped.before, tripped.event, tripped.after.scope) == (BreakerState.CLOSED, Event.TRIP, MODEL)
        assert tripped.after.cause.text.startswith("the model blocks ")
        assert tripped.window.answered >= 6_000
        routing = Routing((await store.read()).records, "m1", 10)
        assert routing.uniform == (BreakerState.OPEN, MODEL, False)
        still_bad = await world.seconds(store, 60, BLOCKING)
        assert [made.event for made in still_bad] == [Event.STILL_BAD]
        recovered = await world.seconds(store, 400, CALM)
        assert [made.event for made in recovered] == [Event.OPEN_PERIOD_OVER, Event.PROBE_GOOD]
        assert states((await store.read()).records) == {ALL: "CLOSED", MODEL: "CLOSED"}
        events = [made.event for made in await store.history()]
        assert events == ["PROBE_GOOD", "OPEN_PERIOD_OVER", "STILL_BAD", "TRIP", "INITIALISE"]

    run(world, steps())


def test_i4_empty_store_is_unknown_then_open_and_never_just_closed(world):
    async def steps():
        store = world.worker()
        assert Routing((await store.read()).records, "m1", 10).uniform == (BreakerState.UNKNOWN, ALL, False)
        (made,) = await store.evaluate(SETTINGS, "m1")
        assert (made.before, made.event) == (BreakerState.UNKNOWN, Event.STATE_LOST)
        assert states((await store.read()).records) == {ALL: "OPEN"}
        assert not await store.initialise("a.person", SETTINGS)
        later = await world.seconds(store, 200, CALM)
        assert [(one.after.scope, one.event) for one in later] == [(ALL, "OPEN_PERIOD_OVER"), (ALL, "PROBE_GOOD")]

    run(world, steps())


def test_lost_store_gets_back_what_a_worker_remembers(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        await store.force_open("segment:age_band=18-25", "a.person", "drill", SETTINGS)
        before = (await store.read()).records
        world.server.flushall()
        world.clock.now_ms += 10_000
        assert (await store.read()).records == {}
        await store.evaluate(SETTINGS, "m1")
        after = (await store.read()).records
        assert states(after) == {ALL: "OPEN", "segment:age_band=18-25": "FORCED_OPEN"}
        assert after["segment:age_band=18-25"].cause.author == "a.person"
        assert all(after[scope].version > before[scope].version for scope in after)

    run(world, steps())


def test_failover_to_an_older_state_is_a_loss(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        world.server.copy("test:{breaker}:states", "older")
        await store.force_open(MODEL, "a.person", "drill", SETTINGS)
        world.server.copy("older", "test:{breaker}:states", replace=True)
        assert (await store.read()).records == {}
        world.clock.now_ms += 10_000
        await store.evaluate(SETTINGS, "m1")
        assert states((await store.read()).records) == {ALL: "OPEN", MODEL: "FORCED_OPEN"}

    run(world, steps())


def test_an_answer_that_an_evaluation_overtakes_is_not_a_loss(world, monkeypatch):
    """The state changes between Redis' answer to a read and the arrival of that answer."""

    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        answered = store._states

        async def overtaken():
            states = await answered()
            world.clock.now_ms += 10_000
            await store.evaluate(SETTINGS, "m1")
            return states

        monkeypatch.setattr(store, "_states", overtaken)
        assert states((await store.read()).records) == {ALL: "CLOSED"}
        monkeypatch.setattr(store, "_states", answered)
        assert states((await store.read()).records) == {ALL: "CLOSED"}

    run(world, steps())


def test_two_evaluators_trip_once(world):
    async def steps():
        first, second = world.worker(), world.worker()
        await first.initialise("a.person", SETTINGS)
        await world.seconds(first, 120, CALM)
        made = []
        for _ in range(60):
            await world.batch(first, BLOCKING)
            world.clock.now_ms += 1000
            both = await asyncio.gather(first.evaluate(SETTINGS, "m1"), second.evaluate(SETTINGS, "m1"))
            made += [one for found in both for one in found]
        assert [(one.after.scope, one.event) for one in made] == [(MODEL, Event.TRIP)]
        assert len(await first.history()) == 2

    run(world, steps())


@pytest.mark.parametrize(("is_overtaken", "expected"), [(False, "OPEN"), (True, "FORCED_OPEN")])
def test_evaluator_that_was_overtaken_writes_nothing(world, is_overtaken, expected):
    at_once = settings(window_s=30, error_window_s=10, evaluation_interval_s=10, confirmations=1)

    async def steps():
        slow, quick = world.worker(), world.worker()
        await slow.initialise("a.person", at_once)
        for counts in (CALM, answers(3_000, 60, 60), answers(10, 0), answers(10, 0), answers(10, 0)):
            await world.batch(slow, counts)
            world.clock.now_ms += 10_000
            assert await slow.evaluate(at_once, "m1") == ()
        await world.batch(slow, answers(3_000, 2_000, 60))
        world.clock.now_ms += 10_000
        claimed = await slow._claimed(at_once)
        if is_overtaken:
            await quick.force_open(MODEL, "a.person", "drill", at_once)
        made = await slow._evaluated(claimed, at_once, "m1")
        assert len(made) == (0 if is_overtaken else 1)
        assert (await slow.read()).records[MODEL].state == expected

    run(world, steps())


def test_workers_evaluate_once_an_interval_between_them(world):
    async def steps():
        workers = [world.worker() for _ in range(3)]
        await workers[0].initialise("a.person", SETTINGS)
        for _ in range(60):
            world.clock.now_ms += 1000
            await asyncio.gather(*[worker.evaluate(SETTINGS, "m1") for worker in workers])
        marks = [int(mark) for mark in world.server.zrange("test:{breaker}:marks", 0, -1)]
        assert marks == [START_MS + 1000 + 10_000 * place for place in range(6)]

    run(world, steps())


def test_batch_is_counted_once(world):
    async def steps():
        store = world.worker()
        counts = {ALL: answers(10, errors=3)}
        assert await store.record([(0, 0, 10), (1, 0, 5)], counts)
        assert not await store.record([(0, 0, 10), (1, 0, 5)], counts)
        assert not await store.record([(1, 0, 5)], counts)
        assert not await store.record([(0, 5, 15)], counts)
        assert await store.record([(0, 10, 20)], counts)
        totals = world.server.hgetall("test:{breaker}:totals")
        assert (totals[b"allow|all"], totals[b"errors|all"]) == (b"20", b"6")

    run(world, steps())


def test_totals_are_exact_beyond_the_integers_of_lua(world):
    async def steps():
        store = world.worker()
        for place in range(2):
            await store.record([(0, place, place + 1)], {ALL: Counts(score_sum_ppm=2**53 + 1)})
        assert int(world.server.hget("test:{breaker}:totals", "score|all")) == 2**54 + 2

    run(world, steps())


def test_segments_beyond_the_bound_are_counted_together(world):
    async def steps():
        store = world.worker()
        segments = [f"segment:postcode_area={number}" for number in range(SEGMENTS_MAX + 5)]
        await world.batch(store, answers(10), tuple(segments))
        await world.batch(store, answers(10), (segments[0], segments[-1], "segment:name=" + "long" * 100))
        totals = world.server.hgetall("test:{breaker}:totals")
        assert totals[b"allow|segment:other"] == b"70"
        assert totals[b"allow|segment:postcode_area=0"] == b"20"
        scopes = {field.partition(b"|")[2] for field in totals}
        assert len(scopes) == SEGMENTS_MAX + 1

    run(world, steps())


def test_the_rest_of_the_segments_is_routed_as_one(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        await world.batch(store, answers(10), ("segment:postcode_area=SW",))
        await store.force_open(SEGMENT_OTHER, "a.person", "drill", SETTINGS)
        routing = Routing(*_arguments(await store.read()))
        assert routing.route_of("t1", {"postcode_area": "SW"}).state is BreakerState.CLOSED
        assert routing.route_of("t1", {"postcode_area": "NE"}).state is BreakerState.FORCED_OPEN

    run(world, steps())


def _arguments(view):
    return view.records, "m1", 10, view.tracked_segments


def test_only_the_segment_that_turned_is_tripped(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        made = []
        for second in range(240):
            sw = [Outcome.BLOCK if second >= 120 else Outcome.ALLOW] * 20
            batch = [Answer(outcome, 20_000, {"postcode_area": "SW"}) for outcome in sw]
            batch += [Answer(Outcome.ALLOW, 20_000, {"postcode_area": "NE"})] * 300
            await store.record([(0, second, second + 1)], counts_of(batch, 5, "m1"))
            world.clock.now_ms += 1000
            made += await store.evaluate(SETTINGS, "m1")
        assert [(one.after.scope, one.event) for one in made if one.event is Event.TRIP] == [
            ("segment:postcode_area=SW", Event.TRIP)
        ]

    run(world, steps())


def test_kill_switch_holds_until_released_to_probation(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        forced = await store.force_open(ALL, "a.person", "drill", SETTINGS)
        assert (forced.after.state, forced.after.cause.author) == (BreakerState.FORCED_OPEN, "a.person")
        assert await world.seconds(store, 200, CALM) == []
        released = await store.release(ALL, "b.person", "drill over", SETTINGS)
        assert released.after.state is BreakerState.HALF_OPEN
        assert [made.event for made in await world.seconds(store, 120, CALM)] == [Event.PROBE_GOOD]

    run(world, steps())


def test_shift_that_a_person_accepts_is_the_new_normal(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        await world.seconds(store, 120, CALM)
        await world.seconds(store, 300, BLOCKING)
        await store.release(MODEL, "a.person", "a new product", SETTINGS, accept_shift=True)
        assert [made.event for made in await world.seconds(store, 300, BLOCKING)] == [Event.PROBE_GOOD]

    run(world, steps())


REFUSED = [
    ("all", "a.person", "why", "all is CLOSED: RELEASE is not possible from there"),
    ("al", "a.person", "why", "'al' is no scope: give all, model:VERSION or segment:NAME=VALUE"),
    ("all", "a.person", " ", "a reason is needed, of at most 500 characters"),
    ("all", "monitor", "why", "say who asks for this"),
]


@pytest.mark.parametrize(("scope", "by", "reason", "message"), REFUSED)
def test_what_a_person_can_not_have_is_refused_with_a_sentence(world, scope, by, reason, message):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        with pytest.raises(BreakerRefused) as refused:
            await store.release(scope, by, reason, SETTINGS)
        assert str(refused.value) == message

    run(world, steps())


def test_unreachable_or_unreadable_is_unavailable(world):
    async def steps():
        nowhere = BreakerStore("unix:///nonexistent/redis.sock", "test")
        with pytest.raises(BreakerUnavailable):
            await nowhere.read()
        with pytest.raises(BreakerUnavailable):
            await nowhere.record([(0, 0, 1)], {ALL: CALM})
        world.server.hset("test:{breaker}:states", "all", "{}")
        with pytest.raises(BreakerUnavailable):
            await world.worker().read()

    run(world, steps())


def test_without_a_clock_of_ours_the_servers_is_used(world):
    async def steps():
        store = BreakerStore(world.url, "test")
        world.stores.append(store)
        before, _ = world.server.time()
        assert await store.initialise("a.person", SETTINGS)
        await store.evaluate(SETTINGS, "m1")
        after, _ = world.server.time()
        (mark,) = world.server.zrange("test:{breaker}:marks", 0, -1)
        assert before <= int(mark) // 1000 <= after

    run(world, steps())


def test_memory_is_bounded_over_a_day(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        for _ in range(24 * 60):
            await world.batch(store, CALM)
            world.clock.now_ms += 60_000
            await store.evaluate(SETTINGS, "m1")
        kept = world.server.zcard("test:{breaker}:marks"), world.server.zcard("test:{breaker}:hours")
        assert kept[0] <= 2 * (60 + 10) // 10 + 1
        assert kept[1] == 25

    run(world, steps())
