"""Losses of the breaker's store: descent, and what is restored."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.breaker import LINEAGE_MAX, Cause, Lineage, Switches, transitions_after_loss
from pipeline.domain.context import BreakerSwitch, SwitchPosition
from pipeline.domain.decision import BreakerState
from tests.breaker.given import DEFAULTS, START_MS, record

STRICTNESS = [
    BreakerState.CLOSED,
    BreakerState.HALF_OPEN,
    BreakerState.OPEN,
    BreakerState.FORCED_OPEN,
]
SCOPES = st.sampled_from(["all", "model:m1", "segment:postcode_area=SW"])
records = st.dictionaries(SCOPES, st.sampled_from(STRICTNESS)).map(
    lambda states: {scope: record(state, scope) for scope, state in states.items()}
)
switches = st.dictionaries(SCOPES, st.tuples(st.sampled_from(SwitchPosition), st.integers(1, 9))).map(
    lambda found: Switches({scope: switch(scope, *thrown) for scope, thrown in found.items()})
)


def switch(scope: str, position: SwitchPosition, sequence: int = 1) -> BreakerSwitch:
    return BreakerSwitch(scope, position, sequence, START_MS, "a.person", "drill", accepts_shift=False)


def lineage(count: int, mark: str = "a") -> Lineage:
    found = Lineage()
    for number in range(count):
        found = found.followed_by(START_MS + number, f"{mark}{number}")
    return found


@given(records, records, switches)
def test_invariant_2_after_a_loss_every_scope_is_at_least_as_strict(stored, remembered, thrown):
    made = transitions_after_loss(stored, remembered, thrown, START_MS, DEFAULTS, 9)
    after = {**stored, **{one.after.scope: one.after for one in made}}
    assert after["all"].state in (BreakerState.OPEN, BreakerState.FORCED_OPEN)
    for scope, before in remembered.items():
        state = after[scope].state if scope in after else BreakerState.CLOSED
        assert STRICTNESS.index(state) >= STRICTNESS.index(before.state)
    for scope in thrown.latest:
        if thrown.is_forced(scope):
            assert after[scope].state is BreakerState.FORCED_OPEN


def test_after_a_loss_the_kill_switch_keeps_its_author_and_a_trip_its_condition():
    forced = record(BreakerState.FORCED_OPEN, "all", cause=Cause("drill", "a.person"))
    tripped = record(BreakerState.OPEN, cause=Cause("blocks 40 %", "monitor", ("BLOCK_RATE_SPIKE",)))
    remembered = {"all": forced, "model:m1": tripped}
    made = transitions_after_loss({}, remembered, Switches(), START_MS, DEFAULTS, 9)
    assert [(one.after.scope, one.event) for one in made] == [("all", "FORCE_OPEN"), ("model:m1", "STATE_LOST")]
    assert made[0].after.cause == forced.cause
    assert made[1].after.cause.tripped_by == ("BLOCK_RATE_SPIKE",)
    assert "blocks 40 %" in made[1].after.cause.text


def test_invariant_1_a_higher_revision_is_no_descent():
    before = lineage(3)
    lost, other = before.followed_by(START_MS + 10, "lost"), before.followed_by(START_MS + 99, "other")
    assert other.descends_from(before)
    assert lost.descends_from(before)
    assert not other.descends_from(lost)
    assert not before.descends_from(lost)
    same_time = before.followed_by(START_MS + 10, "other")
    assert not same_time.descends_from(lost)


def test_invariant_3_a_repair_descends_from_both():
    before = lineage(3)
    lost, other = before.followed_by(START_MS + 10, "lost"), before.followed_by(START_MS + 99, "other")
    joined = other.joined_with(lost)
    repaired = joined.followed_by(START_MS + 100, "repair")
    assert repaired.revision == START_MS + 100
    assert repaired.descends_from(lost)
    assert repaired.descends_from(other)


@given(st.integers(1, 3 * LINEAGE_MAX))
def test_a_worker_that_stood_still_takes_what_there_is(count):
    old, now = lineage(1), lineage(count)
    assert len(now.writes) == min(count, LINEAGE_MAX)
    assert now.descends_from(old)
