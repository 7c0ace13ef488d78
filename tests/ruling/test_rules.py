"""Rulings as values: what a saga makes of one, and what two people sign."""

from __future__ import annotations

import pytest

from pipeline.execute.saga import (
    DOUBTFUL,
    PLAN,
    RAIL_AIMS,
    STEPS_MAX,
    TRANSITIONS,
    Aim,
    Answer,
    Reason,
    Saga,
    State,
    Step,
    answer,
    rule,
)
from pipeline.ruling.acts import Doubt, Line, Ruling, Verdict, confirmation, proposal, signed_subject

DOUBT = Doubt("e", 4, "SUBMIT", 1, "k", "GBP", 700, "GB29-0001", "GB29-0002")
LINE = Line(1, 3, "FRAUD-SETTLEMENT", "GBP", 1, "S-1", "00" * 32, "OTHER", -25, None, None)


def way(saga: Saga) -> list[Step]:
    """The steps that the plan takes from here, until one needs the outside or none is left."""
    steps: list[Step] = []
    state, aim = saga.state, saga.aim
    assert aim is not None
    for _ in range(STEPS_MAX):
        step = PLAN[state, aim]
        if step is None:
            break
        steps.append(step)
        state = TRANSITIONS[state, step]
    return steps


@pytest.mark.parametrize("state", sorted(DOUBTFUL))
@pytest.mark.parametrize("aim", Aim)
@pytest.mark.parametrize("said", [Answer.DONE, Answer.REFUSED])
@pytest.mark.parametrize("is_rest", [False, True])
def test_7_no_ruling_has_the_rail_pay(state: State, aim: Aim, said: Answer, is_rest: bool) -> None:
    """From any doubt and with any aim; nor is the money held for a review that would have it pay."""
    after, _ = rule(Saga(state, aim), said, is_rest=is_rest)
    assert not {Step.SUBMIT, Step.HOLD} & set(way(after))


@pytest.mark.parametrize("state", sorted(DOUBTFUL))
@pytest.mark.parametrize("aim", sorted(set(Aim) - RAIL_AIMS))
@pytest.mark.parametrize("said", [Answer.DONE, Answer.REFUSED])
def test_where_nothing_is_to_be_paid_a_ruling_is_the_rails_answer(state: State, aim: Aim, said: Answer) -> None:
    assert answer(Saga(state, aim), said) == rule(Saga(state, aim), said)


def test_what_turns_a_saga_by_a_ruling_is_named_as_that() -> None:
    after, transition = rule(Saga(State.IN_DOUBT, Aim.SETTLE), Answer.REFUSED)
    assert (Reason.RULED_NOT_MADE, Aim.RELEASE) == (transition.reason, after.aim)


@pytest.mark.parametrize("state", sorted(set(State) - DOUBTFUL))
def test_only_a_doubt_is_ruled_on(state: State) -> None:
    with pytest.raises(AssertionError, match="nobody rules on"):
        rule(Saga(state, Aim.SETTLE), Answer.DONE)


@pytest.mark.parametrize("about", [DOUBT, LINE])
def test_both_people_sign_everything_that_was_shown(about: Doubt | Line) -> None:
    ruling = Ruling("r", about, Verdict.MADE, "letter 7", "they looked it up")
    subject = signed_subject(ruling)
    assert subject == proposal(ruling, "rob").subject == confirmation(ruling, "ada").subject
    assert {*about._asdict().items(), *ruling._replace(about=subject["about"])._asdict().items()} == {*subject.items()}
