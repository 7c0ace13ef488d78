from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.breaker import TRANSITIONS, BreakerRecord, Cause, Event, diagram, is_possible, step, unwritten
from pipeline.domain.decision import BreakerState
from tests.breaker.given import DEFAULTS, PAGE, START_MS, record

CAUSE = Cause("because", "monitor")


def test_table_is_exactly_this():
    expected = """
        UNKNOWN INITIALISE CLOSED, UNKNOWN STATE_LOST OPEN, UNKNOWN FORCE_OPEN FORCED_OPEN,
        CLOSED STATE_LOST OPEN, CLOSED TRIP OPEN, CLOSED DRILL OPEN, CLOSED FORCE_OPEN FORCED_OPEN,
        OPEN STATE_LOST OPEN, OPEN STILL_BAD OPEN, OPEN OPEN_PERIOD_OVER HALF_OPEN, OPEN RELEASE HALF_OPEN,
        OPEN FORCE_OPEN FORCED_OPEN,
        HALF_OPEN STATE_LOST OPEN, HALF_OPEN SHARE_RAISED HALF_OPEN, HALF_OPEN PROBE_GOOD CLOSED,
        HALF_OPEN PROBE_BAD OPEN, HALF_OPEN RELEASE HALF_OPEN,
        HALF_OPEN FORCE_OPEN FORCED_OPEN,
        FORCED_OPEN RELEASE HALF_OPEN
    """
    table = {tuple(words.split()) for words in expected.split(",")}
    assert {(*key, after) for key, after in TRANSITIONS.items()} == table


def test_missing_key_is_a_bug():
    missing = [(state, event) for state in BreakerState for event in Event if (state, event) not in TRANSITIONS]
    assert len(missing) == len(BreakerState) * len(Event) - len(TRANSITIONS)
    for state, event in missing:
        try:
            step(record(state), event, CAUSE, START_MS, DEFAULTS, 0)
        except AssertionError:
            continue
        raise RuntimeError(f"{state} accepted {event}")


def test_page_holds_the_diagram():
    assert f"```mermaid\n{diagram()}```" in PAGE.read_text("utf-8")


events = st.lists(st.tuples(st.sampled_from(Event), st.integers(0, 10**6)), max_size=30)


def walked(first: BreakerRecord, events: list[tuple[Event, int]]) -> list[tuple[Event, BreakerRecord]]:
    """Yield the events that the table has, each with the record after it."""
    at, now_ms, path = first, START_MS, []
    for event, later_ms in events:
        now_ms += later_ms
        is_beyond = event is Event.SHARE_RAISED and DEFAULTS.next_share(at.share_percent) is None
        if is_possible(at.state, event) and not is_beyond:
            at = step(at, event, CAUSE, now_ms, DEFAULTS, 0)
            path.append((event, at))
    return path


@given(events)
def test_unknown_becomes_closed_only_by_initialising_or_through_half_open(events):
    path = walked(unwritten("all", is_store_empty=True), events)
    closed = next((place for place, (_, after) in enumerate(path) if after.state is BreakerState.CLOSED), None)
    if closed is not None and path[closed][0] is not Event.INITIALISE:
        assert BreakerState.HALF_OPEN in [after.state for _, after in path[:closed]]


@given(events)
def test_unknown_is_never_written_over_anything(events):
    for first in (unwritten("all", is_store_empty=True), record()):
        assert BreakerState.UNKNOWN not in [after.state for _, after in walked(first, events)]


@given(events, st.sampled_from(list(BreakerState)))
def test_versions_only_grow(events, state):
    versions = [after.version for _, after in walked(record(state), events)]
    assert versions == sorted(set(versions))


def test_version_grows_though_the_clock_goes_back():
    before = record(version=START_MS + 50)
    assert step(before, Event.TRIP, CAUSE, START_MS, DEFAULTS, 0).version == START_MS + 51
    assert step(before, Event.TRIP, CAUSE, START_MS, DEFAULTS, START_MS + 90).version == START_MS + 91


def test_open_period_doubles_up_to_its_bound_and_starts_anew_after_closed():
    at, periods = step(record(), Event.TRIP, CAUSE, START_MS, DEFAULTS, 0), []
    for _ in range(40):
        periods.append((at.open_until_ms - START_MS) // 1000)
        at = step(at, Event.STILL_BAD, CAUSE, START_MS, DEFAULTS, 0)
    assert periods == [300, 600, 1200, 2400, *[3600] * 36]
    probation = step(at, Event.OPEN_PERIOD_OVER, CAUSE, START_MS, DEFAULTS, 0)
    closed = step(probation, Event.PROBE_GOOD, CAUSE, START_MS, DEFAULTS, 0)
    again = step(closed, Event.TRIP, CAUSE, START_MS, DEFAULTS, 0)
    assert (closed.open_until_ms, again.open_until_ms - START_MS) == (0, 300_000)


@given(events, st.sampled_from(list(BreakerState)))
def test_5_probation_begins_with_the_least_share_which_only_grows_by_being_raised(events, state):
    path = [(Event.INITIALISE, record(state)), *walked(record(state), events)]
    for (_, before), (event, after) in pairwise(path):
        if event is Event.SHARE_RAISED:
            assert after.share_percent == DEFAULTS.next_share(before.share_percent) > before.share_percent
            assert after.salt == before.salt
        else:
            assert after.share_percent == (1 if after.state is BreakerState.HALF_OPEN else 0)
