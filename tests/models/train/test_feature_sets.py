"""The numbered invariants of models.train.feature_sets: evidence, the fewest groups, and no chance."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from models.train.feature_sets import (
    GROUPS_MAX,
    PAYMENTS_ERRORS,
    SLICES,
    FeatureSet,
    Precision,
    choice,
    feature_sets,
    noise_ppm,
    precision_of,
)

GROUPS = {"one": ("b",), "two": ("d", "e")}
SETS = feature_sets(("a", "b", "c", "d", "e"), GROUPS)
NONE, ONE, TWO, BOTH = range(4)


def periods(*whole_ppm: int, spread: int = 0) -> list[Precision]:
    """Periods of which every second slice, left out, raises the precision by `spread` and the others lower it."""
    without = tuple(spread if place % 2 else -spread for place in range(SLICES))
    return [Precision(whole, tuple(whole + each for each in without)) for whole in whole_ppm]


def test_sets_are_all_of_the_groups_and_the_smaller_ones_come_first() -> None:
    assert [each.groups for each in SETS] == [(), ("one",), ("two",), ("one", "two")]
    assert [each.features for each in SETS] == [
        ("a", "c"), ("a", "b", "c"), ("a", "c", "d", "e"), ("a", "b", "c", "d", "e")
    ]  # fmt: skip


def test_a_group_that_is_ahead_in_every_period_alike_is_taken() -> None:
    figures = [periods(400_000, 500_000, 600_000), periods(450_000, 551_000, 649_000), periods(400_000, 500_000, 1)]
    assert choice(SETS, [*figures, periods(440_000, 540_000, 640_000)]).chosen.groups == ("one",)


def test_2_a_lead_that_the_periods_contradict_is_noise() -> None:
    """The best mean by 13,000, of which one period tells +49,000 and another -20,000: an error of 19,857."""
    figures = [periods(400_000, 500_000, 600_000), periods(449_000, 480_000, 610_000)]
    found = choice(SETS[:2], figures)
    assert found.weighed[ONE].behind_ppm == 0
    assert found.chosen.groups == ()


def test_2_a_lead_that_one_stretch_of_a_period_makes_is_noise() -> None:
    """Both periods agree to the last millionth, and within them slices don't: frauds come in runs."""
    level, better = periods(400_000, 500_000), periods(410_000, 510_000)
    assert choice(SETS[:2], [level, better]).chosen.groups == ("one",)
    assert choice(SETS[:2], [level, periods(410_000, 510_000, spread=5_000)]).chosen.groups == ()


def test_2_a_lead_that_grows_from_period_to_period_is_none() -> None:
    """Nothing in the first, while the state fills, and more in each that follows: the scatter isn't noise."""
    level, growing = periods(500_000, 500_000, 500_000), periods(500_000, 560_000, 700_000)
    assert choice(SETS[:2], [level, growing]).chosen.groups == ("one",)


def test_2_where_no_error_can_be_told_nothing_is_taken() -> None:
    lost = [each._replace(without_ppm=(None, *each.without_ppm[1:])) for each in periods(900_000, 900_000)]
    assert choice(SETS[:2], [periods(100_000, 100_000), lost]).chosen.groups == ()
    assert choice(SETS, [[], [], [], []]).chosen.groups == ()


def test_3_of_sets_with_as_many_groups_the_better_wins_and_of_equals_the_first() -> None:
    base, ahead, further = periods(100_000, 100_000), periods(300_000, 300_000), periods(300_001, 300_001)
    assert choice(SETS, [base, ahead, further, periods(1, 1)]).chosen.groups == ("two",)
    assert choice(SETS, [base, ahead, ahead, ahead]).chosen.groups == ("one",)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**4)), min_size=3, max_size=3),
        min_size=4, max_size=4,
    )
)  # fmt: skip
def test_the_chosen_one_is_as_good_as_the_best_and_every_smaller_one_is_not(
    figures: list[list[tuple[int, int]]],
) -> None:
    precisions = [[periods(whole, spread=spread)[0] for whole, spread in each] for each in figures]
    found = choice(SETS, precisions)
    chosen = found.weighed[found.place]
    assert chosen.noise_ppm is not None
    assert chosen.behind_ppm <= chosen.noise_ppm
    for other in found.weighed:
        if len(other.set.groups) < len(chosen.set.groups):
            assert other.noise_ppm is not None
            assert other.behind_ppm > other.noise_ppm
    assert choice(SETS, precisions) == found


def test_the_precision_is_that_of_scikit_learn_with_each_slice_left_out() -> None:
    rng = np.random.default_rng(4)
    fraud, score = rng.random(1_003) < 0.1, rng.integers(0, 50, 1_003)
    weight = rng.uniform(1, 5, 1_003)
    found = precision_of(fraud, score, weight)
    assert found.whole_ppm == round(average_precision_score(fraud, score, sample_weight=weight) * 1e6)
    kept = np.arange(1_003) * SLICES // 1_003 != 2
    expected = average_precision_score(fraud[kept], score[kept], sample_weight=weight[kept])
    assert found.without_ppm[2] == round(expected * 1e6)


def test_frauds_of_one_slice_alone_tell_no_error() -> None:
    fraud = np.arange(1_000) < 30
    found = precision_of(fraud, np.arange(1_000))
    assert found.without_ppm[0] is None
    assert noise_ppm([found], [found]) is None


def test_the_error_of_two_learners_that_differ_by_chance_is_about_what_repetitions_show() -> None:
    """Scores of equal worth on 60 fresh histories: their difference scatters as the error says, within two fifths."""
    rng = np.random.default_rng(7)
    differences, errors = [], []
    for _ in range(60):
        fraud = rng.random(600) < 0.1
        one, other = (precision_of(fraud, fraud + rng.normal(0, 1, 600)) for _ in range(2))
        differences.append(one.whole_ppm - other.whole_ppm)
        errors.append((noise_ppm([one], [other]) or 0) / PAYMENTS_ERRORS)
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(np.std(differences), rel=2 / 5)  # type: ignore[arg-type]


def test_no_more_groups_than_are_bounded() -> None:
    names = tuple("abcdefgh")
    with pytest.raises(AssertionError, match="bounded"):
        feature_sets(names, {name: (name,) for name in names[: GROUPS_MAX + 1]})
    assert len(feature_sets(names, {name: (name,) for name in names[:GROUPS_MAX]})) == 2**GROUPS_MAX
    assert feature_sets(names, {}) == [FeatureSet((), names)]
