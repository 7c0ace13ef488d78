"""The record that makes our code fail is found, and every other one is decided."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.decide.isolating.bisection import ATTEMPTS_MAX, Bisection, Part, halves, split_spans
from pipeline.domain.log import Record, Source, Span


def record(offset: int, partition: int = 0) -> Record:
    return Record(b"", b"", Source(partition, offset, 0))


def part_of(count: int, partitions: int = 1) -> Part:
    """`count` records over the partitions in turns, as they are read."""
    records = [record(number // partitions, number % partitions) for number in range(count)]
    counts = Counter(each.source.partition for each in records)
    return Part(records, [Span(partition, 0, counts[partition], 0) for partition in sorted(counts)])


def place(of: Record) -> tuple[int, int]:
    return of.source.partition, of.source.offset


class Walk:
    """A bisection run to its end by code that fails on some records, always or for the first few attempts."""

    def __init__(self, whole: Part, failures: int, fails_on: dict[tuple[int, int], int]) -> None:
        self.decided: list[tuple[int, int]] = []
        self.poison: list[tuple[int, int]] = []
        self.passed: list[Span] = []
        self.attempts = Counter[tuple[tuple[int, int], ...]]()
        left, bisection = dict(fails_on), Bisection(whole, failures)
        while (attempt := bisection.next) is not None:
            places = [place(each) for each in attempt.part.records]
            if attempt.is_poison:
                self.poison += places
            else:
                self.attempts[tuple(places)] += 1
                failing = [each for each in places if left.get(each, 0) > 0]
                if failing:
                    left[failing[0]] -= 1
                    bisection.failed()
                    continue
                self.decided += places
            self.passed += attempt.part.spans
            bisection.succeeded()


ALWAYS = 10**6


def test_a_batch_that_fails_twice_is_decided_whole_at_the_third_attempt():
    whole = part_of(5)
    walk = Walk(whole, 0, {(0, 3): 2})
    assert list(walk.attempts.values()) == [ATTEMPTS_MAX]
    assert walk.decided == [place(each) for each in whole.records]


def test_the_third_failure_halves_the_batch_and_a_half_has_failed_once():
    walk = Walk(part_of(4), 0, {(0, 3): ALWAYS})
    assert dict(walk.attempts) == {
        ((0, 0), (0, 1), (0, 2), (0, 3)): 3,
        ((0, 0), (0, 1)): 1,
        ((0, 2), (0, 3)): 2,
        ((0, 2),): 1,
        ((0, 3),): 2,
    }
    assert walk.poison == [(0, 3)]


def test_failures_of_the_stages_before_count():
    assert Walk(part_of(2), 1, {(0, 0): ALWAYS}).attempts[((0, 0), (0, 1))] == 2
    assert Walk(part_of(2), 3, {(0, 0): ALWAYS}).attempts[((0, 0), (0, 1))] == 0


@given(
    st.integers(1, 60),
    st.integers(1, 3),
    st.integers(0, ATTEMPTS_MAX),
    st.dictionaries(st.tuples(st.integers(0, 2), st.integers(0, 59)), st.sampled_from([1, 2, ALWAYS]), max_size=6),
)
def test_invariants_1_to_4_every_record_ends_once_in_order_and_no_part_is_tried_too_often(
    count, partitions, failures, fails_on
):
    whole = part_of(count, partitions)
    places = [place(each) for each in whole.records]
    walk = Walk(whole, failures, fails_on)
    assert sorted(walk.decided + walk.poison) == sorted(places)
    assert walk.decided == [each for each in places if each not in walk.poison]
    always = [each for each in places if fails_on.get(each) == ALWAYS]
    assert set(always) <= set(walk.poison)
    assert max(walk.attempts.values(), default=0) <= ATTEMPTS_MAX
    for partition in range(partitions):
        reached = [span for span in walk.passed if span.partition == partition]
        ends = [span.end_offset for span in reached]
        assert [span.start_offset for span in reached] == [0, *ends[:-1]][: len(reached)]
        assert ends[-1:] == [span.end_offset for span in whole.spans if span.partition == partition]


def test_halves_are_in_log_order_and_leave_nothing_out():
    whole = part_of(7, 2)
    first, second = halves(whole)
    assert [*first.records, *second.records] == whole.records
    assert len(first.records) == 3


def test_split_spans_meet_where_the_first_part_ends():
    records = [record(10), record(12), record(5, partition=1)]
    spans = [Span(0, 9, 15, 9), Span(1, 5, 6, 5)]
    assert split_spans(records[:1], spans) == (
        [Span(0, 9, 11, 9)],
        [Span(0, 11, 15, 9), Span(1, 5, 6, 5)],
    )
    assert split_spans(records[:2], spans) == ([Span(0, 9, 13, 9)], [Span(0, 13, 15, 9), Span(1, 5, 6, 5)])
