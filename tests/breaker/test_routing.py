from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from pipeline.breaker import SEGMENT_OTHER, BreakerRecord, Governing, Routing, draw_of
from pipeline.decide.verdict import Mode
from pipeline.domain.decision import BreakerState
from tests.breaker.given import DEFAULTS, record

SW, NE = "segment:postcode_area=SW", "segment:postcode_area=NE"
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def declares(name: str, value: str) -> bool:
    return (name, value) == ("postcode_area", "SW")


def routing(states: dict[str, BreakerState], share_percent: int = 10) -> Routing:
    shares = {HALF_OPEN: share_percent}
    records = {
        scope: record(state, scope, share_percent=shares.get(state, 0), salt="s") for scope, state in states.items()
    }
    return Routing(records, "m1", declares)


def test_governing_has_the_fields_of_mode_that_need_saying():
    assert Governing._fields == Mode._fields[: len(Governing._fields)]
    assert Mode._field_defaults.keys() == set(Mode._fields) - set(Governing._fields)


def test_closed_everywhere_is_plain():
    found = routing({"all": CLOSED, "model:m1": CLOSED, "model:m0": OPEN, SW: CLOSED})
    assert (found.is_plain, found.uniform) == (True, (CLOSED, "all", True))


def test_i4_nothing_recorded_is_unknown_and_not_closed():
    for states in ({}, {"model:m1": CLOSED}):
        assert routing(states).uniform == (BreakerState.UNKNOWN, "all", False)


def test_segment_is_taken_out_alone():
    found = routing({"all": CLOSED, SW: OPEN})
    assert not found.is_plain
    assert found.route_of("t1", {"postcode_area": "SW"}) == (OPEN, SW, False)
    assert found.route_of("t1", {"postcode_area": "NE"}) == (CLOSED, "all", True)
    assert found.route_of("t1", {}) == (CLOSED, "all", True)


def test_segments_that_are_not_counted_alone_follow_the_rest():
    found = routing({"all": CLOSED, SEGMENT_OTHER: OPEN})
    assert found.route_of("t1", {"postcode_area": "SW"}) == (CLOSED, "all", True)
    assert found.route_of("t1", {"postcode_area": "NE"}) == (OPEN, SEGMENT_OTHER, False)


def test_i4_segment_that_a_person_opened_is_open_though_it_is_counted_with_the_rest():
    found = routing({"all": CLOSED, SEGMENT_OTHER: HALF_OPEN, NE: BreakerState.FORCED_OPEN})
    for number in range(100):
        assert found.route_of(f"t{number}", {"postcode_area": "NE"}) == (BreakerState.FORCED_OPEN, NE, False)
    assert found.route_of("t1", {"postcode_area": "EC"})[:2] == (HALF_OPEN, SEGMENT_OTHER)


def test_equal_states_are_named_in_a_fixed_order():
    segments = {"postcode_area": "SW", "age_band": "18-25"}
    assert routing({"all": OPEN, "model:m1": OPEN, SW: OPEN}).route_of("t1", segments).scope == "all"
    assert routing({"all": CLOSED, "model:m1": OPEN, SW: OPEN}).route_of("t1", segments).scope == "model:m1"
    young = "segment:age_band=18-25"
    assert routing({"all": CLOSED, SW: OPEN, young: OPEN}).route_of("t1", segments).scope == young


states = st.sampled_from(BreakerState)
RANK = [BreakerState.UNKNOWN, BreakerState.FORCED_OPEN, OPEN, HALF_OPEN, CLOSED]


@given(st.tuples(states, states, states, states), st.text(max_size=20))
def test_worst_scope_governs_and_only_closed_or_probation_lets_the_model_answer(found, transaction_id):
    everywhere, model, first, second = found
    built = routing({"all": everywhere, "model:m1": model, SW: first, "segment:age_band=18-25": second})
    governing = built.route_of(transaction_id, {"postcode_area": "SW", "age_band": "18-25"})
    assert governing.state == min(found, key=RANK.index)
    if governing.state is not HALF_OPEN:
        assert governing.use_model is (governing.state is CLOSED)
    assert built.is_plain == (set(found) == {CLOSED})


def test_probation_lets_a_tenth_through():
    built = routing({"all": HALF_OPEN})
    sample = [number for number in range(10_000) if built.route_of(f"transaction-{number}", {}).use_model]
    assert 900 < len(sample) < 1_100


def test_sample_is_the_same_in_one_draw_of_a_probation_and_grows_with_its_share():
    found = [number for number in range(60) if routing({"all": HALF_OPEN}).route_of(f"t{number}", {}).use_model]
    assert found == [17, 23, 30, 58]
    more = {number for number in range(60) if routing({"all": HALF_OPEN}, 25).route_of(f"t{number}", {}).use_model}
    assert more > set(found)


def sample_of(probation: BreakerRecord, draw: int = 0) -> set[int]:
    built = Routing({probation.scope: probation}, "m1", declares, draw)
    return {number for number in range(10_000) if built.route_of(f"t{number}", {}).use_model}


def test_ids_that_passed_in_one_probation_pass_in_another_by_chance_alone():
    """Nor do those pass that were chosen by a plain hash of the id, or with all that is known but the salt."""
    first = record(HALF_OPEN, "all", share_percent=10, salt="one")
    passed = sample_of(first)
    for other in (first._replace(salt="two"), first._replace(salt="")):
        assert len(passed & sample_of(other)) < len(passed) // 5
    assert passed == sample_of(first._replace(version=8, since_ms=9))
    plain = {number for number in range(10_000) if int(sha256(f"t{number}".encode()).hexdigest()[:16], 16) % 10 == 0}
    assert len(passed & plain) < len(passed) // 5


def test_each_draw_is_of_other_accounts_so_a_scope_of_few_is_not_left_without_any():
    first = record(HALF_OPEN, "all", share_percent=10, salt="one")
    passed = sample_of(first)
    assert len(passed & sample_of(first, draw=1)) < len(passed) // 5
    few = [any(number < 20 for number in sample_of(first._replace(share_percent=1), draw)) for draw in range(60)]
    assert 0 < sum(few) < 60
    draws = [
        draw_of(at_ms, DEFAULTS) for at_ms in (0, 1000 * DEFAULTS.open_period_s - 1, 1000 * DEFAULTS.open_period_s)
    ]
    assert draws == [0, 0, 1]


def test_probation_of_no_share_lets_nothing_through():
    assert sample_of(record(HALF_OPEN, "all", salt="one")) == set()


def test_least_share_of_several_governs():
    records = {
        "all": record(HALF_OPEN, "all", share_percent=25, salt="a"),
        "model:m1": record(HALF_OPEN, "model:m1", share_percent=5, salt="b"),
        SW: record(HALF_OPEN, SW, share_percent=1, salt="c"),
    }
    built = Routing(records, "m1", declares)
    assert built.route_of("t1", {}).scope == "model:m1"
    assert built.route_of("t1", {"postcode_area": "SW"}).scope == SW


def test_channel_is_taken_out_alone():
    found = routing({"all": CLOSED, "channel:CARD": OPEN})
    assert found.route_of("t1", {}, "CARD") == (OPEN, "channel:CARD", False)
    assert found.route_of("t1", {}, "SWIFT") == (CLOSED, "all", True)
    assert found.route_of("t1", {}) == (CLOSED, "all", True)


def test_each_scope_on_probation_has_a_sample_of_its_own():
    built = routing({"all": CLOSED, SW: HALF_OPEN, NE: HALF_OPEN})
    south, north = (
        {number for number in range(10_000) if built.route_of(f"t{number}", {"postcode_area": area}).use_model}
        for area in ("SW", "NE")
    )
    assert len(south & north) < len(south) // 5
