"""The breaker's memory on every Redis that it must hold on, with simulated time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest
import redis

from pipeline.breaker import Event, Routing, Switches, Transition
from pipeline.breaker.answer_counts import ALL, Answer, Counts, counts_of, probe_scope
from pipeline.breaker.store import BreakerStore, BreakerUnavailable
from pipeline.domain.context import BreakerSwitch, SwitchPosition
from pipeline.domain.decision import BreakerState, Outcome
from tests.breaker.given import START_MS, answers, settings

T = TypeVar("T")
MODEL = "model:m1"
SETTINGS = settings(
    window_s=60,
    error_window_s=30,
    evaluation_interval_s=10,
    open_period_s=60,
    half_open_s=60,
    half_open_shares_percent=(50,),
)


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
        self.switches = Switches()  # as their topic holds them

    def worker(self) -> BreakerStore:
        store = BreakerStore(self.url, "test", clock_ms=self.clock)
        self.stores.append(store)
        return store

    def throw(self, scope: str, position: SwitchPosition, *, accepts_shift: bool = False) -> None:
        """Throw a switch, as a person; a command gives it the next sequence."""
        sequence = max(self.switches.reached + 1, self.clock.now_ms)
        self.switches = self.switches.after(
            BreakerSwitch(scope, position, sequence, self.clock.now_ms, "a.person", "drill", accepts_shift)
        )

    def keep(self) -> None:
        """Note what a replica has."""
        for key in self.server.keys("test:{breaker}:*"):
            self.server.copy(key, b"kept:" + key, replace=True)

    def fail_over(self) -> None:
        """Go back to what the replica had."""
        for key in self.server.keys("test:{breaker}:*"):
            self.server.delete(key)
        for key in self.server.keys("kept:*"):
            self.server.copy(key, key.removeprefix(b"kept:"))
        offset = self.server.hget("test:{breaker}:reached", "0")
        self.offset = max(self.offset, int(offset or 0))

    async def batch(self, store: BreakerStore, counts: Counts, scopes: tuple[str, ...] = (ALL, MODEL)) -> None:
        """Count a batch as it would be on a probation, too: a store takes no notice of that where there is none."""
        probed = [probe_scope(scope) for scope in (ALL, MODEL)]
        assert await store.record([(0, self.offset, self.offset + 100)], dict.fromkeys([*scopes, *probed], counts))
        self.offset += 100

    async def seconds(self, store: BreakerStore, count: int, counts: Counts) -> list[Transition]:
        """Let `count` seconds pass, each with a batch of `counts` and an evaluation."""
        made: list[Transition] = []
        for _ in range(count):
            await self.batch(store, counts)
            self.clock.now_ms += 1000
            made += await store.evaluate(SETTINGS, "m1", self.switches)
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


FORCED_OPEN, RELEASED = SwitchPosition
CALM, BLOCKING = answers(100, 5, 5), answers(100, 60, 5)


def routed(view: Any, transaction_id: str = "t1") -> Any:
    return Routing(view.records, "m1", SETTINGS.declares).route_of(transaction_id, {})


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
        routing = Routing((await store.read(world.switches)).records, "m1")
        assert routing.uniform == (BreakerState.OPEN, MODEL, False)
        still_bad = await world.seconds(store, 60, BLOCKING)
        assert [made.event for made in still_bad] == [Event.STILL_BAD]
        recovered = await world.seconds(store, 400, CALM)
        assert [made.event for made in recovered] == [Event.OPEN_PERIOD_OVER, Event.PROBE_GOOD]
        assert states((await store.read(world.switches)).records) == {ALL: "CLOSED", MODEL: "CLOSED"}
        events = [made.event for made in await store.history()]
        assert events == ["PROBE_GOOD", "OPEN_PERIOD_OVER", "STILL_BAD", "TRIP", "INITIALISE"]

    run(world, steps())


def test_i4_empty_store_is_unknown_then_open_and_never_just_closed(world):
    async def steps():
        store = world.worker()
        assert Routing((await store.read(world.switches)).records, "m1").uniform == (
            BreakerState.UNKNOWN,
            ALL,
            False,
        )
        (made,) = await store.evaluate(SETTINGS, "m1", world.switches)
        assert (made.before, made.event) == (BreakerState.UNKNOWN, Event.STATE_LOST)
        assert states((await store.read(world.switches)).records) == {ALL: "OPEN"}
        assert not await store.initialise("a.person", SETTINGS)
        later = await world.seconds(store, 200, CALM)
        assert [(one.after.scope, one.event) for one in later] == [(ALL, "OPEN_PERIOD_OVER"), (ALL, "PROBE_GOOD")]

    run(world, steps())


def test_lost_store_gets_back_what_a_worker_remembers(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        world.throw("segment:age_band=18-25", FORCED_OPEN)
        await store.evaluate(SETTINGS, "m1", world.switches)
        before = (await store.read(world.switches)).records
        world.server.flushall()
        world.clock.now_ms += 10_000
        assert routed(await store.read(world.switches)) == (BreakerState.UNKNOWN, ALL, False)
        await store.evaluate(SETTINGS, "m1", world.switches)
        after = (await store.read(world.switches)).records
        assert states(after) == {ALL: "OPEN", "segment:age_band=18-25": "FORCED_OPEN"}
        assert after["segment:age_band=18-25"].cause.author == "a.person"
        assert all(after[scope].version > before[scope].version for scope in after)

    run(world, steps())


def test_failover_to_an_older_state_is_a_loss(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        await world.seconds(store, 120, CALM)
        world.keep()
        assert [made.event for made in await world.seconds(store, 60, BLOCKING)] == [Event.TRIP]
        world.fail_over()
        assert (await store.read(world.switches)).records == {}
        world.clock.now_ms += 10_000
        await store.evaluate(SETTINGS, "m1", world.switches)
        assert states((await store.read(world.switches)).records) == {ALL: "OPEN", MODEL: "OPEN"}

    run(world, steps())


def test_i4_a_trip_that_a_failover_lost_comes_back_though_another_worker_wrote_since(world):
    """The other worker never knew of the trip, and its write has the higher revision."""

    async def steps():
        knows, knows_not = world.worker(), world.worker()
        await knows.initialise("a.person", SETTINGS)
        await world.seconds(knows, 120, CALM)
        await knows_not.read(world.switches)
        world.keep()
        await world.seconds(knows, 60, BLOCKING)
        world.fail_over()
        world.clock.now_ms += 10_000
        assert await knows_not.evaluate(SETTINGS, "m1", world.switches) == ()
        assert routed(await knows_not.read(world.switches)).use_model
        assert routed(await knows.read(world.switches)) == (BreakerState.UNKNOWN, ALL, False)
        made = await knows.evaluate(SETTINGS, "m1", world.switches)
        assert [(one.after.scope, one.event) for one in made] == [(ALL, "STATE_LOST"), (MODEL, "STATE_LOST")]
        for worker in (knows, knows_not):
            assert routed(await worker.read(world.switches)) == (BreakerState.OPEN, ALL, False)
        assert await knows_not.evaluate(SETTINGS, "m1", world.switches) == ()

    run(world, steps())


def test_i4_kill_switch_outlives_a_failover_that_another_worker_wrote_after(world):
    """Finding (a): the worker that never knew writes, and its revision is above the one that was lost."""

    async def steps():
        knows, knows_not = world.worker(), world.worker()
        await knows.initialise("a.person", SETTINGS)
        await knows_not.read(world.switches)
        world.keep()
        without = world.switches
        world.throw(MODEL, FORCED_OPEN)
        await knows.evaluate(SETTINGS, "m1", world.switches)
        world.fail_over()
        world.clock.now_ms += 40_000
        await knows_not.evaluate(SETTINGS, "m1", without)  # it has not looked at the topic since
        for worker in (knows, knows_not):
            assert not routed(await worker.read(world.switches)).use_model
            await worker.evaluate(SETTINGS, "m1", world.switches)
        assert await world.seconds(knows, 300, CALM) is not None
        for worker in (knows, knows_not):
            assert routed(await worker.read(world.switches))[:2] == (BreakerState.FORCED_OPEN, MODEL)

    run(world, steps())


def test_i4_kill_switch_that_redis_lost_before_anybody_read_it_is_in_force(world):
    """Finding (b): an idle worker, and a Redis that lost the second in which the switch was taken over."""

    async def steps():
        idle = world.worker()
        await idle.initialise("a.person", SETTINGS)
        await idle.read(world.switches)
        world.keep()
        world.throw(ALL, FORCED_OPEN)
        await world.worker().evaluate(SETTINGS, "m1", world.switches)
        world.fail_over()
        assert routed(await idle.read(world.switches)) == (BreakerState.FORCED_OPEN, ALL, False)
        (made,) = await idle.evaluate(SETTINGS, "m1", world.switches)
        assert (made.event, made.after.state, made.after.cause.author) == ("FORCE_OPEN", "FORCED_OPEN", "a.person")
        assert await world.seconds(idle, 300, CALM) == []

    run(world, steps())


@pytest.mark.parametrize("scope", [ALL, MODEL, "segment:postcode_area=SW"])
def test_i4_kill_switch_outlives_an_empty_redis_and_workers_that_start_anew(world, scope):
    """Finding (c): a restore, which leaves the breaker's keys out, or FLUSHALL."""

    async def steps():
        before = world.worker()
        await before.initialise("a.person", SETTINGS)
        world.throw(scope, FORCED_OPEN)
        await before.evaluate(SETTINGS, "m1", world.switches)
        world.server.flushall()
        after = world.worker()
        await world.seconds(after, 400, CALM)
        records = (await after.read(world.switches)).records
        assert (records[scope].state, records[scope].cause.author) == (BreakerState.FORCED_OPEN, "a.person")
        routing = Routing(records, "m1")
        assert not any(routing.route_of(f"t{number}", {"postcode_area": "SW"}).use_model for number in range(100))

    run(world, steps())


def test_release_outlives_a_failover_to_the_time_before_it(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        world.throw(MODEL, FORCED_OPEN)
        await store.evaluate(SETTINGS, "m1", world.switches)
        world.keep()
        world.throw(MODEL, RELEASED)
        await store.evaluate(SETTINGS, "m1", world.switches)
        world.fail_over()
        starts = world.worker()
        assert [made.event for made in await starts.evaluate(SETTINGS, "m1", world.switches)] == [Event.RELEASE]
        assert routed(await starts.read(world.switches), "t")[:2] == (BreakerState.HALF_OPEN, MODEL)

    run(world, steps())


def test_release_that_a_worker_remembers_holds_and_is_no_more_permissive_than_a_loss(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        world.throw(MODEL, FORCED_OPEN)
        await store.evaluate(SETTINGS, "m1", world.switches)
        world.keep()
        world.throw(MODEL, RELEASED)
        await store.evaluate(SETTINGS, "m1", world.switches)
        await world.seconds(store, 5, CALM)
        world.fail_over()
        await store.evaluate(SETTINGS, "m1", world.switches)
        assert states((await store.read(world.switches)).records) == {ALL: "OPEN", MODEL: "OPEN"}
        await world.seconds(store, 400, CALM)
        assert routed(await store.read(world.switches)).use_model

    run(world, steps())


def test_i4_store_that_closed_a_scope_before_its_release_opens_it(world):
    """The store of before the switch says CLOSED, but the scope was on probation."""

    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        world.keep()
        world.throw(MODEL, FORCED_OPEN)
        await store.evaluate(SETTINGS, "m1", world.switches)
        world.throw(MODEL, RELEASED)
        await store.evaluate(SETTINGS, "m1", world.switches)
        world.fail_over()
        starts = world.worker()
        assert routed(await starts.read(world.switches))[:2] == (BreakerState.OPEN, MODEL)
        (made,) = await starts.evaluate(SETTINGS, "m1", world.switches)
        assert (made.event, made.after.state) == (Event.STATE_LOST, BreakerState.OPEN)

    run(world, steps())


def test_old_releases_change_nothing_after_a_loss(world):
    async def steps():
        world.throw(ALL, RELEASED)
        world.throw("model:m0", RELEASED)
        store = world.worker()
        assert [made.event for made in await store.evaluate(SETTINGS, "m1", world.switches)] == [Event.STATE_LOST]
        assert await store.evaluate(SETTINGS, "m1", world.switches) == ()
        assert states((await store.read(world.switches)).records) == {ALL: "OPEN"}

    run(world, steps())


def test_switch_is_taken_over_once_by_all_workers(world):
    async def steps():
        workers = [world.worker() for _ in range(3)]
        await workers[0].initialise("a.person", SETTINGS)
        world.throw(MODEL, FORCED_OPEN)
        made = []
        for _ in range(3):
            world.clock.now_ms += 1000
            for found in await asyncio.gather(*[each.evaluate(SETTINGS, "m1", world.switches) for each in workers]):
                made += found
        assert [one.event for one in made] == [Event.FORCE_OPEN]

    run(world, steps())


def test_an_answer_that_an_evaluation_overtakes_is_not_a_loss(world, monkeypatch):
    """The state changes between Redis' answer to a read and the arrival of that answer."""

    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        answered = store._states

        async def overtaken():
            monkeypatch.setattr(store, "_states", answered)
            states = await answered()
            world.clock.now_ms += 10_000
            await store.evaluate(SETTINGS, "m1", world.switches)
            return states

        monkeypatch.setattr(store, "_states", overtaken)
        assert states((await store.read(world.switches)).records) == {ALL: "CLOSED"}
        assert states((await store.read(world.switches)).records) == {ALL: "CLOSED"}

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
            both = await asyncio.gather(
                first.evaluate(SETTINGS, "m1", world.switches), second.evaluate(SETTINGS, "m1", world.switches)
            )
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
            assert await slow.evaluate(at_once, "m1", world.switches) == ()
        await world.batch(slow, answers(3_000, 2_000, 60))
        world.clock.now_ms += 10_000
        claimed = await slow._claimed(at_once, "claim")
        if is_overtaken:
            world.throw(MODEL, FORCED_OPEN)
            await quick.evaluate(at_once, "m1", world.switches)
        made = await slow._evaluated(claimed, at_once, "m1")
        assert len(made) == (0 if is_overtaken else 1)
        assert (await slow.read(world.switches)).records[MODEL].state == expected

    run(world, steps())


def test_workers_evaluate_once_an_interval_between_them(world):
    async def steps():
        workers = [world.worker() for _ in range(3)]
        await workers[0].initialise("a.person", SETTINGS)
        for _ in range(60):
            world.clock.now_ms += 1000
            await asyncio.gather(*[worker.evaluate(SETTINGS, "m1", world.switches) for worker in workers])
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


def test_only_the_segment_that_turned_is_tripped(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        made = []
        for second in range(240):
            sw = [Outcome.BLOCK if second >= 120 else Outcome.ALLOW] * 20
            batch = [Answer(outcome, 20_000, {"postcode_area": "SW"}) for outcome in sw]
            batch += [Answer(Outcome.ALLOW, 20_000, {"postcode_area": "NE"})] * 2_000
            batch += [Answer(Outcome.BLOCK, 20_000, {"postcode_area": "NE"})] * 60
            await store.record([(0, second, second + 1)], counts_of(batch, 5, len(batch), "m1", SETTINGS.declares))
            world.clock.now_ms += 1000
            made += await store.evaluate(SETTINGS, "m1", world.switches)
        assert [(one.after.scope, one.event) for one in made if one.event is Event.TRIP] == [
            ("segment:postcode_area=SW", Event.TRIP)
        ]

    run(world, steps())


def test_kill_switch_holds_until_released_to_probation(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        world.throw(ALL, FORCED_OPEN)
        (forced,) = await store.evaluate(SETTINGS, "m1", world.switches)
        assert (forced.after.state, forced.after.cause.author) == (BreakerState.FORCED_OPEN, "a.person")
        assert await world.seconds(store, 200, CALM) == []
        world.throw(ALL, RELEASED)
        (released,) = await store.evaluate(SETTINGS, "m1", world.switches)
        assert released.after.state is BreakerState.HALF_OPEN
        assert [made.event for made in await world.seconds(store, 120, CALM)] == [Event.PROBE_GOOD]

    run(world, steps())


def test_shift_that_a_person_accepts_is_the_new_normal(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        await world.seconds(store, 120, CALM)
        await world.seconds(store, 300, BLOCKING)
        world.throw(MODEL, RELEASED, accepts_shift=True)
        made = await world.seconds(store, 300, BLOCKING)
        assert [one.event for one in made] == [Event.RELEASE, Event.PROBE_GOOD]

    run(world, steps())


def test_unreachable_or_unreadable_is_unavailable(world):
    async def steps():
        nowhere = BreakerStore("unix:///nonexistent/redis.sock", "test")
        with pytest.raises(BreakerUnavailable):
            await nowhere.read(world.switches)
        with pytest.raises(BreakerUnavailable):
            await nowhere.record([(0, 0, 1)], {ALL: CALM})
        world.server.hset("test:{breaker}:states", "all", "{}")
        with pytest.raises(BreakerUnavailable):
            await world.worker().read(world.switches)

    run(world, steps())


def test_without_a_clock_of_ours_the_servers_is_used(world):
    async def steps():
        store = BreakerStore(world.url, "test")
        world.stores.append(store)
        before, _ = world.server.time()
        assert await store.initialise("a.person", SETTINGS)
        await store.evaluate(SETTINGS, "m1", world.switches)
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
            await store.evaluate(SETTINGS, "m1", world.switches)
        kept = world.server.zcard("test:{breaker}:marks"), world.server.zcard("test:{breaker}:hours")
        assert kept[0] <= 2 * (60 + 10) // 10 + 1
        assert kept[1] == 25

    run(world, steps())


def test_trip_says_which_records_it_is_about_and_survives_being_stored(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        await world.seconds(store, 120, CALM)
        (tripped,) = await world.seconds(store, 60, BLOCKING)
        affected, (trip, *_) = tripped.affected, tripped.trips
        assert affected.end[0] - affected.first[0] in range(6_000, 7_100, 100)  # a window's seconds, 100 offsets each
        assert affected.to_ms - affected.from_ms >= SETTINGS.window_s * 1000 > affected.to_ms - affected.error_from_ms
        assert (trip.condition, trip.sample) == ("BLOCK_RATE_SPIKE", tripped.window.answered)
        assert (await store.history())[0] == tripped

    run(world, steps())


def test_transition_that_a_worker_died_before_telling_is_told_by_another(world):
    async def steps():
        dies, lives = world.worker(), world.worker()
        await dies.initialise("a.person", SETTINGS)
        await dies.mark_told(await dies.untold(await dies.history()))
        world.throw(MODEL, FORCED_OPEN)
        made = await dies.evaluate(SETTINGS, "m1", world.switches)
        assert await lives.untold([]) == []  # whoever made it tells it first
        assert [told.transition for told in await dies.untold(made)] == list(made)
        world.server.set("test:{breaker}:told", "1-0")  # and the entry is old by now
        _, fields = world.server.xrange("test:{breaker}:transitions")[-1]
        world.server.delete("test:{breaker}:transitions")
        world.server.xadd("test:{breaker}:transitions", fields, id="2-0")
        (told,) = await lives.untold([])
        assert told.transition == made[0]
        await lives.mark_told([told])
        assert await lives.untold([]) == []

    run(world, steps())


def test_every_probation_draws_a_salt_of_its_own_and_keeps_it_while_its_share_grows(world):
    growing = settings(**{**_changed(), "half_open_shares_percent": (5, 50)})

    async def steps():
        store = world.worker()
        await store.initialise("a.person", growing)
        salts = []
        for _ in range(2):
            world.throw(MODEL, FORCED_OPEN)
            await store.evaluate(growing, "m1", world.switches)
            world.throw(MODEL, RELEASED)
            made = list(await store.evaluate(growing, "m1", world.switches))
            while made[-1].event is not Event.PROBE_GOOD:
                await world.batch(store, CALM)
                world.clock.now_ms += 1000
                made += await store.evaluate(growing, "m1", world.switches)
            assert [one.event for one in made] == [Event.RELEASE, Event.SHARE_RAISED, Event.PROBE_GOOD]
            assert made[0].after.salt == made[1].after.salt
            salts.append(made[0].after.salt)
        assert len({*salts, ""}) == 3

    run(world, steps())


def _changed():
    return {name: getattr(SETTINGS, name) for name in ("window_s", "error_window_s", "evaluation_interval_s",
                                                       "open_period_s", "half_open_s")}  # fmt: skip


@pytest.mark.parametrize("days", [1, 4])
def test_new_version_after_a_loss_of_redis_is_measured_by_what_was_usual_before(world, days):
    """Finding 3: one that blocks 30 % from its first payment on was its own yardstick."""

    async def steps():
        before = world.worker()
        await before.initialise("a.person", SETTINGS)
        for _ in range(days * 24):
            await world.batch(before, answers(1_000, 20, 10), (ALL, "model:m0"))
            world.clock.now_ms += 3_600_000
            await before.evaluate(SETTINGS, "m0", world.switches)
        kept = before.unkept_hours()
        world.server.flushall()
        world.clock.now_ms += 10_000
        after = world.worker()
        after.restore(kept, world.clock.now_ms)
        made = await world.seconds(after, 700, answers(100, 30, 1))
        model = [one.event for one in made if one.after.scope == MODEL]
        assert model[:1] == [Event.TRIP]

    run(world, steps())


def test_policy_decides_which_segments_are_judged(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        await world.batch(store, answers(10), ("segment:postcode_area=SW", "segment:postcode_area=ZZ", "channel:CARD"))
        found = await store.gauges(SETTINGS, "m1")
        assert list(found) == [ALL, MODEL, "channel:CARD", "segment:postcode_area=SW"]
        world.throw("segment:postcode_area=ZZ", FORCED_OPEN)
        await store.evaluate(SETTINGS, "m1", world.switches)
        assert "segment:postcode_area=ZZ" in await store.gauges(SETTINGS, "m1")  # until it is back in the loop

    run(world, steps())


def test_looking_takes_no_evaluation_from_anybody(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        await world.seconds(store, 60, CALM)
        before = {key: world.server.dump(key) for key in world.server.keys("test:*")}
        await store.gauges(SETTINGS, "m1")
        assert {key: world.server.dump(key) for key in world.server.keys("test:*")} == before

    run(world, steps())


def test_a_probation_says_what_it_waits_for_until_it_waits_for_nothing_and_ends(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", SETTINGS)
        await world.seconds(store, 60, CALM)
        assert await store.probations(SETTINGS, "m1") == {}
        world.throw(MODEL, FORCED_OPEN)
        await store.evaluate(SETTINGS, "m1", world.switches)
        assert await store.probations(SETTINGS, "m1") == {}, "what a person holds open waits for that person"
        world.throw(MODEL, RELEASED)
        await store.evaluate(SETTINGS, "m1", world.switches)
        begun = (await store.probations(SETTINGS, "m1"))[MODEL]
        assert (begun.share_percent, begun.answers, begun.good, begun.seconds_left) == (50, 0, 0, SETTINGS.half_open_s)
        assert begun.waits_for == ("more of its own answers as usual",)
        made, looks = [], []
        while not made:
            looks.append((await store.probations(SETTINGS, "m1"))[MODEL])
            made = await world.seconds(store, 1, CALM)
        assert made[0].event is Event.PROBE_GOOD
        assert looks[-1].waits_for == ()
        assert looks[-1].evidence <= -looks[-1].evidence_enough
        assert [look.answers for look in looks] == sorted(look.answers for look in looks)
        assert await store.probations(SETTINGS, "m1") == {}

    run(world, steps())
