"""People's switches over what the store holds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.breaker import Event, Refused, Switches, governed, taken_over
from pipeline.breaker.states import VERSION_MAX, next_version
from pipeline.breaker.switches import SCOPES_MAX, SEQUENCE_AHEAD_MAX_MS, Awaited, Fault, require_sound, switch_of
from pipeline.domain.context import BreakerSwitch, SwitchPosition
from pipeline.domain.decision import BreakerState
from pipeline.domain.log import Record, Source
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.avro.wire import WireFormat
from tests.breaker.given import DEFAULTS, START_MS, record
from tests.breaker.test_losses import STRICTNESS, records, switch, switches

FORCED_OPEN, RELEASED = SwitchPosition
WIRE = WireFormat()


@given(records, switches, st.integers(0, 9))
def test_invariants_1_and_2_switches_only_make_stricter_until_they_are_taken_over(stored, thrown, reached):
    found = governed(stored, reached, thrown, START_MS)
    for scope in thrown.latest:
        if thrown.is_forced(scope):
            assert found[scope].state is BreakerState.FORCED_OPEN
    for scope, before in stored.items():
        assert STRICTNESS.index(found[scope].state) >= STRICTNESS.index(before.state)


@given(records, switches, st.integers(0, 9))
def test_invariant_3_what_is_taken_over_is_new_and_ends_where_it_was_put(stored, thrown, reached):
    made = [each.transition for each in taken_over(stored, reached, thrown, START_MS, DEFAULTS, 9)]
    for one in made:
        latest = thrown.latest[one.after.scope]
        assert latest.sequence > reached
        if latest.position is FORCED_OPEN:
            assert one.after.state is BreakerState.FORCED_OPEN
        else:
            assert one.after.state in (BreakerState.HALF_OPEN, BreakerState.OPEN)
    assert taken_over(stored, thrown.reached, thrown, START_MS, DEFAULTS, 9) == []


def test_invariant_2_release_of_a_scope_that_the_store_calls_closed_opens_it():
    thrown = Switches({"model:m1": switch("model:m1", RELEASED, 5)})
    stored = {"all": record(scope="all")}
    assert governed(stored, 4, thrown, START_MS)["model:m1"].state is BreakerState.OPEN
    assert "model:m1" not in governed(stored, 5, thrown, START_MS)
    (found,) = taken_over(stored, 4, thrown, START_MS, DEFAULTS, 9)
    assert (found.transition.event, found.transition.after.state) == (Event.STATE_LOST, BreakerState.OPEN)


def test_the_highest_sequence_wins_in_whatever_order_it_is_read():
    first, second = switch("all", FORCED_OPEN, 1), switch("all", RELEASED, 2)
    assert Switches().after(first).after(second) == Switches().after(second).after(first) == Switches({"all": second})


SOUND = switch("model:m1", RELEASED, 5)


def proved(_switch, _logged_at_ms):
    return None


def test_invariant_5_release_that_nobody_is_proved_to_have_thrown_forces_its_scope_open():
    at = Record(b"model:m1", b"", Source(0, 7, START_MS))
    found = switch_of(at, SOUND, 5, lambda *_: Fault("its signature is false"))
    assert (found.scope, found.position, found.sequence > 5) == ("model:m1", FORCED_OPEN, True)
    assert found.reason == "the switch at offset 7 of its topic is not proved: its signature is false"
    forced = SOUND._replace(position=FORCED_OPEN)
    assert switch_of(at, forced, 5, lambda *_: Fault("nobody")) == forced, "what is strict needs no proof"


def test_invariant_4_release_that_can_not_be_proved_yet_forces_its_scope_open_and_is_not_taken_over():
    at = Record(b"model:m1", b"", Source(0, 7, START_MS))
    found = switch_of(at, SOUND, 9, lambda *_: Fault("the file is old", is_awaited=True))
    assert isinstance(found, Awaited)
    assert (found.thrown, found.stand_in.position, found.stand_in.sequence) == (SOUND, FORCED_OPEN, SOUND.sequence)
    assert found.stand_in.reason == "the switch at offset 7 of its topic is not proved yet: the file is old"
    before, other = switch("all", RELEASED, 4), switch("segment:a=b", FORCED_OPEN, 9)
    waiting = Switches({"all": before, other.scope: other}, {"model:m1": found.stand_in})
    stored = {"all": record(scope="all"), "model:m1": record(scope="model:m1")}
    assert governed(stored, 4, waiting, START_MS)["model:m1"].state is BreakerState.FORCED_OPEN
    assert governed(stored, 4, waiting, START_MS)[other.scope].state is BreakerState.FORCED_OPEN, "no kill switch waits"
    assert (waiting.reached, waiting.settled) == (9, SOUND.sequence - 1)
    assert taken_over(stored, 4, waiting, START_MS, DEFAULTS, 9) == []
    proved_since = waiting._replace(awaited={}).after(SOUND)
    assert proved_since.settled == 9
    assert {each.transition.after.scope for each in taken_over(stored, 4, proved_since, START_MS, DEFAULTS, 9)} == {
        "model:m1",
        other.scope,
    }


UNREADABLE = [
    (b"model:m1", None, "model:m1"),
    (b"model:m1", b"junk", "model:m1"),
    (b"model:m2", WIRE.encode(SOUND), "model:m2"),
    (b"nonsense", WIRE.encode(SOUND), "all"),
    (None, WIRE.encode(SOUND), "all"),
    (b"\xff", b"", "all"),
]


@pytest.mark.parametrize(("key", "value", "scope"), UNREADABLE)
def test_invariant_4_a_record_that_can_not_be_read_forces_its_scope_open(key, value, scope):
    found = switch_of(Record(key, value, Source(0, 7, START_MS)), WIRE.decode_breaker_switch(value), 5, proved)
    assert (found.scope, found.position, found.sequence) == (scope, FORCED_OPEN, START_MS)
    assert "offset 7" in found.reason


@pytest.mark.parametrize("position", SwitchPosition)
def test_invariant_4_no_record_has_a_sequence_of_a_time_to_come(position):
    at, limit = Record(b"model:m1", b"", Source(0, 7, START_MS)), START_MS + SEQUENCE_AHEAD_MAX_MS
    sound = SOUND._replace(position=position, sequence=limit)
    assert switch_of(at, sound, 5, proved) == sound
    for sequence in (limit + 1, 2**63 - 1):
        found = switch_of(at, sound._replace(sequence=sequence), 5, proved)
        assert (found.scope, found.position, found.sequence) == ("model:m1", FORCED_OPEN, START_MS)
        assert "of a time to come" in found.reason


def test_the_version_after_the_last_is_one_that_a_record_can_hold():
    assert next_version(VERSION_MAX, START_MS) == next_version(5, VERSION_MAX + 1) == VERSION_MAX == 2**63 - 1


def test_a_record_that_can_be_read_is_the_switch_that_was_thrown():
    found = switch_of(Record(b"model:m1", b"", Source(0, 7, START_MS)), SOUND, 5, proved)
    assert found == SOUND
    refused = switch_of(Record(b"all", b"", Source(0, 7, 3)), Refusal(RefusalCode.RECORD_EMPTY, "empty"), 5, proved)
    assert refused.sequence == 6


REFUSED = [
    ("al", "a.person", "why", "'al' is no scope: give all, model:VERSION, segment:NAME=VALUE or channel:NAME"),
    ("segment:a=" + "é" * 60, "a.person", "why", "is no scope"),
    ("channel:MOBILE", "a.person", "why", "no payment has 'channel:MOBILE': there are channel:OTHER, channel:CARD"),
    ("all", "a.person", " ", "a reason is needed, of at most 500 characters"),
    ("all", "a.person", "x" * 501, "a reason is needed, of at most 500 characters"),
    ("all", "monitor", "why", "say who asks for this"),
    ("all", " ", "why", "say who asks for this"),
]


@pytest.mark.parametrize(("scope", "by", "reason", "message"), REFUSED)
def test_what_a_person_can_not_have_is_refused_with_a_sentence(scope, by, reason, message):
    with pytest.raises(Refused, match=r"(?s).") as refused:
        require_sound(BreakerSwitch(scope, FORCED_OPEN, 0, START_MS, by, reason, False))
    assert message in str(refused.value)


def test_invariant_6_switch_of_one_more_scope_than_is_told_apart_forces_all_traffic_open_until_it_is_released():
    """Whoever had the kill switch's credential made 100,000 scopes up, and the reading of each worker took minutes."""
    full = Switches({f"segment:a={n}": switch(f"segment:a={n}", FORCED_OPEN, n + 1) for n in range(SCOPES_MAX)})
    assert [True, True, False] == [full.has_room(each) for each in ("segment:a=0", "all", "segment:a=-1")]
    at = Record(b"segment:a=-1", b"", Source(0, 7, START_MS))
    after = full.crowded(at)
    assert full.latest.keys() | {"all"} == after.latest.keys()
    assert after.is_forced("all")
    assert after.latest["all"].reason == (
        "the switch at offset 7 of its topic is of one more scope than the 1,000 that are told apart"
    )
    assert after.crowded(at) is after, "a flood moves no sequence ahead, or no release would be of now"
    released = after.after(switch("all", RELEASED, after.reached + 1))
    assert not released.is_forced("all")
    assert not released.crowded(at).is_forced("all"), "on another partition it may be read behind the release"
    later = Record(b"segment:a=-2", b"", Source(1, 3, START_MS + 9))
    assert released.crowded(later).is_forced("all")
