"""A drill's figures against its objective: whatever is missing or unknown is not met."""

import pytest

from pipeline.drills.drills import MEASURES, DrillName, Measure, Verdict
from pipeline.drills.judging import Measured, judged, verdict_of
from pipeline.drills.objectives import Objective

DRILL = DrillName.MODEL_BLOCKS
GOOD = Measured(10.0, 20.0, 30.0, 40.0, 5, {"GBP": 100, "EUR": 50})
OBJECTIVE = Objective(
    drill=DRILL, detect_s=10, trip_s=20, page_s=30, recover_s=40, leaked=5, leaked_minor={"GBP": 100, "EUR": 50}
)


def unmet(measured, objective):
    return {each.measure for each in judged(DRILL, measured, objective) if not each.is_met}


def test_a_figure_that_is_just_its_objective_is_met():
    assert unmet(GOOD, OBJECTIVE) == set()
    assert verdict_of(judged(DRILL, GOOD, OBJECTIVE), []) is Verdict.PASSED


@pytest.mark.parametrize("drill", list(DrillName))
def test_without_an_objective_nothing_is_met(drill):
    findings = judged(drill, GOOD, None)
    assert [each.measure for each in findings] == list(MEASURES[drill])
    assert not any(each.is_met for each in findings)
    assert verdict_of(findings, []) is Verdict.FAILED


@pytest.mark.parametrize("measure", list(Measure))
def test_an_objective_that_is_left_out_is_not_met(measure):
    assert unmet(GOOD, OBJECTIVE.model_copy(update={measure.value: None})) == {measure}


@pytest.mark.parametrize("measure", list(Measure))
def test_a_figure_that_was_not_seen_is_not_met(measure):
    assert unmet(GOOD._replace(**{measure.value: None}), OBJECTIVE) == {measure}


@pytest.mark.parametrize(
    ("changed", "measure"),
    [
        ({"detect_s": 10.01}, Measure.DETECT_S),
        ({"trip_s": 20.01}, Measure.TRIP_S),
        ({"page_s": 30.01}, Measure.PAGE_S),
        ({"recover_s": 40.01}, Measure.RECOVER_S),
        ({"leaked": 6}, Measure.LEAKED),
        ({"leaked_minor": {"GBP": 101}}, Measure.LEAKED_MINOR),
        ({"leaked_minor": {"GBP": 1, "USD": 1}}, Measure.LEAKED_MINOR),
    ],
)
def test_one_step_over_is_not_met(changed, measure):
    """An amount in a currency that no objective names is over it, too."""
    assert unmet(GOOD._replace(**changed), OBJECTIVE) == {measure}


@pytest.mark.parametrize("figure", [-0.01, -1, float("nan")])
@pytest.mark.parametrize("measure", [each for each in Measure if each is not Measure.LEAKED_MINOR])
def test_a_figure_that_cannot_be_is_not_met(measure, figure):
    """A clock that was put back between the fault and what it led to made the best figure of all."""
    assert unmet(GOOD._replace(**{measure.value: figure}), OBJECTIVE) == {measure}


def test_amounts_below_nothing_are_not_met():
    assert unmet(GOOD._replace(leaked_minor={"GBP": -1}), OBJECTIVE) == {Measure.LEAKED_MINOR}


def test_what_was_found_besides_fails_a_drill_whose_figures_are_all_met():
    assert verdict_of(judged(DRILL, GOOD, OBJECTIVE), ["a payment has more than one decision"]) is Verdict.FAILED


def test_a_drill_without_findings_has_not_passed():
    assert verdict_of([], []) is Verdict.FAILED
