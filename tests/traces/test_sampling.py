"""What is taken: so many a second, and a share of all places."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.traces.sampling import Allowance, places_taken


@given(st.integers(0, 20), st.lists(st.floats(0, 0.3), max_size=300))
def test_1_no_more_than_so_many_are_taken_in_any_second(per_s: int, steps_s: list[float]) -> None:
    allowance, now_s, taken = Allowance(per_s), 100.0, list[float]()
    for step_s in steps_s:
        now_s += step_s
        if allowance.take(now_s):
            taken.append(now_s)
    for first in taken:
        assert per_s >= sum(1 for at_s in taken if first <= at_s < first + 1.0)


def test_all_are_taken_that_keep_within_the_limit() -> None:
    allowance = Allowance(64)  # a power of two, whose shares of a second are exact
    assert all(allowance.take(number / 64) for number in range(640))
    assert not allowance.take(640 / 64 - 0.001)


def test_a_flood_gets_its_share_again_a_second_later() -> None:
    allowance = Allowance(50)
    assert [50, 50] == [sum(allowance.take(at_s) for _ in range(10_000)) for at_s in (7.0, 8.0)]


def test_the_share_is_kept() -> None:
    for share in (0.001, 0.01, 0.25):
        taken = places_taken([3] * 1_000_000, range(1_000_000), share)
        assert abs(len(taken) - 1_000_000 * share) < 4 * (1_000_000 * share) ** 0.5
    assert [] == places_taken([0], [0], 0.0)
    assert [0, 1, 2] == places_taken([0, 0, 1], [0, 1, 0], 1.0)


def test_2_what_is_taken_follows_from_places_alone_and_differs_by_partition() -> None:
    offsets = list(range(5_000_000_000, 5_000_050_000))
    whole = places_taken([1] * 50_000, offsets, 0.01)
    half = places_taken([1] * 25_000, offsets[25_000:], 0.01)
    assert [number for number in whole if number >= 25_000] == [number + 25_000 for number in half]
    assert whole != places_taken([2] * 50_000, offsets, 0.01)


def test_what_is_taken_has_no_rhythm() -> None:
    """Every residue comes up, so that a publisher that sends kinds of payments by turns gets each of them traced."""
    taken = places_taken([0] * 1_000_000, range(1_000_000), 0.01)
    for period in (2, 3, 7, 64, 1000):
        assert period == len({number % period for number in taken})
