import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.features import COLUMN, DERIVED, EVENT, STATE_SLICE, feature_matrix
from pipeline.explain.counterfactual.facts import CHANGEABLE
from pipeline.explain.counterfactual.relations import FEEDING, Relations, touched_by
from tests.explain.counterfactual.rows import HOUR_MS, rows, value, whole

NEAR_LIMIT = (4_500_000, 5_000_000)


def changed(row, **values):
    columns = [COLUMN[name] for name in values]
    found, possible = Relations(row, NEAR_LIMIT).rows_with(columns, np.array([[*values.values()]], dtype=np.int64))
    return found[0], bool(possible[0])


def test_the_amount_moves_every_sum_that_holds_it_and_what_follows_from_these():
    before = whole()
    after, possible = changed(before, amount_gbp_minor=30_000)
    assert possible
    for name in (
        "account_sum_minor_1h",
        "account_sum_minor_30d",
        "account_volume_minor_24h",
        "account_volume_minor_30d",
    ):
        assert value(after, name) == value(before, name) + 20_000
    assert value(after, "account_average_minor_30d") == 11_000
    assert value(after, "account_volume_percent_of_normal_month") == 100


def test_an_amount_just_under_the_limit_is_one_payment_more_that_is():
    after, possible = changed(whole(), amount_gbp_minor=4_600_000)
    assert possible
    assert value(after, "account_near_limit_count_24h") == 1


@pytest.mark.parametrize(
    ("values", "follows"),
    [
        ({"account_count_30d": 2}, {"account_count_7d": 2, "account_volume_count_30d": 2}),
        ({"account_count_1h": 3}, {"account_count_24h": 3, "account_count_7d": 4}),
        ({"account_count_30d": 1}, {"account_sum_minor_30d": 10_000, "account_volume_minor_30d": 10_000}),
        ({"account_ms_since_last": 1_000}, {"account_count_1h": 2, "account_count_24h": 2}),
        ({"account_ms_since_last": 200 * HOUR_MS}, {"account_count_7d": 1, "account_sum_minor_7d": 10_000}),
        ({"account_count_7d": 1}, {"account_ms_since_last": 168 * HOUR_MS}),
        ({"beneficiary_frauds_1d": 2}, {"beneficiary_labelled_30d": 2, "beneficiary_frauds_30d": 2}),
        ({"is_new_beneficiary": 1}, {"is_unpaid_beneficiary": 1}),
    ],
)
def test_what_follows_moves_with_a_fact_and_no_further(values, follows):
    after, possible = changed(whole(), **values)
    assert possible
    assert {name: value(after, name) for name in follows} == follows


@pytest.mark.parametrize(
    "values",
    [
        {"account_count_1h": 3, "account_count_24h": 2},
        {"account_sum_minor_24h": 9_999, "amount_gbp_minor": 10_500},
        {"account_distinct_beneficiaries_24h": 3, "account_count_24h": 2},
        {"beneficiary_frauds_7d": 3, "beneficiary_labelled_7d": 2},
        {"is_new_beneficiary": 1, "is_unpaid_beneficiary": 0},
        {"account_ms_since_last": 1_000, "account_count_1h": 1},
    ],
)
def test_what_can_not_be_is_not_possible(values):
    assert not changed(whole(), **values)[1]


@given(rows(), st.data())
def test_a_possible_change_holds_everything_that_held_and_keeps_what_was_changed(row, data):
    names = data.draw(st.lists(st.sampled_from(CHANGEABLE), min_size=1, max_size=3, unique=True))
    values = {name: data.draw(st.integers(0, 30)) for name in names}
    after, possible = changed(row, **values)
    if not possible:
        return
    assert {name: value(after, name) for name in names} == values
    again, still = Relations(row, NEAR_LIMIT).rows_with(
        list(range(STATE_SLICE.stop)), after[np.newaxis, : STATE_SLICE.stop]
    )
    assert still[0]
    assert np.array_equal(again[0], after)
    moved = {column for column in range(len(row)) if row[column] != after[column]}
    assert moved <= set().union(*(touched_by(COLUMN[name]) for name in names))
    derived = feature_matrix(after[np.newaxis, : len(EVENT)], after[np.newaxis, STATE_SLICE])[0]
    assert np.array_equal(derived, after)


@given(rows())
def test_no_change_moves_nothing(row):
    for name in CHANGEABLE:
        after, possible = changed(row, **{name: value(row, name)})
        assert np.array_equal(after, row)
        assert possible


def test_what_every_derived_feature_follows_from_is_named():
    assert FEEDING.keys() == {COLUMN[name] for name in DERIVED}
    sums = {name for name in CHANGEABLE if "_sum_minor_" in name or "_volume_minor_" in name}
    assert {COLUMN[name] for name in sums} <= touched_by(COLUMN["amount_gbp_minor"])
