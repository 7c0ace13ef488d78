"""The order of a partition's decisions, and the stretches in which their sources are read."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.reconcile.founded import Decided, Order, runs_of


@given(st.lists(st.integers(0, 50), unique=True), st.data())
def test_2_copies_of_what_was_seen_are_copies_in_any_order(sources: list[int], data: st.DataObject) -> None:
    decided = Decided()
    for source in sorted(sources):
        assert Order.NEXT is decided.see(source, b"%d" % source, is_taken_up=True)
    for source in data.draw(st.permutations(sources)):
        assert Order.COPY is decided.see(source, b"%d" % source, is_taken_up=True)
        assert Order.OTHER is decided.see(source, b"other", is_taken_up=True)


def test_2_a_source_that_was_passed_is_late() -> None:
    decided = Decided()
    decided.see(5, b"5", is_taken_up=True)
    assert Order.LATE is decided.see(4, b"4", is_taken_up=True)


def test_2_a_decision_ahead_of_the_workers_makes_none_late() -> None:
    decided = Decided()
    decided.see(900, b"forged", is_taken_up=False)
    assert Order.NEXT is decided.see(4, b"4", is_taken_up=True)
    assert Order.OTHER is decided.see(900, b"honest", is_taken_up=True)


@given(st.sets(st.integers(0, 10_000)), st.integers(1, 500))
def test_runs_hold_every_offset_and_no_gap_beyond_the_bound(offsets: set[int], gap_max: int) -> None:
    runs = runs_of(dict.fromkeys(offsets), gap_max)
    assert offsets == {offset for first, end in runs for offset in range(first, end)} & offsets
    assert sum(end - first for first, end in runs) <= len(offsets) * gap_max
    assert all(later[0] - earlier[1] >= gap_max for earlier, later in pairwise(runs))
