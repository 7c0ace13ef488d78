"""Invariants of the record in force, against every order in which records may come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.decision import Outcome
from pipeline.domain.identities import review_id
from pipeline.domain.in_force import InForce, decided, replaced, replaces
from pipeline.domain.reversal import RecordKind, RecordName
from tests.decisions import DECISION, reversal_of, review_of

OUTCOMES = st.sampled_from(Outcome)
ID = DECISION.decision_id


def heard(outcome, records):
    """What is in force after these, and those of them that came to be."""
    in_force, counted = decided(ID, outcome), []
    for record in records:
        if replaces(in_force, record):
            in_force = replaced(in_force, record)
            counted.append(record)
    return in_force, counted


@st.composite
def told(draw):
    """Reversals that replace anything, and reviews of any round, some of them twice."""
    names = [RecordName(RecordKind.DECISION, ID), RecordName(RecordKind.OTHER, ""), None]
    records = []
    for number in range(draw(st.integers(0, 8))):
        if draw(st.booleans()):
            outcome = draw(st.sampled_from([Outcome.ALLOW, Outcome.BLOCK]))
            record = review_of(DECISION, outcome, name=review_id(ID, draw(st.integers(1, 3))))
            names.append(RecordName(RecordKind.REVIEW, record.review_id))
        else:
            corrected = draw(st.none() | OUTCOMES)
            replaced_name = draw(st.sampled_from(names)) or RecordName(RecordKind.REVERSAL, "unknown")
            record = reversal_of(DECISION, corrected, plan_id=f"plan-{number}", replaces=replaced_name)
            names.append(record.name)
        records.append(record)
        if records and draw(st.booleans()):
            records.append(draw(st.sampled_from(records)))
    return records


@given(OUTCOMES, told())
def test_each_record_replaces_the_one_before_it(outcome, records):
    """Invariants 2 and 3: what counted is a chain from the decision, and its last link is in force."""
    in_force, counted = heard(outcome, records)
    before = RecordName(RecordKind.DECISION, ID)
    for record in counted:
        if hasattr(record, "reversal_id"):
            assert record.replaces == before
            before = record.name
        else:
            before = RecordName(RecordKind.REVIEW, record.review_id)
    assert in_force.record == before


@given(OUTCOMES, told())
def test_what_comes_again_changes_nothing(outcome, records):
    """Invariant 4: every record twice in a row is every record once."""
    doubled = [record for record in records for _ in range(2)]
    once = heard(outcome, records)
    assert heard(outcome, doubled) == once
    assert len({str(record) for record in once[1]}) == len(once[1])


def test_of_two_plans_on_one_decision_the_first_counts():
    first, second = reversal_of(DECISION, Outcome.BLOCK), reversal_of(DECISION, None, plan_id="plan-2")
    assert heard(Outcome.ALLOW, [first, second])[1] == [first]
    assert heard(Outcome.ALLOW, [second, first])[1] == [second]


def test_a_review_and_a_reversal_exclude_each_other_in_both_orders():
    review, reversal = review_of(DECISION, Outcome.BLOCK), reversal_of(DECISION, Outcome.ALLOW)
    assert heard(Outcome.ESCALATE, [review, reversal])[1] == [review]
    assert heard(Outcome.ESCALATE, [reversal, review])[1] == [reversal]


def test_a_round_is_reviewed_once_and_the_next_has_another_id():
    review = review_of(DECISION, Outcome.ALLOW)
    again = review_of(DECISION, Outcome.BLOCK)  # the same round, so the same id
    once_more = reversal_of(DECISION, Outcome.ESCALATE, replaces=RecordName(RecordKind.REVIEW, review.review_id))
    second = review_of(DECISION, Outcome.BLOCK, name=review_id(ID, 2))
    assert heard(Outcome.ESCALATE, [review, again, once_more, review, second]) == (
        InForce(RecordName(RecordKind.REVIEW, second.review_id), Outcome.BLOCK, 2),
        [review, once_more, second],
    )


def test_a_reversal_that_names_nothing_never_counts():
    """One of an earlier release of the schema says OTHER."""
    nothing = reversal_of(DECISION, Outcome.ALLOW, replaces=RecordName(RecordKind.OTHER, ""))
    for outcome in Outcome:
        assert heard(outcome, [nothing])[1] == []
