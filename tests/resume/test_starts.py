"""Where deciding goes on, held to the truth: which offsets were decided, and which the log still holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.resume.starts import Decided, start_of

OFFSETS = st.integers(0, 40)
COMMITTED = st.none() | OFFSETS


@given(COMMITTED, OFFSETS, OFFSETS)
def test_invariants_1_and_2_nothing_is_decided_again_and_nothing_is_passed_over(
    committed: int | None, end: int, oldest: int
) -> None:
    start = start_of(committed, Decided(end, True), oldest)
    assert start is not None
    assert start >= end, "what was decided would be decided again"
    passed_over = set(range(max(end, oldest), start))
    assert not passed_over, "a payment that the log holds would be lost"


@given(COMMITTED, OFFSETS)
def test_invariant_3_a_partition_that_never_decided_begins_at_its_oldest_record(
    committed: int | None, oldest: int
) -> None:
    start = start_of(committed, Decided(None, True), oldest)
    assert start == (oldest if committed is None else min(committed, oldest))


@given(COMMITTED, OFFSETS)
def test_invariant_3_a_person_may_say_that_the_past_is_not_ours(committed: int | None, oldest: int) -> None:
    start = start_of(committed, Decided(None, True), oldest, begins_at_committed=True)
    assert start == (oldest if committed is None else committed)


@given(COMMITTED, OFFSETS, OFFSETS)
def test_what_was_decided_goes_before_what_a_person_said(committed: int | None, end: int, oldest: int) -> None:
    begun = start_of(committed, Decided(end, True), oldest, begins_at_committed=True)
    assert begun == start_of(committed, Decided(end, True), oldest)


@pytest.mark.parametrize("committed", [None, 0, 7])
def test_where_what_was_decided_is_no_longer_kept_the_group_s_offset_stands(committed: int | None) -> None:
    assert start_of(committed, Decided(None, False), 3) == committed


@given(OFFSETS, OFFSETS)
def test_an_offset_that_is_what_was_decided_is_kept(end: int, oldest: int) -> None:
    assert start_of(end, Decided(end, True), oldest) == end
