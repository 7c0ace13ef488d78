"""Drills on the live breaker: they open, end by themselves, and hide nothing that really goes wrong (ADR 0040)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.breaker import Event, Routing, Switches, governed, step, taken_over
from pipeline.breaker.alerts import breaker_alert
from pipeline.breaker.answer_counts import ALL
from pipeline.breaker.states import Cause
from pipeline.breaker.switches import SEQUENCE_AHEAD_MAX_MS, UNPROVED, Fault, key_of, switch_of
from pipeline.domain.context import BreakerSwitch, SwitchPosition
from pipeline.domain.decision import BreakerState, drill_in, unmarked_scope
from pipeline.domain.log import Record, Source
from pipeline.drills.consents import OPEN_S_MAX
from tests.breaker.given import DEFAULTS, START_MS, record
from tests.breaker.test_losses import SCOPES, STRICTNESS, records, switch, switches
from tests.breaker.test_store import BLOCKING, CALM, FORCED_OPEN, MODEL, RELEASED, SETTINGS, run, states, world

__all__ = ["world"]
ENDS_MS = START_MS + 120_000


def drill(scope: str = ALL, sequence: int = 5, drill_id: str = "0a1b2c3d", **changed: object) -> BreakerSwitch:
    thrown = BreakerSwitch(scope, SwitchPosition.FORCED_OPEN, sequence, START_MS, "ann", "a quarterly drill", False)
    return thrown._replace(**{"drill": drill_id, "ends_at_ms": ENDS_MS, **changed})


def taken(stored, thrown, reached=0, now_ms=START_MS):
    return [each.transition for each in taken_over(stored, reached, thrown, now_ms, DEFAULTS, 9)]


drills = st.dictionaries(
    SCOPES, st.tuples(st.integers(1, 9), st.sampled_from(["0a1b2c3d", UNPROVED]), st.integers(-1, 1))
).map(
    lambda found: {
        scope: drill(scope, sequence, drill_id, ends_at_ms=START_MS + sign * 60_000)
        for scope, (sequence, drill_id, sign) in found.items()
    }
)


@given(records, switches, drills, st.integers(0, 9))
def test_invariant_6_a_drill_only_makes_stricter_and_takes_no_kill_switch_away(stored, thrown, drilled, reached):
    both = thrown._replace(drills=drilled)
    found, without = (governed(stored, reached, each, START_MS) for each in (both, thrown))
    for scope, before in without.items():
        assert STRICTNESS.index(found[scope].state) >= STRICTNESS.index(before.state)
    after, after_without = dict(stored), dict(stored)
    for one in taken(stored, both, reached):
        after[one.after.scope] = one.after
    for one in taken(stored, thrown, reached):
        after_without[one.after.scope] = one.after
    for scope, before in after_without.items():
        is_released = scope in thrown.latest and thrown.latest[scope].position is RELEASED
        assert is_released or STRICTNESS.index(after[scope].state) >= STRICTNESS.index(before.state)
    for scope in thrown.latest:
        if thrown.is_forced(scope) and thrown.latest[scope].sequence > reached:
            assert after[scope].state is BreakerState.FORCED_OPEN


def test_a_drill_opens_what_is_closed_until_its_end_and_is_marked():
    (one,) = taken({ALL: record(scope=ALL)}, Switches().after(drill()))
    assert (one.event, one.after.state, one.after.open_until_ms) == (Event.DRILL, BreakerState.OPEN, ENDS_MS)
    assert (one.after.drill, one.after.cause.author, one.after.is_drill) == ("0a1b2c3d", "ann", True)
    raised = breaker_alert(one)
    assert (raised.code, raised.evidence["drill"]) == ("BREAKER_DRILL", "0a1b2c3d")


def test_what_is_out_of_the_loop_already_is_no_drill():
    for state in (BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.FORCED_OPEN):
        stored = {ALL: record(state, ALL)}
        assert taken(stored, Switches().after(drill())) == []
        assert governed(stored, 0, Switches().after(drill()), START_MS) == stored


def test_a_clock_that_is_behind_keeps_no_scope_open_for_longer():
    (one,) = taken({ALL: record(scope=ALL)}, Switches().after(drill()), now_ms=START_MS - 7 * 86_400_000)
    assert one.after.open_until_ms == START_MS - 7 * 86_400_000 + OPEN_S_MAX * 1000


def test_a_drill_whose_end_has_passed_unseen_is_a_loss():
    (one,) = taken({ALL: record(scope=ALL)}, Switches().after(drill()), now_ms=ENDS_MS)
    assert (one.event, one.after.state, one.after.drill) == (Event.STATE_LOST, BreakerState.OPEN, "")


def test_a_kill_switch_and_a_drill_of_one_moment_end_as_the_kill_switch():
    for sequence in (4, 6):
        thrown = Switches({ALL: switch(ALL, FORCED_OPEN, sequence)}, drills={ALL: drill()})
        assert taken({ALL: record(scope=ALL)}, thrown)[-1].after.state is BreakerState.FORCED_OPEN
        assert governed({ALL: record(scope=ALL)}, 0, thrown, START_MS)[ALL].state is BreakerState.FORCED_OPEN


def test_a_drill_begins_once_whatever_sequence_it_is_replayed_under():
    begun = Switches().after(drill())
    assert begun.after(drill(sequence=9)) == begun
    assert begun.after(drill(sequence=9, drill_id="ffffffff")).reached == 9


def test_a_drill_stands_under_a_key_of_its_own_so_compaction_keeps_the_kill_switch():
    assert key_of(drill()) == b"drill:all"
    assert key_of(switch(ALL, FORCED_OPEN)) == b"all"
    both = Switches().after(switch(ALL, FORCED_OPEN, 3)).after(drill())
    assert both.is_forced(ALL)


def read(found: BreakerSwitch, key: bytes = b"drill:all", fault: Fault | None = None) -> BreakerSwitch:
    return switch_of(Record(key, b"", Source(0, 7, START_MS)), found, 0, lambda *_: fault)


def test_a_drill_that_nobody_is_proved_to_have_consented_to_is_a_trip():
    found = read(drill(accepts_shift=False), fault=Fault("one person has consented twice"))
    (one,) = taken({ALL: record(scope=ALL)}, Switches().after(found))
    assert (one.event, one.after.drill, breaker_alert(one).code) == (Event.TRIP, "", "BREAKER_TRIP")
    assert "one person has consented twice" in one.after.cause.text
    assert one.after.open_until_ms == START_MS + DEFAULTS.open_period_s * 1000
    for now_ms in (START_MS, ENDS_MS):
        (governs,) = governed({ALL: record(scope=ALL)}, 0, Switches().after(found), now_ms).values()
        assert (governs.state, governs.is_drill) == (BreakerState.OPEN, False), "its end is nobody's"


def test_a_drill_has_its_end_while_a_release_before_it_is_awaited():
    stored = {ALL: record(scope=ALL)}
    awaited = Switches(awaited={"model:m1": switch("model:m1", FORCED_OPEN, 4)}).after(drill())
    assert taken(stored, awaited, now_ms=ENDS_MS) == [], "the mark of what is taken over stays before the release"
    assert governed(stored, 0, awaited, ENDS_MS - 1)[ALL].drill == "0a1b2c3d"
    assert governed(stored, 0, awaited, ENDS_MS)[ALL].state is BreakerState.CLOSED
    settled = Switches().after(drill())
    assert governed(stored, 0, settled, ENDS_MS)[ALL].state is BreakerState.OPEN, "the store has lost that it was open"


def test_a_drill_that_another_switch_has_overtaken_is_none_until_it_is_thrown_again():
    before = Switches().after(switch("model:m1", RELEASED, 9))
    for sequence in (5, 9):
        assert before.after(drill(sequence=sequence)) == before
    assert before.after(drill(sequence=5)).after(drill(sequence=10)).drills == {ALL: drill(sequence=10)}


def test_a_drill_of_a_time_to_come_forces_its_scope_open_and_one_that_is_not_proved_has_the_time_of_its_record():
    limit = START_MS + SEQUENCE_AHEAD_MAX_MS
    assert read(drill(sequence=limit)) == drill(sequence=limit)
    ahead = read(drill(sequence=limit + 1))
    assert (ahead.position, ahead.drill, ahead.sequence) == (FORCED_OPEN, "", START_MS)
    unproved = read(drill(sequence=limit), fault=Fault("nobody"))
    assert (unproved.drill, unproved.sequence) == (UNPROVED, START_MS)


def test_what_is_no_drill_under_the_key_of_one_forces_its_scope_open():
    for wrong in (drill(drill_id=""), drill(position=RELEASED), drill(scope="model:m1"), drill(accepts_shift=True)):
        found = read(wrong)
        assert (found.scope, found.position, found.drill) == (ALL, FORCED_OPEN, "")
    assert read(drill(), key=b"drill:nonsense").scope == ALL


def test_under_a_scopes_own_key_nothing_ends_by_itself_and_what_needs_no_proof_forgets_nothing():
    found = read(drill(accepts_shift=True), key=b"all", fault=Fault("nobody"))
    assert (found.drill, found.ends_at_ms, found.accepts_shift) == ("", 0, False)
    assert Switches().after(found).is_forced(ALL)
    lifted = read(drill(position=RELEASED), key=b"all", fault=Fault("nobody has signed it"))
    assert lifted.position is FORCED_OPEN


def test_decisions_name_the_drill_and_what_really_tripped_goes_before_it():
    drilled = record(BreakerState.OPEN, ALL, drill="0a1b2c3d")
    named = Routing({ALL: drilled}, "m1").uniform
    assert named == (BreakerState.OPEN, "drill:0a1b2c3d:all", False)
    assert (unmarked_scope(named.scope), drill_in(named.scope)) == (ALL, "0a1b2c3d")
    assert (unmarked_scope("model:m1"), drill_in("model:m1")) == ("model:m1", None)
    tripped = record(BreakerState.OPEN, MODEL)
    assert Routing({ALL: drilled, MODEL: tripped}, "m1").uniform == (BreakerState.OPEN, MODEL, False)
    segment = record(BreakerState.OPEN, "segment:postcode_area=SW")
    route = Routing({ALL: drilled, segment.scope: segment}, "m1").route_of("t", {"postcode_area": "SW"})
    assert route.scope == segment.scope


def test_only_the_course_of_a_drill_keeps_its_mark():
    drilled = record(BreakerState.OPEN, ALL, drill="0a1b2c3d")
    kept = {Event.OPEN_PERIOD_OVER}
    for event in (Event.OPEN_PERIOD_OVER, Event.STILL_BAD, Event.STATE_LOST, Event.RELEASE, Event.FORCE_OPEN):
        after = step(drilled, event, Cause("because", "monitor"), START_MS, DEFAULTS, 9)
        assert (after.drill == "0a1b2c3d") == (event in kept), event
    probed = record(BreakerState.HALF_OPEN, ALL, drill="0a1b2c3d", share_percent=1)
    for event in (Event.SHARE_RAISED, Event.PROBE_GOOD, Event.PROBE_BAD):
        after = step(probed, event, Cause("because", "monitor"), START_MS, DEFAULTS, 9)
        assert (after.drill == "0a1b2c3d") == (event is not Event.PROBE_BAD), event


def throw_drill(world, scope: str = MODEL, open_s: int = 90) -> None:
    sequence = max(world.switches.reached + 1, world.clock.now_ms)
    ends_at_ms = world.clock.now_ms + open_s * 1000
    world.switches = world.switches.after(drill(scope, sequence, ends_at_ms=ends_at_ms))


def test_a_drill_ends_by_itself_and_nothing_of_it_is_an_incident(world):
    """Nobody is there any more once it is thrown: the workers' own evaluations do the rest."""

    async def steps():
        store = world.worker()
        await store.initialise("ann", SETTINGS)
        await world.seconds(store, 120, CALM)
        throw_drill(world)
        assert Routing((await store.read(world.switches)).records, "m1").uniform.scope == "drill:0a1b2c3d:model:m1"
        made = await world.seconds(store, 400, CALM)
        assert [one.event for one in made] == [Event.DRILL, Event.OPEN_PERIOD_OVER, Event.PROBE_GOOD]
        assert [breaker_alert(one).evidence["drill"] for one in made] == ["0a1b2c3d"] * 3
        took_s = (made[1].at_ms - made[0].at_ms) / 1000
        assert 89 <= took_s <= 101
        assert states((await store.read(world.switches)).records) == {ALL: "CLOSED", MODEL: "CLOSED"}
        assert not world.server.exists("test:{breaker}:excluded")
        assert await world.seconds(store, 120, CALM) == [], "it isn't begun again"

    run(world, steps())


def test_a_model_that_goes_wrong_in_a_drill_stays_out_when_the_drill_ends(world):
    async def steps():
        store = world.worker()
        await store.initialise("ann", SETTINGS)
        await world.seconds(store, 120, CALM)
        throw_drill(world)
        await world.seconds(store, 30, CALM)
        made = await world.seconds(store, 90, BLOCKING)
        assert [one.event for one in made] == [Event.STILL_BAD]
        raised = breaker_alert(made[0])
        assert (raised.code, "drill" in raised.evidence) == ("BREAKER_STILL_BAD", False)
        assert made[0].after.frozen is not None, "what was usual before it is kept, as by a trip"
        assert routing_scope((await store.read(world.switches)).records) == MODEL
        assert world.server.exists("test:{breaker}:excluded")
        assert [one.event for one in await world.seconds(store, 150, BLOCKING)] == [Event.STILL_BAD]

    run(world, steps())


def routing_scope(records) -> str:
    return Routing(records, "m1").uniform.scope


def test_a_kill_switch_in_a_drill_stays_when_the_drill_ends(world):
    async def steps():
        store = world.worker()
        await store.initialise("ann", SETTINGS)
        await world.seconds(store, 120, CALM)
        throw_drill(world)
        await world.seconds(store, 30, CALM)
        world.throw(MODEL, FORCED_OPEN)
        made = await world.seconds(store, 300, CALM)
        assert [one.event for one in made] == [Event.FORCE_OPEN]
        assert states((await store.read(world.switches)).records)[MODEL] == "FORCED_OPEN"

    run(world, steps())


def test_redis_that_is_lost_in_a_drill_is_a_loss_and_no_drill_any_more(world):
    async def steps():
        store = world.worker()
        await store.initialise("ann", SETTINGS)
        await world.seconds(store, 120, CALM)
        throw_drill(world)
        await world.seconds(store, 30, CALM)
        world.server.flushall()
        world.offset = 0
        made = await store.evaluate(SETTINGS, "m1", world.switches)
        assert {(one.after.scope, one.event) for one in made} == {(ALL, "STATE_LOST"), (MODEL, "STATE_LOST")}
        assert not any(one.after.drill for one in made)
        later = await world.seconds(store, 400, CALM)
        assert not any(one.event is Event.DRILL for one in later)
        assert states((await store.read(world.switches)).records) == {ALL: "CLOSED", MODEL: "CLOSED"}

    run(world, steps())


def test_workers_that_start_anew_on_an_empty_redis_do_not_begin_the_drill_again(world):
    async def steps():
        store = world.worker()
        await store.initialise("ann", SETTINGS)
        throw_drill(world)
        await store.evaluate(SETTINGS, "m1", world.switches)
        world.server.flushall()
        world.offset = 0
        made = await world.seconds(world.worker(), 400, CALM)
        assert (made[0].event, made[0].after.scope) == (Event.STATE_LOST, ALL)
        assert not any(one.event is Event.DRILL for one in made)

    run(world, steps())


def test_another_scope_trips_in_a_drill_as_ever(world):
    async def steps():
        store = world.worker()
        await store.initialise("ann", SETTINGS)
        await world.seconds(store, 120, CALM)
        throw_drill(world, ALL, open_s=60)
        made = await world.seconds(store, 60, BLOCKING)
        assert (Event.TRIP, MODEL) in [(one.event, one.after.scope) for one in made]
        assert routing_scope((await store.read(world.switches)).records) == MODEL
        await world.seconds(store, 60, BLOCKING)
        assert states((await store.read(world.switches)).records)[MODEL] == "OPEN"

    run(world, steps())
