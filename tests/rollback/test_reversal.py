import itertools
import json
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.domain.decision import Outcome
from pipeline.domain.identities import reversal_id
from pipeline.people.roles import Person, Role
from pipeline.rollback.blast_radius import Adding, radius_json, radius_of
from pipeline.rollback.reversal import (
    CHANGING,
    EVENT_TIME_KEPT_MS,
    ApplyRefusal,
    Disposition,
    apply_refusal,
    disposition,
    origin_ids,
    plan_digest,
    plan_refusal,
    released_id,
    released_payment,
    reversal,
)
from tests.records import PAYMENT
from tests.rollback.given import APPROVAL, APPROVER, HEADER, REQUESTER, outcomes, plan_lines


def test_dispositions_are_exactly_these():
    changes = {
        (before, after): disposition(before, after, is_reviewed=False)
        for before, after in itertools.product(Outcome, Outcome)
    }
    expected = {
        ("ALLOW", "BLOCK"): "REVERSE",
        ("ALLOW", "ESCALATE"): "REVERSE",
        ("ESCALATE", "ALLOW"): "REVERSE",
        ("ESCALATE", "BLOCK"): "REVERSE",
        ("BLOCK", "ALLOW"): "RELEASE",
        ("BLOCK", "ESCALATE"): "RELEASE",
        **{(each.value, each.value): "UNCHANGED" for each in Outcome},
    }
    assert changes == expected


@given(st.none() | outcomes, st.none() | outcomes, st.booleans())
def test_only_what_differs_is_reversed(before, after, is_reviewed):
    if disposition(before, after, is_reviewed=is_reviewed) in CHANGING:
        assert None not in (before, after)
        assert before is not after


@given(outcomes, st.none() | outcomes)
def test_what_a_person_decided_stands(before, after):
    assert disposition(before, after, is_reviewed=True) is Disposition.REVIEWED


@given(st.none() | outcomes, st.booleans())
def test_what_was_given_back_is_no_business_of_a_plan(after, is_reviewed):
    assert disposition(None, after, is_reviewed=is_reviewed) is Disposition.GIVEN_BACK


lists = st.lists(plan_lines(), min_size=1, max_size=8)


@given(lists, st.data())
def test_a_changed_line_changes_the_hash(lines, data):
    place = data.draw(st.integers(0, len(lines) - 1))
    other = data.draw(plan_lines())
    assume(other != lines[place])
    changed = [*lines[:place], other, *lines[place + 1 :]]
    assert plan_digest(HEADER, changed) != plan_digest(HEADER, lines)


@given(lists, st.data())
def test_a_missing_added_or_moved_line_changes_the_hash(lines, data):
    place = data.draw(st.integers(0, len(lines) - 1))
    digest = plan_digest(HEADER, lines)
    assert plan_digest(HEADER, [*lines[:place], *lines[place + 1 :]]) != digest
    assert plan_digest(HEADER, [*lines, lines[place]]) != digest
    rotated = [*lines[1:], lines[0]]
    assert (plan_digest(HEADER, rotated) == digest) == (rotated == lines)


@pytest.mark.parametrize("name", HEADER._fields)
def test_every_field_of_the_header_is_in_the_hash(name):
    value = getattr(HEADER, name)
    other = {"model": "other"} if isinstance(value, dict) else value + type(value)(1)
    assert plan_digest(HEADER._replace(**{name: other}), []) != plan_digest(HEADER, [])


def test_the_order_in_which_criteria_were_given_is_not_in_the_hash():
    turned = HEADER._replace(criteria=dict(reversed(HEADER.criteria.items())))
    assert plan_digest(turned, []) == plan_digest(HEADER, [])


@given(st.lists(plan_lines(), max_size=30))
def test_the_blast_radius_adds_up(lines):
    adding = Adding()
    for line in lines:
        adding.add(line)
    radius = adding.radius()
    changing = [line for line in lines if line.disposition in CHANGING]
    assert radius.selected.decisions == len(lines)
    assert radius.selected.customers == len({line.account_id for line in lines})
    assert radius.changing.decisions == len(changing)
    assert sum(share.decisions for share in radius.by_change.values()) == len(changing)
    assert sum(share.decisions for share in radius.by_disposition.values()) == len(lines)
    assert sum(radius.changing.amount_minor.values()) == sum(line.amount_minor for line in changing)
    assert radius.held_funds.decisions == sum(line.is_held for line in changing)
    assert radius_of(json.loads(json.dumps(radius_json(radius)))) == radius


@pytest.mark.parametrize("spoilt", [None, [], {}, {"selected": 1}, {"selected": {"decisions": "3"}}])
def test_what_is_no_blast_radius_is_refused(spoilt):
    with pytest.raises(ValueError, match="stored blast radius"):
        radius_of(spoilt)


@pytest.mark.parametrize("count", [True, 1.0, "1", None])
def test_a_blast_radius_counts_in_whole_numbers(count):
    stored = radius_json(Adding().radius())
    with pytest.raises(ValueError, match="no whole number"):
        radius_of({**stored, "changing": {"decisions": count, "customers": 0, "amount_minor": {}}})


changing_lines = st.builds(
    lambda line, change: line._replace(
        before=change[0], after=change[1], disposition=disposition(*change, is_reviewed=False)
    ),
    plan_lines(),
    st.sampled_from([pair for pair in itertools.product(Outcome, Outcome) if pair[0] is not pair[1]]),
)


@given(changing_lines)
def test_a_record_follows_from_plan_and_approval(line):
    record = reversal(HEADER, line, APPROVAL)
    assert record == reversal(HEADER, line, APPROVAL)
    assert record.reversal_id == reversal_id("plan-1", line.decision_id)
    assert (record.corrected_outcome is None) == (line.before is Outcome.BLOCK)
    assert (record.requested_by, record.approved_by) == ("rae", "abe")
    assert record.reason.startswith("the model blocked honest payments. Under model glass-good")


DECISION_ID = "6f9619ff-8b86-5011-b42d-00cf4fc964ff"
OTHER_ID = "7f9619ff-8b86-5011-b42d-00cf4fc964ff"
NOW_MS = HEADER.requested_at_ms + 1


def refusal(person=APPROVER, now_ms=NOW_MS, *, is_intact=True, is_approved=False, overtaken=0):
    return apply_refusal(HEADER, person, now_ms, is_intact=is_intact, is_approved=is_approved, overtaken=overtaken)


def test_two_people_are_needed():
    both = Person("rae", frozenset({Role.ROLLBACK_REQUESTER, Role.ROLLBACK_APPROVER}))
    assert refusal() is None
    assert refusal(both) is ApplyRefusal.OWN_PLAN
    assert refusal(both, is_approved=True) is ApplyRefusal.OWN_PLAN
    assert refusal(REQUESTER._replace(name="roy")) is ApplyRefusal.NOT_AUTHORISED
    assert plan_refusal(REQUESTER) is None
    assert plan_refusal(APPROVER) is not None


def test_an_altered_plan_is_refused_to_everybody_even_half_way():
    assert refusal(is_intact=False, is_approved=True) is ApplyRefusal.ALTERED


def test_an_expired_or_overtaken_plan_is_refused_but_what_was_begun_is_finished():
    assert refusal(now_ms=HEADER.expires_at_ms) is ApplyRefusal.EXPIRED
    assert refusal(overtaken=1) is ApplyRefusal.OVERTAKEN
    assert refusal(now_ms=HEADER.expires_at_ms, is_approved=True, overtaken=5) is None


def test_a_released_payment_is_the_same_payment_under_a_new_id():
    late = APPROVAL._replace(approved_at_ms=PAYMENT.event_time_ms + EVENT_TIME_KEPT_MS - 1)
    name = f"{PAYMENT.transaction_id}:r1-6f9619ff"
    assert released_payment(PAYMENT, DECISION_ID, late) == PAYMENT._replace(transaction_id=name)


def test_a_payment_whose_id_may_be_forgotten_is_asked_for_anew():
    later = APPROVAL._replace(approved_at_ms=PAYMENT.event_time_ms + EVENT_TIME_KEPT_MS)
    assert released_payment(PAYMENT, DECISION_ID, later).event_time_ms == later.approved_at_ms


@pytest.mark.parametrize("transaction_id", ["tx-1", "x" * 64])
def test_payments_that_share_an_id_are_given_back_under_different_ids(transaction_id):
    assert len({released_id(transaction_id, name) for name in (DECISION_ID, OTHER_ID)}) == 2


def test_a_released_id_says_which_decision_it_was():
    for name in ("tx-1", "tx-1:r3-00000000"):
        origin = origin_ids(released_id(name, DECISION_ID))
        assert origin.first <= DECISION_ID <= origin.last
        assert not origin.first <= OTHER_ID <= origin.last
    assert origin_ids("tx-1") is None
    assert origin_ids("tx-1:r1") is None


@given(st.from_regex(r"[A-Za-z0-9._:\-]{1,64}", fullmatch=True))
def test_a_released_id_is_new_and_can_be_a_transactions(name):
    seen = [name]
    for _ in range(3):
        seen.append(released_id(seen[-1], DECISION_ID))
    assert len(set(seen)) == len(seen)
    assert all(re.fullmatch(r"[A-Za-z0-9._:\-]{1,64}", each, re.ASCII) for each in seen)


def test_released_ids_count_up():
    names = [released_id(name, DECISION_ID) for name in ("tx-1", "tx-1:r1-00000000", "tx-1:r9-00000000")]
    assert names == ["tx-1:r1-6f9619ff", "tx-1:r2-6f9619ff", "tx-1:r10-6f9619ff"]
    assert released_id("x" * 62, DECISION_ID).startswith(
        ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "a", "b", "c", "d", "e", "f")
    )
