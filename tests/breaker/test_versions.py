"""Several versions of a model, one after another and beside one another, and a watch that is blind."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pipeline.breaker import Event, Transition, Watch, codec
from pipeline.breaker.alerts import unwatched_alert
from pipeline.breaker.answer_counts import ALL, Counts, model_scope
from pipeline.breaker.store import BreakerStore
from pipeline.domain.alert import Severity
from pipeline.domain.context import SwitchPosition
from tests.breaker.given import answers, baseline, settings
from tests.breaker.test_store import World, run

MINUTE_MS, HOUR_MS = 60_000, 3_600_000
RULES = settings(
    window_s=60,
    error_window_s=30,
    evaluation_interval_s=10,
    open_period_s=60,
    half_open_s=60,
    half_open_shares_percent=(50,),
)
CALM, BAD = answers(1000, 20, 5), answers(1000, 900, 5)


@pytest.fixture
def world(redis_at: str) -> Iterator[World]:
    world = World(redis_at)
    yield world
    world.server.close()


async def lasting(
    world: World, store: BreakerStore, steps: int, step_ms: int, version: str, counts: Counts = CALM
) -> list[Transition]:
    """Let so many steps pass, each with a batch by a version and an evaluation by its worker."""
    made: list[Transition] = []
    for _ in range(steps):
        await world.batch(store, counts, (ALL, model_scope(version)))
        world.clock.now_ms += step_ms
        made += await store.evaluate(RULES, version, world.switches)
    return made


async def an_hour(world: World, store: BreakerStore, version: str, counts: Counts = CALM) -> None:
    """Let an hour pass, at whose end a window has two readings."""
    await lasting(world, store, 1, HOUR_MS - 20_000, version, counts)
    await lasting(world, store, 2, 10_000, version, counts)


async def days(world: World, store: BreakerStore, count: int, version: str) -> list[Transition]:
    return await lasting(world, store, count * 144, 10 * MINUTE_MS, version)


@pytest.mark.parametrize("leaves_by", ["a trip", "a trip and a release", "a person's switch"])
def test_a_version_that_was_gone_back_from_blinds_nobody(world, leaves_by):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", RULES)
        await days(world, store, 5, "m1")
        if leaves_by == "a person's switch":
            world.throw("model:m2", SwitchPosition.FORCED_OPEN)
            await lasting(world, store, 2, 1000, "m2")
        else:
            made = await lasting(world, store, 60, 1000, "m2", BAD)
            assert [(each.after.scope, each.event) for each in made] == [("model:m2", Event.TRIP)]
        if leaves_by == "a trip and a release":
            world.throw("model:m2", SwitchPosition.RELEASED)
        assert [each.event for each in await days(world, store, 7, "m1")] in ([], [Event.RELEASE])
        assert await lasting(world, store, 120, 1000, "m1") == []
        made = await lasting(world, store, 30, 1000, "m1", BAD)
        assert [(each.after.scope, each.event) for each in made] == [("model:m1", Event.TRIP)]
        assert "model:m1" not in {each.scope for each in store.blind}

    run(world, steps())


def test_a_version_in_force_that_is_out_of_the_loop_still_excludes_its_hours(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", RULES)
        world.throw("model:m1", SwitchPosition.FORCED_OPEN)
        await lasting(world, store, 6 * 5, 10 * MINUTE_MS, "m1")
        assert len(world.server.zrange("test:{breaker}:excluded", 0, -1)) == 6

    run(world, steps())


def test_versions_beside_one_another_are_judged_by_whichever_worker_evaluates(world):
    async def steps():
        one, two = world.worker(), world.worker()
        await one.initialise("a.person", RULES)
        await days(world, one, 5, "m1")
        made: list[Transition] = []
        for second in range(120):
            await world.batch(one, answers(500, 10, 2), (ALL, "model:m1"))
            await world.batch(two, answers(500, 450, 2), (ALL, "model:m2"))
            world.clock.now_ms += 1000
            store, version = ((one, "m1"), (two, "m2"))[second // 10 % 2]
            made += await store.evaluate(RULES, version, world.switches)
        assert ("model:m2", Event.TRIP) == (made[0].after.scope, made[0].event)
        assert {each.after.scope for each in made} == {"model:m2"}

    run(world, steps())


def test_evidence_outlives_an_evaluator_whose_policy_does_not_declare_the_segment(world):
    async def steps():
        one, two = world.worker(), world.worker()
        await one.initialise("a.person", RULES)
        declared = settings(**{**_changed(RULES), "segments": {"postcode_area": ("NE",)}, "confirmations": 3})
        scope = "segment:postcode_area=NE"
        for _ in range(600):
            await world.batch(one, CALM, (ALL, "model:m1", scope))
            world.clock.now_ms += 10_000
            await one.evaluate(declared, "m1", world.switches)
        made: list[Transition] = []
        for turn in range(12):
            await world.batch(one, CALM, (ALL, "model:m1"))
            await world.batch(one, BAD, (scope,))
            world.clock.now_ms += 10_000
            made += await (one, two)[turn % 2].evaluate((declared, RULES)[turn % 2], "m1", world.switches)
        assert [(each.after.scope, each.event) for each in made][:1] == [(scope, Event.TRIP)]

    run(world, steps())


def _changed(rules):
    return {name: getattr(rules, name) for name in ("window_s", "error_window_s", "evaluation_interval_s")}


def test_a_scope_that_cannot_be_judged_for_hours_is_told_once_with_one_id(world):
    """All traffic is out of the loop for good, so nothing is ever usual again."""

    async def steps():
        store = world.worker()
        await store.initialise("a.person", RULES)
        world.throw(ALL, SwitchPosition.FORCED_OPEN)
        began_ms, found = world.clock.now_ms, {}
        while not found and world.clock.now_ms < began_ms + 9 * HOUR_MS:
            await an_hour(world, store, "m1")
            found = {each.scope: unwatched_alert(each) for each in store.blind}
        assert ["model:m1"] == list(found)
        assert 6 * HOUR_MS <= world.clock.now_ms - began_ms <= 7 * HOUR_MS
        told = found["model:m1"]
        assert ("MODEL_UNWATCHED", Severity.CRITICAL, "model:m1") == (told.code, told.severity, told.scope)
        await an_hour(world, store, "m1")
        assert [told] == [unwatched_alert(each) for each in store.blind]

    run(world, steps())


def test_a_version_with_too_few_payments_to_judge_is_told_after_a_day(world):
    async def steps():
        store = world.worker()
        await store.initialise("a.person", RULES)
        few = answers(5)
        for _ in range(23):
            await an_hour(world, store, "m1", few)
            assert store.blind == []
        for _ in range(2):
            await an_hour(world, store, "m1", few)
        assert {"model:m1", ALL} == {each.scope for each in store.blind}

    run(world, steps())


SEGMENT = "segment:postcode_area=NE"
PARTS = ("channel:CARD", SEGMENT)
YOUNG = settings(**{**{name: getattr(RULES, name) for name in ("window_s", "error_window_s", "evaluation_interval_s")},
                    "open_period_s": 60, "segments": {"postcode_area": ("NE",)}})  # fmt: skip


async def young(world: World, store: BreakerStore, steps: int, version: str, whole: Counts, parts: Counts) -> list:
    """Let steps of 10 s pass in a deployment's first hour, and return which scopes changed how."""
    made: list[Transition] = []
    for _ in range(steps):
        await world.batch(store, whole, (ALL, model_scope(version)))
        assert await store.record([(0, world.offset, world.offset + 100)], dict.fromkeys(PARTS, parts))
        world.offset += 100
        world.clock.now_ms += 10_000
        made += await store.evaluate(YOUNG, version, world.switches)
    return [(each.after.scope, each.event) for each in made]


async def missing(store: BreakerStore, scope: str, version: str) -> list[str]:
    return [gauge.missing for gauge in (await store.gauges(YOUNG, version))[scope]][1:3]


async def gone_back_in_the_first_hour(world: World) -> BreakerStore:
    """A version goes wrong 20 minutes after a deployment's first payment, and people go back to the one before it."""
    store = world.worker()
    await store.initialise("a.person", YOUNG)
    assert await young(world, store, 120, "m1", CALM, CALM) == []
    assert ("model:m2", Event.TRIP) in await young(world, store, 12, "m2", BAD, CALM)
    return store


@pytest.mark.parametrize("scope", [*PARTS, "model:m1"])
def test_a_trip_in_the_first_hour_blinds_neither_parts_nor_the_version_gone_back_to(world, scope):
    async def steps():
        store = await gone_back_in_the_first_hour(world)
        assert await young(world, store, 12, "m1", CALM, CALM) == []
        assert await missing(store, scope, "m1") == ["", ""]
        is_part = scope in PARTS
        made = await young(world, store, 12, "m1", CALM if is_part else BAD, BAD if is_part else CALM)
        assert (scope, Event.TRIP) in made
        assert {each for each, _ in made} == (set(PARTS) if is_part else {scope})

    run(world, steps())


def test_parts_are_judged_while_the_version_is_out_of_the_loop(world):
    async def steps():
        store = await gone_back_in_the_first_hour(world)
        assert await missing(store, SEGMENT, "m2") == ["", ""]
        assert {SEGMENT, "channel:CARD"} <= {each for each, _ in await young(world, store, 12, "m2", BAD, BAD)}

    run(world, steps())


def test_what_was_usual_in_the_parts_is_forgotten_with_a_shift_that_a_person_accepts(world):
    async def steps():
        store = await gone_back_in_the_first_hour(world)
        world.throw("model:m2", SwitchPosition.RELEASED, accepts_shift=True)
        await young(world, store, 2, "m2", BAD, BAD)
        unknown = "too little is known of what is usual"
        assert await missing(store, SEGMENT, "m2") == [unknown, unknown]

    run(world, steps())


def test_what_is_usual_survives_being_stored_and_is_passed_over_by_earlier_releases():
    known = baseline(36, 35, 0, is_seasonal=False, score_sigma_ppm=None)
    doubtful = Watch((0, 0, 0, 0, 0, 1), doubt_shift=2.5, doubt_evidence=-1.0)
    watches = {
        SEGMENT: Watch(usual=known),
        "model:m1": Watch(good=2),
        ALL: Watch(good=1, usual=known),
        "model:m2": doubtful,
    }
    stored = codec.watches_to_json(watches)
    assert codec.watches_from(stored) == watches
    as_before = {name: row for name, row in json.loads(stored).items() if len(row[0]) == 5}
    assert {name: len(row) for name, row in as_before.items()} == dict.fromkeys(watches, 10)
    assert codec.watches_from(codec.without_usual(stored, lambda scope: scope == SEGMENT)) == {
        "model:m1": Watch(good=2),
        "model:m2": doubtful,
        ALL: watches[ALL],
    }
