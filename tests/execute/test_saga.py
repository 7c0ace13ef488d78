"""The saga's tables, and the money that moves by them, walked at random and step by step."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.execute.saga import (
    AIMS,
    ANNOUNCED,
    ANSWERED,
    AWAITS_RAIL,
    PART_RECALLS,
    PLAN,
    TRANSITIONS,
    TURNS,
    Aim,
    Answer,
    Cause,
    Ignored,
    Saga,
    State,
    Step,
    diagram,
    hear,
    rail_key,
    restore,
    take,
)
from tests.execute.walks import CAUSES, EXECUTION, PAYMENT, Walk, walked

REST = {
    Aim.SETTLE: State.SETTLED,
    Aim.HOLD: State.HELD,
    Aim.REFUSE: State.REFUSED,
    Aim.REVERSE: State.REVERSED,
    Aim.RELEASE: State.RELEASED,
}


def test_every_aim_meets_every_cause():
    assert {(aim, cause) for aim in (None, *Aim) for cause in Cause} == set(AIMS)


def test_every_state_has_a_step_or_none_for_every_aim():
    assert {(state, aim) for state in State for aim in Aim} == set(PLAN)


def test_every_planned_step_leads_somewhere():
    missing = {(state, step) for (state, _), step in PLAN.items() if step is not None} - set(TRANSITIONS)
    assert not missing


def test_every_answer_of_the_rail_leads_somewhere():
    assert {(state, said) for state in AWAITS_RAIL for said in Answer} == set(ANSWERED)
    assert not {(state, step) for (state, _), step in ANSWERED.items() if step is not None} - set(TRANSITIONS)


def test_every_transition_is_used():
    planned = {(state, step) for (state, _), step in PLAN.items() if step is not None}
    answered = {(state, step) for (state, _), step in ANSWERED.items() if step is not None}
    guarded = {
        (state, instead)
        for state, step in planned
        for guard, instead in ((Step.RESERVE, Step.DENY), (Step.RECALL, Step.KEEP), (Step.RECALL, Step.RECALL_PART))
        if step is guard
    }
    answered |= {(state, Step.REST_RECALLED) for state in PART_RECALLS}
    assert planned | answered | guarded == set(TRANSITIONS)


def test_missing_transition_is_a_bug():
    missing = [(state, step) for state in State for step in Step if (state, step) not in TRANSITIONS]
    assert len(missing) == len(State) * len(Step) - len(TRANSITIONS)
    for state, step in missing:
        try:
            take(Saga(state, Aim.SETTLE), step)
        except AssertionError:
            continue
        raise RuntimeError(f"{state} took {step}")


def test_turns_lead_to_their_aim():
    assert all(step not in ANNOUNCED for step, _ in TURNS.values())


def test_only_a_first_decision_is_heard_as_one():
    for aim in Aim:
        for cause in (Cause.DECIDED_ALLOW, Cause.DECIDED_BLOCK, Cause.DECIDED_ESCALATE):
            assert AIMS[aim, cause] is Ignored.ALREADY_DECIDED


def test_nothing_moves_without_a_decision():
    for cause in Cause:
        if not cause.startswith("DECIDED"):
            assert hear(Saga(), cause) is Ignored.NO_DECISION


def test_a_review_is_heard_of_what_is_held_only():
    for cause, after in ((Cause.REVIEWED_ALLOW, Aim.SETTLE), (Cause.REVIEWED_BLOCK, Aim.REFUSE)):
        assert AIMS[Aim.HOLD, cause] is after
        for aim in set(Aim) - {Aim.HOLD}:
            assert isinstance(AIMS[aim, cause], Ignored)


def test_released_is_never_left():
    """Invariant 3."""
    assert not [step for (state, step) in TRANSITIONS if state is State.RELEASED]
    assert all(isinstance(AIMS[Aim.RELEASE, cause], Ignored) for cause in Cause)


def test_an_allowed_payment_takes_these_steps():
    walk = Walk(balance_minor=1_000)
    walk.hear(Cause.DECIDED_ALLOW)
    walk.run([Answer.DONE])
    expected = [Step.RESERVE, Step.DEBIT, Step.SUBMIT, Step.CREDIT, Step.COMPLETE]
    assert expected == [transition.step for transition in walk.transitions]
    assert walk.saga.state is State.SETTLED


def test_a_reversal_walks_back_in_reverse_order():
    walk = Walk(balance_minor=1_000)
    walk.hear(Cause.DECIDED_ALLOW)
    walk.run([Answer.DONE])
    walk.hear(Cause.REVERSED_TO_BLOCK)
    walk.run([Answer.DONE])
    expected = [Step.RECALL, Step.RECALLED, Step.UNDEBIT, Step.UNRESERVE, Step.REVERSE]
    assert expected == [transition.step for transition in walk.transitions[5:]]
    assert walk.saga.state is State.REVERSED


def test_a_recall_that_the_rail_refuses_leaves_the_payment_settled():
    walk = Walk(balance_minor=1_000)
    walk.hear(Cause.DECIDED_ALLOW)
    walk.run([Answer.DONE])
    walk.hear(Cause.REVERSED_TO_BLOCK)
    walk.run([Answer.UNKNOWN, Answer.UNKNOWN, Answer.REFUSED])
    expected = [Step.RECALL, Step.DOUBT, Step.GIVE_BACK, Step.COMPLETE]
    assert expected == [transition.step for transition in walk.transitions[5:]]
    assert walk.saga.state is State.SETTLED


def test_each_submission_has_its_own_key_and_its_recall_shares_it():
    walk = Walk(balance_minor=1_000)
    walk.hear(Cause.DECIDED_ALLOW)
    walk.run([Answer.DONE])
    first = rail_key(EXECUTION, walk.saga)
    walk.hear(Cause.REVERSED_TO_BLOCK)
    walk.run([])
    assert walk.saga.state is State.RECALLING
    assert rail_key(EXECUTION, walk.saga) == first
    walk.run([Answer.DONE])
    walk.hear(Cause.REVERSED_TO_ALLOW)
    walk.run([Answer.DONE])
    assert rail_key(EXECUTION, walk.saga) != first


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(CAUSES), max_size=8), st.data())
def test_every_aim_is_reached(causes, data):
    """Invariants 1 and 2: whatever is heard in whatever order, a saga comes to rest where its aim says."""
    walk = walked(data, causes)
    walk.run([Answer.DONE] * 4)
    assert walk.saga.aim is None or walk.saga.state is REST[walk.saga.aim]
    assert walk.saga.is_at_rest or walk.saga.aim is None


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(CAUSES), max_size=8), st.data())
def test_what_is_stored_restores_the_saga(causes, data):
    """Invariant 4: wherever a crash comes, what stands is the saga that stood."""
    walk = walked(data, causes)
    for steps, records, saga in walk.history:
        assert saga == restore(walk.transitions[:steps], walk.heard[:records])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(CAUSES), max_size=8), st.data())
def test_money_is_with_the_rail_only_when_it_was_asked(causes, data):
    """Invariant 5, by what the rail did: a transfer stands exactly where the books say the beneficiary has it."""
    walk = walked(data, causes)
    walk.run([Answer.DONE] * 4)
    out_minor = PAYMENT.amount_minor - walk.recalled.returned_minor if walk.saga.state is State.SETTLED else 0
    assert walk.out_minor == out_minor


def test_page_holds_the_diagram():
    assert f"```mermaid\n{diagram()}```" in Path("docs/execution.md").read_text("utf-8")
