"""The order of a timeline, by the invariants of pipeline/explain/timeline.py."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.execute.saga import Cause, Ignored, Reason, State, Step
from pipeline.explain.moments import CAUSE_WORDS, DISPOSITION_WORDS, IGNORED_WORDS, REASON_WORDS, STEP_WORDS
from pipeline.explain.summary import STATE_WORDS
from pipeline.explain.timeline import Moment, Thread, strung, timeline
from pipeline.rollback.reversal import Disposition


def moment(at_ms: int, thread: Thread, strand: str, sequence: int) -> Moment:
    return Moment(at_ms, "K", ".", "b", f"{thread} {strand} {sequence}", None, thread, strand, sequence)


places = st.tuples(st.sampled_from(Thread), st.sampled_from(["", "a"]), st.integers(0, 9))
moment_lists = st.dictionaries(places, st.integers(0, 20), max_size=15).map(
    lambda found: [moment(at_ms, *place) for place, at_ms in found.items()]
)


@given(moment_lists)
def test_invariant_1_nothing_is_lost_or_made_up(moments):
    assert Counter(timeline(moments)) == Counter(moments)


@given(moment_lists)
def test_invariant_2_strands_keep_their_order_and_all_else_is_by_time(moments):
    ordered = timeline(moments)
    latest: dict[tuple[Thread, str], int] = {}
    places = []
    for moment in ordered:
        strand = moment.thread, moment.strand
        latest[strand] = max(latest.get(strand, 0), moment.at_ms)
        places.append(latest[strand])
    assert places == sorted(places)
    for strand in latest:
        sequences = [each.sequence for each in ordered if (each.thread, each.strand) == strand]
        assert sequences == sorted(sequences)


@given(moment_lists, st.randoms(use_true_random=False))
def test_invariant_3_the_order_of_gathering_does_not_matter(moments, random):
    shuffled = list(moments)
    random.shuffle(shuffled)
    assert timeline(shuffled) == timeline(moments)


def test_a_clock_that_goes_back_does_not_turn_a_saga_round():
    moments = [Moment(at_ms, "K", ".", "b", str(at_ms)) for at_ms in (10, 30, 20)]
    elsewhere = Moment(25, "K", ".", "b", "25", thread=Thread.AUDIT)
    ordered = timeline([*strung(Thread.EXECUTION, "", moments), elsewhere])
    assert [each.at_ms for each in ordered] == [10, 25, 30, 20]


def test_everything_that_can_be_recorded_has_its_words():
    for words, kinds in (
        (STEP_WORDS, Step),
        (STATE_WORDS, State),
        (CAUSE_WORDS, Cause),
        (IGNORED_WORDS, Ignored),
        (REASON_WORDS, Reason),
        (DISPOSITION_WORDS, Disposition),
    ):
        assert set(words) == set(kinds)
