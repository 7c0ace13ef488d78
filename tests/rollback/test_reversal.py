import itertools
import json
import re
from collections.abc import Mapping

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
    Heard,
    Place,
    ReleaseEnd,
    apply_refusal,
    disposition,
    header_bytes,
    header_of,
    line_bytes,
    line_of,
    origin_ids,
    outcome_before,
    plan_digest,
    plan_refusal,
    release_end,
    released_id,
    released_payment,
    reversal,
)
from tests.records import PAYMENT
from tests.rollback.given import (
    APPROVAL,
    APPROVER,
    HEADER,
    REQUESTER,
    outcomes,
    plan_lines,
    standing,
    standings,
)

MADE = {"PAID": "ALLOW", "HELD": "ESCALATE", "UNPAID": "BLOCK"}


def test_dispositions_are_exactly_these():
    """Where the ledger did as the outcome in force says."""
    changes = {
        (word, after): disposition(standing(Place(place), Outcome(word)), after)
        for (place, word), after in itertools.product(MADE.items(), Outcome)
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


@given(standings, st.none() | outcomes)
def test_a_payment_is_published_anew_only_where_it_was_stopped_and_nothing_of_it_is_out(stands, after):
    """Invariants 1 and 6: whatever the outcome in force says, what is paid, held or unknown is never released."""
    if disposition(stands, after) is Disposition.RELEASE:
        assert (stands.place, stands.outcome, stands.is_reviewed) == (Place.UNPAID, Outcome.BLOCK, False)
        assert after in (Outcome.ALLOW, Outcome.ESCALATE)


@given(standings, st.none() | outcomes)
def test_what_changes_differs_in_the_ledger_or_in_its_word(stands, after):
    if disposition(stands, after) in CHANGING:
        before = outcome_before(stands)
        assert None not in (before, after)
        assert after is not before or after is not stands.outcome


@pytest.mark.parametrize("place", [Place.PAID, Place.HELD, Place.UNPAID, Place.PARTLY_PAID])
@given(st.none() | outcomes, st.none() | outcomes)
def test_what_a_person_decided_stands(place, outcome, after):
    assert disposition(standing(place, outcome, is_reviewed=True), after) is Disposition.REVIEWED


@pytest.mark.parametrize(
    ("place", "left"),
    [
        (Place.UNKNOWN, Disposition.NOT_EXECUTED),
        (Place.UNDER_WAY, Disposition.UNSETTLED),
        (Place.RELEASED, Disposition.GIVEN_BACK),
    ],
)
@given(standings, st.none() | outcomes)
def test_what_nobody_knows_and_what_was_given_back_is_no_business_of_a_plan(place, left, stands, after):
    assert disposition(stands._replace(place=place), after) is left


@pytest.mark.parametrize(("place", "left"), [(Place.PARTLY_PAID, "RECOVERING"), (Place.UNPAID, "NOT_MADE")])
@given(st.none() | st.sampled_from([Outcome.ALLOW, Outcome.ESCALATE]), st.none() | outcomes)
def test_what_failed_otherwise_or_is_with_a_person_is_left(place, left, outcome, after):
    assert disposition(standing(place, outcome), after) == left


@pytest.mark.parametrize("word", [Outcome.BLOCK, Outcome.ESCALATE, None])
def test_a_payment_whose_recall_failed_is_paid_whatever_was_asked_for(word):
    """Invariant 1. It is made right by a reversal in each direction, and never by paying it again."""
    found = {after: disposition(standing(Place.PAID, word), after) for after in Outcome}
    assert set(found.values()) == {Disposition.REVERSE}


HEARD = {
    (True, True, Place.RELEASED): "OVERTAKEN",
    (True, False, Place.UNDER_WAY): "OVERTAKEN",
    (False, True, Place.RELEASED): "PUBLISHED",
    (False, True, Place.UNDER_WAY): None,
    (False, False, Place.UNDER_WAY): None,
    (False, False, Place.RELEASED): "OVERTAKEN",
    (False, False, Place.PAID): "OVERTAKEN",
    **{(False, True, place): "NOT_RECALLED" for place in (Place.PAID, Place.PARTLY_PAID, Place.HELD, Place.UNPAID)},
}


@pytest.mark.parametrize(("heard", "ending"), HEARD.items())
def test_the_ledgers_word_ends_a_release(heard, ending):
    assert release_end(Heard(*heard)) == ending


def test_only_what_the_ledger_released_for_this_reversal_is_published():
    """Two-phase release: not heard yet, ignored, under way, or released by another record is no reason to publish."""
    assert release_end(None) is None
    for heard in itertools.product([True, False], [True, False], Place):
        if release_end(Heard(*heard)) is ReleaseEnd.PUBLISHED:
            assert heard == (False, True, Place.RELEASED)


@given(st.lists(plan_lines(), max_size=5))
def test_a_plan_reads_back_from_its_canonical_bytes(lines):
    assert header_of(header_bytes(HEADER)) == HEADER
    assert [line_of(line_bytes(line)) for line in lines] == lines
    assert all(line_bytes(line).count(b"\n") == 1 for line in lines)


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
    other = {"model": "other"} if isinstance(value, Mapping) else value + type(value)(1)
    assert plan_digest(HEADER._replace(**{name: other}), []) != plan_digest(HEADER, [])


def test_a_header_that_names_no_feeds_has_the_bytes_that_it_had_before_feeds_could_be_named():
    assert len(json.loads(header_bytes(HEADER))) == len(HEADER) - 1
    fed = HEADER._replace(good_feeds={"sanctions": f"{'0' * 64} v"})
    assert (header_of(header_bytes(HEADER)), header_of(header_bytes(fed))) == (HEADER, fed)


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


CHANGES = [
    (place, Outcome(word), after)
    for (place, word), after in itertools.product(MADE.items(), Outcome)
    if word != after.value
]
changing_lines = st.builds(
    lambda line, change: line._replace(
        before=change[1],
        after=change[2],
        disposition=disposition(standing(Place(change[0]), change[1]), change[2]),
    ),
    plan_lines(),
    st.sampled_from(CHANGES),
)
DIGEST = bytes(range(32))


@given(changing_lines)
def test_a_record_follows_from_plan_and_approval(line):
    record = reversal(HEADER, DIGEST, line, APPROVAL)
    assert record == reversal(HEADER, DIGEST, line, APPROVAL)
    assert (record.replaces, record.plan_digest) == ((line.replaces_kind, line.replaces_id), DIGEST.hex())
    assert record.reversal_id == reversal_id("plan-1", line.decision_id)
    assert (record.corrected_outcome is None) == (line.before is Outcome.BLOCK)
    assert (record.requested_by, record.approved_by) == ("rae", "abe")
    assert record.reason.startswith("the model blocked honest payments. Under model glass-good")


DECISION_ID = "6f9619ff-8b86-5011-b42d-00cf4fc964ff"
OTHER_ID = "7f9619ff-8b86-5011-b42d-00cf4fc964ff"
NOW_MS = HEADER.requested_at_ms + 1


def refusal(person=APPROVER, now_ms=NOW_MS, *, is_intact=True, is_proved=True, is_approved=False, overtaken=0):
    facts = {"is_intact": is_intact, "is_proved": is_proved, "is_approved": is_approved, "overtaken": overtaken}
    return apply_refusal(HEADER, person, now_ms, **facts)


def test_two_people_are_needed():
    both = Person("rae", frozenset({Role.ROLLBACK_REQUESTER, Role.ROLLBACK_APPROVER}))
    assert refusal() is None
    assert refusal(both) is ApplyRefusal.OWN_PLAN
    assert refusal(both, is_approved=True) is ApplyRefusal.OWN_PLAN
    assert refusal(both._replace(name="RAE")) is ApplyRefusal.OWN_PLAN
    assert refusal(is_proved=False) is ApplyRefusal.UNPROVED
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
