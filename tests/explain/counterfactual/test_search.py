from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models.artefact.scoring import Calibration, Model, Term
from pipeline.decide.verdict import Mode, decide, regime
from pipeline.domain.decision import BreakerState
from pipeline.domain.features import COLUMN
from pipeline.explain.counterfactual.answers import LEVEL, Answers, Level, start_of
from pipeline.explain.counterfactual.edges import Edges
from pipeline.explain.counterfactual.facts import Fact, facts_of, sizes
from pipeline.explain.counterfactual.relations import Relations
from pipeline.explain.counterfactual.search import ROWS_MAX, Found, NoneWithin, Search
from tests.explain.counterfactual.rows import rows, value, whole
from tests.records import policy

CLOSED = Mode(BreakerState.CLOSED, "all", True)
NEAR_LIMIT = (4_500_000, 5_000_000)
ALONE = ("ip_fraud_reports", "device_fraud_reports", "is_new_beneficiary", "is_unpaid_beneficiary")
TOGETHER = ("beneficiary_frauds_7d", "beneficiary_labelled_7d", "beneficiary_risk_ppm_7d", "account_count_1h")
CALIBRATION = Calibration(
    np.array([-3, 0, 2], dtype=np.int64), np.array([10_000, 150_000, 500_000, 900_000], dtype=np.int64)
)


def term(draw, names):
    edges = [np.array(sorted(draw(st.sets(st.sampled_from(EDGES[name]), min_size=1, max_size=3)))) for name in names]
    shape = tuple(len(each) + 1 for each in edges)
    entries = draw(st.lists(st.integers(-4, 4), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    return Term(tuple(names), tuple(edges), np.array(entries, dtype=np.int64).reshape(shape))


EDGES = {
    **{name: [0, 1, 2, 3] for name in ALONE},
    "beneficiary_frauds_7d": [1, 2, 3],
    "beneficiary_labelled_7d": [1, 4, 9],
    "beneficiary_risk_ppm_7d": [333_333, 500_000, 999_999],
    "account_count_1h": [2, 3, 5],
}


@st.composite
def models(draw, names):
    single = [term(draw, [name]) for name in names]
    pairs = [term(draw, pair) for pair in draw(st.lists(st.sampled_from([*combinations(names, 2)]), max_size=2))]
    return Model("drawn", bytes(32), 0, (*single, *pairs), CALIBRATION, {name: 0 for name in names})


def search_of(row, model, chosen=None):
    in_force = regime(policy(), model)
    answers = Answers(in_force, use_model=True)
    level = Level(int(answers.levels(row[np.newaxis])[0]))
    edges = Edges(answers.bounds(), answers.model, NEAR_LIMIT)
    facts = [fact for fact in facts_of(row.tolist(), edges.facts_read()) if chosen is None or fact.feature in chosen]
    return (
        Search(start_of(row, level, answers), facts, edges, Relations(row, NEAR_LIMIT), answers.model, None),
        facts,
        in_force,
    )


def by_force(row, facts: list[Fact], in_force, greatest, changes_max):
    """Every possible value of every fact, up to `greatest`: the fewest changes, and the smallest size of so many."""
    answers, relations = Answers(in_force, use_model=True), Relations(row, NEAR_LIMIT)
    level = answers.levels(row[np.newaxis])[0]
    for number in range(1, changes_max + 1):
        best = None
        for chosen in combinations(facts, number):
            spans = [range(fact.least, min(fact.greatest, greatest) + 1) for fact in chosen]
            tried = [
                each for each in product(*spans) if all(a != row[f.column] for a, f in zip(each, chosen, strict=True))
            ]
            if not tried:
                continue
            values = np.array(tried, dtype=np.int64)
            found, possible = relations.rows_with([fact.column for fact in chosen], values)
            turned = possible & (answers.levels(found) < level)
            if turned.any():
                size = sum(sizes(f, int(row[f.column]), values[:, place]) for place, f in enumerate(chosen))
                best = min(int(size[turned].min()), best if best is not None else 2**62)
        if best is not None:
            return number, best
    return None


def assert_fewest(row, model, names, greatest):
    search, facts, in_force = search_of(row, model, names)
    assume(search._start.level is not Level.ALLOW)
    expected = by_force(row, facts, in_force, greatest, 2)
    found = search.fewest(2)
    if expected is None:
        assert found == NoneWithin(2, is_exhaustive=True)
        return
    assert isinstance(found, Found)
    assert (len(found.facts), found.size) == expected
    [verdict] = decide(found.row[np.newaxis], [CLOSED], in_force)
    assert LEVEL[verdict.outcome] < search._start.level


@settings(max_examples=150)
@given(row=rows(), model=models(ALONE))
def test_what_is_found_is_the_fewest_and_smallest_of_all_there_are(row, model):
    assert_fewest(row, model, ALONE, 6)


@settings(max_examples=15)
@given(row=rows(), model=models(TOGETHER))
def test_so_it_is_of_facts_that_follow_from_each_other(row, model):
    assume(value(row, "beneficiary_frauds_7d") <= 8)  # else more payments than are tried by force make a third of them
    assert_fewest(row, model, TOGETHER[:2] + TOGETHER[3:], 40)


@settings(max_examples=40)
@given(row=rows(), data=st.data())
def test_the_nearest_time_of_day_is_found_on_both_sides_of_midnight(row, data):
    """Times near midnight, and cells of the table that touch it: the day stays the same, and so does its weekend."""
    row[COLUMN["local_minute_of_day"]] = data.draw(st.sampled_from([0, 1, 10, 700, 1430, 1438, 1439]))
    edges = np.array(sorted(data.draw(st.sets(st.sampled_from([1, 2, 60, 1300, 1400, 1439]), min_size=1, max_size=4))))
    entries = data.draw(st.lists(st.integers(-4, 4), min_size=len(edges) + 1, max_size=len(edges) + 1))
    hours = Term(("local_minute_of_day",), (edges,), np.array(entries, dtype=np.int64))
    model = Model("hours", bytes(32), 0, (hours,), CALIBRATION, {"local_minute_of_day": 720})
    assert_fewest(row, model, ("local_minute_of_day",), 1439)


def test_a_change_of_the_amount_is_found_through_what_follows_from_it():
    percent = Term(("amount_percent_of_earlier_average_30d",), (np.array([300]),), np.array([0, 9], dtype=np.int64))
    model = Model("percent", bytes(32), 0, (percent,), CALIBRATION, {"amount_percent_of_earlier_average_30d": 100})
    row = whole(amount_gbp_minor=40_000, account_sum_minor_1h=40_000, account_sum_minor_24h=40_000,
                account_sum_minor_7d=60_000, account_sum_minor_30d=110_000, account_volume_minor_24h=40_000,
                account_volume_minor_30d=100_000)  # fmt: skip
    search, _, _ = search_of(row, model, ("amount_gbp_minor",))
    found = search.fewest()
    assert isinstance(found, Found)
    earlier = 60_000 / 8  # eight earlier payments that stand
    amount = value(found.row, "amount_gbp_minor")
    assert amount == next(each for each in range(40_000, 0, -1) if (200 * each * 8 + 60_000) // 120_000 < 300)
    assert amount < 3 * earlier


def test_what_no_change_turns_is_said_and_within_how_many():
    always = Term(("ip_fraud_reports",), (np.array([1]),), np.array([9, 9], dtype=np.int64))
    model = Model("always", bytes(32), 0, (always,), CALIBRATION, {"ip_fraud_reports": 0})
    search, _, _ = search_of(whole(), model)
    assert search.fewest() == NoneWithin(3, is_exhaustive=True)


def test_the_work_is_bounded_with_all_facts_and_a_model_that_reads_everything():
    names = [name for name in COLUMN if name not in ("is_beneficiary_country_sanctioned", "logged_minute_of_day")]
    assert len(names) > 40
    generator = np.random.default_rng(1)
    terms = []
    for name in names:
        edges = np.unique(generator.integers(1, 2 if name.startswith("is_") else 400_000, 60))
        terms.append(Term((name,), (edges,), generator.integers(-2, 3, len(edges) + 1)))
    model = Model("wide", bytes(32), 40, tuple(terms), CALIBRATION, dict.fromkeys(names, 0))
    search, facts, _ = search_of(whole(), model)
    found = search.fewest()
    assert len(facts) > 30
    assert isinstance(found, NoneWithin)
    assert search._rows_left > -ROWS_MAX // 10


@given(row=rows())
def test_the_same_decision_gives_the_same_answer(row):
    model = Model("small", bytes(32), 3, (), CALIBRATION, {})
    one, other = search_of(row, model)[0].fewest(1), search_of(row, model)[0].fewest(1)
    assert str(one) == str(other)


@pytest.mark.parametrize(
    ("fact", "before", "after", "size"),
    [
        ("amount_gbp_minor", 200, 100, 500_000),
        ("is_new_beneficiary", 1, 0, 1_000_000),
        ("local_minute_of_day", 1430, 10, 1_972_222),
        ("ip_fraud_reports", -2, 5, 1_000_000),
    ],
)
def test_sizes_compare_facts(fact, before, after, size):
    [found] = [each for each in facts_of(whole(**{fact: before}).tolist(), frozenset({COLUMN[fact]}))]
    assert sizes(found, before, np.array([after])).tolist() == [size]
