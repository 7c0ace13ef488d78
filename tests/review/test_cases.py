import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.decision import Outcome
from pipeline.domain.features import NONE
from pipeline.people.roles import Person, Role
from pipeline.review.cases import (
    EXPIRY,
    TRANSITIONS,
    UNOPENED,
    Authors,
    CaseEvent,
    Judgement,
    Kind,
    ReviewRefusal,
    State,
    advanced,
    authors,
    claim,
    expiry,
    judge,
    opening,
    publication,
    release,
    rule_fault,
    standing,
    voiding,
    withdrawal,
)
from tests.records import NOON_MS
from tests.review.given import (
    ALLOW,
    ANN,
    BEN,
    BLOCK,
    EVE,
    HOUR_MS,
    LARGE,
    RULES,
    SMALL,
    SUE,
    after,
    claimed,
    opened,
    proposed,
)

SOON_MS = NOON_MS + 5


def test_table_is_exactly_this():
    expected = """
        NEW OPENED OPEN,
        OPEN CLAIMED CLAIMED, OPEN EXPIRED DECIDED, OPEN WITHDRAWN CLOSED,
        CLAIMED CLAIMED CLAIMED, CLAIMED RELEASED OPEN, CLAIMED PROPOSED PROPOSED, CLAIMED DECIDED DECIDED,
        CLAIMED EXPIRED DECIDED, CLAIMED WITHDRAWN CLOSED,
        PROPOSED DECLINED OPEN, PROPOSED DECIDED DECIDED, PROPOSED EXPIRED DECIDED, PROPOSED WITHDRAWN CLOSED,
        DECIDED WITHDRAWN CLOSED, DECIDED PUBLISHED CLOSED,
        CLAIMED VOIDED OPEN, PROPOSED VOIDED OPEN, DECIDED VOIDED OPEN
    """
    table = {tuple(words.split()) for words in expected.split(",")}
    assert {(*key, value) for key, value in TRANSITIONS.items()} == table


def test_missing_key_is_a_bug():
    for state in State:
        for kind in Kind:
            if (state, kind) not in TRANSITIONS:
                with pytest.raises(AssertionError, match="no transition"):
                    advanced(UNOPENED._replace(state=state), CaseEvent(1, kind, "ann", NOON_MS))


def test_a_gap_in_a_cases_events_is_a_bug():
    with pytest.raises(AssertionError, match="no gaps"):
        standing([opening(SMALL), CaseEvent(3, Kind.CLAIMED, "ann", NOON_MS)])


def test_one_person_decides_a_small_case():
    at = claimed()
    at = after(at, judge(SMALL, at, ANN, BLOCK, SOON_MS, RULES))
    assert (at.state, at.last.outcome, at.last.reason) == (State.DECIDED, Outcome.BLOCK, BLOCK.reason)
    assert authors(at) == Authors("ann", None)


@pytest.mark.parametrize("amount_gbp_minor", [RULES.four_eyes_gbp_minor, NONE])
def test_two_people_decide_a_large_case_or_one_of_unknown_worth(amount_gbp_minor):
    case = SMALL._replace(amount_gbp_minor=amount_gbp_minor)
    at = proposed(case)
    assert at.state is State.PROPOSED
    assert judge(case, at, ANN, ALLOW, SOON_MS, RULES) is ReviewRefusal.OWN_PROPOSAL
    assert judge(case, at, BEN, ALLOW, SOON_MS, RULES) is ReviewRefusal.NOT_SENIOR
    at = after(at, judge(case, at, SUE, ALLOW, SOON_MS, RULES))
    assert (at.state, authors(at)) == (State.DECIDED, Authors("ann", "sue"))


def test_a_penny_below_the_four_eyes_amount_one_decides():
    case = SMALL._replace(amount_gbp_minor=RULES.four_eyes_gbp_minor - 1)
    assert proposed(case).state is State.DECIDED


def test_disagreement_opens_the_case_again():
    at = proposed()
    at = after(at, judge(LARGE, at, SUE, BLOCK, SOON_MS, RULES))
    assert (at.state, at.first, at.last) == (State.OPEN, None, None)


def test_a_claim_is_exclusive_until_it_lapses():
    at = claimed(by=ANN)
    lapsed_ms = at.first.claimed_until_ms
    assert claim(SMALL, at, BEN, lapsed_ms - 1, RULES) is ReviewRefusal.CLAIMED_BY_ANOTHER
    assert judge(SMALL, at, BEN, BLOCK, lapsed_ms - 1, RULES) is ReviewRefusal.CLAIMED_BY_ANOTHER
    assert release(SMALL, at, BEN, lapsed_ms - 1) is ReviewRefusal.CLAIMED_BY_ANOTHER
    assert judge(SMALL, at, ANN, BLOCK, lapsed_ms, RULES) is ReviewRefusal.NOT_CLAIMED
    taken = after(at, claim(SMALL, at, BEN, lapsed_ms, RULES))
    assert taken.first.actor == "ben"
    assert judge(SMALL, taken, ANN, BLOCK, lapsed_ms + 1, RULES) is ReviewRefusal.CLAIMED_BY_ANOTHER


def test_a_claim_given_back_can_be_taken():
    at = claimed(by=ANN)
    at = after(at, release(SMALL, at, ANN, SOON_MS))
    assert at.state is State.OPEN
    assert after(at, claim(SMALL, at, BEN, SOON_MS, RULES)).first.actor == "ben"


def test_a_case_is_claimed_before_it_is_decided():
    assert judge(SMALL, opened(), ANN, BLOCK, SOON_MS, RULES) is ReviewRefusal.NOT_CLAIMED
    assert release(SMALL, opened(), ANN, SOON_MS) is ReviewRefusal.NOT_CLAIMED


@pytest.mark.parametrize("stranger", [EVE, Person("nobody", frozenset())])
def test_only_reviewers_act(stranger):
    assert claim(SMALL, opened(), stranger, SOON_MS, RULES) is ReviewRefusal.NOT_AUTHORISED
    assert judge(LARGE, proposed(), stranger, ALLOW, SOON_MS, RULES) is ReviewRefusal.NOT_AUTHORISED


def test_a_claim_counts_no_more_when_the_role_is_gone():
    assert judge(SMALL, claimed(), Person("ann", frozenset()), BLOCK, SOON_MS, RULES) is ReviewRefusal.NOT_AUTHORISED


@pytest.mark.parametrize(
    ("reason", "refusal"),
    [
        ("ok", ReviewRefusal.REASON_TOO_SHORT),
        (" " * 50, ReviewRefusal.REASON_TOO_SHORT),
        ("\u0301" * 25, ReviewRefusal.REASON_TOO_SHORT),
        ("." * 25, ReviewRefusal.REASON_TOO_SHORT),
        ("\u200b" * 25, ReviewRefusal.REASON_HIDDEN),
        ("I have called \x1b[2Jthe customer.", ReviewRefusal.REASON_HIDDEN),
        ("x" * 4001, ReviewRefusal.REASON_TOO_LONG),
    ],
)
def test_a_reason_is_written(reason, refusal):
    assert judge(SMALL, claimed(), ANN, Judgement(Outcome.BLOCK, reason), SOON_MS, RULES) is refusal


def test_what_is_proposed_is_answered_not_claimed_or_released():
    assert claim(LARGE, proposed(), SUE, SOON_MS, RULES) is ReviewRefusal.AWAITS_SECOND
    assert release(LARGE, proposed(), ANN, SOON_MS) is ReviewRefusal.AWAITS_SECOND


@pytest.mark.parametrize("at", [opened(), claimed(), proposed()])
def test_expiry_is_block_and_nothing_is_taken_from_people_from_then_on(at):
    due_ms = SMALL.expires_at_ms
    assert expiry(SMALL, at, due_ms - 1) is None
    event = expiry(SMALL, at, due_ms)
    assert (event.outcome, event.actor, event.kind) == (Outcome.BLOCK, EXPIRY, Kind.EXPIRED)
    assert judge(SMALL, at, SUE, ALLOW, due_ms, RULES) is ReviewRefusal.EXPIRED
    ended = after(at, event)
    assert authors(ended) == Authors(EXPIRY, None)
    assert expiry(SMALL, ended, due_ms + 1) is None


def test_a_claim_ends_with_the_case():
    late_ms = SMALL.expires_at_ms - 1
    event = claim(SMALL, opened(), ANN, late_ms, RULES)
    assert event.claimed_until_ms == SMALL.expires_at_ms


@pytest.mark.parametrize("at", [opened(), claimed(), proposed()])
def test_a_withdrawn_case_takes_and_publishes_nothing(at):
    closed = after(at, withdrawal(at, "reversed", SOON_MS))
    assert closed.state is State.CLOSED
    assert judge(SMALL, closed, SUE, ALLOW, SOON_MS, RULES) is ReviewRefusal.ALREADY_DECIDED
    assert (publication(closed, SOON_MS), withdrawal(closed, "again", SOON_MS)) == (None, None)


def test_an_outcome_is_published_once():
    at = claimed()
    at = after(at, judge(SMALL, at, ANN, BLOCK, SOON_MS, RULES))
    closed = after(at, publication(at, SOON_MS))
    assert (closed.state, publication(closed, SOON_MS)) == (State.CLOSED, None)


PEOPLE = [ANN, BEN, SUE, EVE, Person("rob", frozenset({Role.REVIEWER, Role.SENIOR_REVIEWER}))]
acts = st.lists(
    st.tuples(
        st.sampled_from(["claim", "release", "allow", "block", "expire", "withdraw", "void"]),
        st.sampled_from(PEOPLE),
        st.integers(0, 3 * HOUR_MS),
    ),
    max_size=25,
)
cases = st.sampled_from([SMALL, LARGE, SMALL._replace(amount_gbp_minor=NONE)])


def act(case, at, name, person, now_ms):
    match name:
        case "claim":
            return claim(case, at, person, now_ms, RULES)
        case "release":
            return release(case, at, person, now_ms)
        case "expire":
            return expiry(case, at, now_ms)
        case "withdraw":
            return withdrawal(at, "reversed", now_ms)
        case "void":
            return voiding(at, "forged", now_ms)
    return judge(case, at, person, ALLOW if name == "allow" else BLOCK, now_ms, RULES)


def walked(case, acts):
    """The events that were accepted, each with the standing before it."""
    at, now_ms, path = opened(case), NOON_MS, []
    for name, person, later_ms in acts:
        now_ms += later_ms
        event = act(case, at, name, person, now_ms)
        if isinstance(event, CaseEvent):
            path.append((at, event))
            at = advanced(at, event)
    return path


@given(cases, acts)
def test_a_round_has_at_most_one_outcome_that_counts(case, acts):
    standing_now = 0
    for before, event in walked(case, acts):
        standing_now += event.kind in (Kind.DECIDED, Kind.EXPIRED)
        standing_now -= event.kind is Kind.VOIDED and before.state is State.DECIDED
        assert standing_now <= 1


@given(cases, acts)
def test_what_the_rules_let_happen_is_as_the_rules_ask_when_it_is_looked_at_again(case, acts):
    for before, event in walked(case, acts):
        assert rule_fault(case, advanced(before, event), RULES) is None


def test_an_outcome_that_broke_the_rules_is_found_whoever_stored_it():
    large, small = claimed(LARGE), claimed()
    decided = CaseEvent(3, Kind.DECIDED, "ann", SOON_MS, Outcome.ALLOW, "because")
    assert rule_fault(LARGE, advanced(large, decided), RULES) == "two people must decide it"
    assert rule_fault(SMALL, advanced(small, decided), RULES) is None
    assert rule_fault(SMALL, advanced(small, decided._replace(actor="ben")), RULES) is not None
    late = decided._replace(at_ms=SMALL.expires_at_ms)
    assert rule_fault(SMALL, advanced(small, late), RULES) == "the case had expired"
    own = decided._replace(sequence=4, actor="ANN")
    assert rule_fault(LARGE, advanced(proposed(), own), RULES) is not None
    other = decided._replace(sequence=4, actor="sue", outcome=Outcome.BLOCK)
    assert rule_fault(LARGE, advanced(proposed(), other), RULES) is not None


@given(cases, acts)
def test_an_outcome_of_people_has_two_authors_where_it_must(case, acts):
    for before, event in walked(case, acts):
        if event.kind is Kind.DECIDED:
            first, second = authors(advanced(before, event))
            assert (second is None) == (case is SMALL)
            assert second is None or (second != first and second in ("sue", "rob"))


@given(cases, acts)
def test_while_a_claim_lives_nobody_else_claims_or_judges(case, acts):
    for before, event in walked(case, acts):
        is_live = before.state is State.CLAIMED and event.at_ms < before.first.claimed_until_ms
        if is_live and event.kind in (Kind.CLAIMED, Kind.PROPOSED, Kind.DECIDED, Kind.RELEASED):
            assert event.actor == before.first.actor


@given(cases, acts)
def test_from_its_expiry_on_nothing_of_people_happens(case, acts):
    for _, event in walked(case, acts):
        if event.at_ms >= case.expires_at_ms:
            assert event.kind in (Kind.EXPIRED, Kind.WITHDRAWN, Kind.VOIDED)
