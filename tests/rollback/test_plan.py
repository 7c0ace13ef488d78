"""Plans from a real audit log: what is selected, what it would be under the good version, and what that touches."""

from __future__ import annotations

import hashlib
from uuid import uuid4

import psycopg
import pytest

from pipeline.decide.verdict import Mode
from pipeline.domain.decision import BreakerState, Outcome
from pipeline.domain.identities import ReviewId
from pipeline.replay.redecide import Basis, Good, RegimeMissing, Version
from pipeline.review.cases import EXPIRY
from pipeline.rollback.blast_radius import Change, Share
from pipeline.rollback.plan_store import read_lines, read_plan
from pipeline.rollback.planning_service import Criteria, Planner, PlanRefused, Request
from pipeline.rollback.reversal import plan_digest, released_id
from tests.archive import CLOSED, OPEN, payment
from tests.decisions import decision_of, reversal_of, review_of
from tests.records import NOON_MS
from tests.rollback.stand import TOPIC, WIRE

HOUR_MS = 3_600_000


@pytest.fixture
def planned(connection, archive):
    """Makes a plan and reads it back, with its lines."""

    def plan(criteria, good_model="small-1", *, basis=Basis.RECORDED, by="rae", policy=None):
        model = None if good_model is None else Version(good_model, archive.good.model.hash)
        request = Request(criteria, {"asked": "test"}, Good(model, policy, basis), "it went wrong", by)
        planner = Planner(connection, WIRE, archive.regime_of, TOPIC, HOUR_MS)
        made = planner.plan(request, str(uuid4()), NOON_MS)
        stored = read_plan(connection, made.header.plan_id)
        assert stored == made
        with connection.transaction():
            lines = list(read_lines(connection, made.header.plan_id))
        assert plan_digest(stored.header, lines) == stored.content_hash
        return stored, lines

    return plan


@pytest.fixture
def mixed(archive, audited):
    """40 honest payments that `blocks-all` blocked, 30 that the fallback answered, and 20 by the good model."""
    archive.decide_by("blocks-all")
    wrong = archive.values([payment(n, amount_minor=5_000) for n in range(40)], [CLOSED] * 40)
    fallback = archive.values([payment(n, amount_minor=5_000) for n in range(40, 70)], [OPEN] * 30)
    archive.decide_by("small-1")
    good = archive.values([payment(n, amount_minor=5_000) for n in range(70, 90)], [CLOSED] * 20)
    audited.append([*wrong, *fallback, *good])
    return wrong, fallback, good


def test_what_a_model_blocked_and_should_not_have_is_given_back(planned, mixed):
    plan, lines = planned(Criteria(model_version="blocks-all"))
    assert (plan.decisions, plan.changing, len(lines)) == (70, 40, 70)
    changing, rest = lines[:40], lines[40:]
    assert {(line.before, line.after, line.disposition) for line in changing} == {("BLOCK", "ALLOW", "RELEASE")}
    assert {(line.before, line.after, line.disposition) for line in rest} == {("ALLOW", "ALLOW", "UNCHANGED")}
    assert [line.decision_id for line in changing] == [decision_of(value).decision_id for value in mixed[0]]
    decoded = WIRE.decode_transaction(bytes.fromhex(changing[3].payment_hex))
    assert decoded.transaction == payment(3, amount_minor=5_000)
    assert {line.payment_hex for line in rest} == {""}
    radius = plan.blast_radius
    assert radius.changing == Share(40, 40, {"GBP": 200_000})
    assert radius.by_change == {Change(Outcome.BLOCK, Outcome.ALLOW): radius.changing}
    assert plan.audited_until == {"0": 90}


def test_what_a_model_allowed_and_should_not_have_is_reversed(planned, archive, audited):
    archive.decide_by("allows-all")
    values = archive.values([payment(n) for n in range(10)], [CLOSED] * 10, ip_fraud_reports=3)
    audited.append(values)
    _, lines = planned(Criteria(model_version="allows-all"))
    assert {(line.before, line.after, line.disposition) for line in lines} == {("ALLOW", "BLOCK", "REVERSE")}
    assert all("Blocked because" in line.why for line in lines)


def test_guardrails_of_the_good_policy_hold_whatever_the_model(planned, archive, audited):
    """A payment to a sanctioned country stays blocked under the best of models."""
    archive.decide_by("blocks-all")
    sanctioned = [payment(n, beneficiary_country="KP") for n in range(5)]
    audited.append(archive.values(sanctioned, [CLOSED] * 5))
    _, lines = planned(Criteria(model_version="blocks-all"), basis=Basis.CLOSED)
    assert {(line.before, line.after) for line in lines} == {("BLOCK", "BLOCK")}


def test_a_changed_policy_decides_with_its_own_limits(planned, archive, audited, tmp_path):
    audited.append(archive.values([payment(1, amount_minor=4_000_000)], [CLOSED]))
    [before] = planned(Criteria(model_version="small-1"))[1]
    text = (archive.policies / "default.toml").read_text()
    strict = text.replace("at_least = 5_000_001", "at_least = 1_000_001")
    assert strict != text
    (archive.policies / "strict.toml").write_text(strict)
    sha256 = hashlib.sha256(strict.encode()).digest()
    _, [line] = planned(Criteria(model_version="small-1"), None, policy=Version("strict", sha256))
    assert before.after != line.after == "BLOCK"
    assert "Blocked because" in line.why


def test_the_recorded_breaker_keeps_the_fallbacks_answers_and_closed_asks_the_model(planned, archive, audited):
    suspected = {"ip_fraud_reports": 2, "is_new_beneficiary": 1}  # enough for the model, not for the fallback
    answered = archive.values([payment(1, amount_minor=150_000)], [OPEN], **suspected)
    audited.append(answered)
    by_fallback = decision_of(answered[0]).outcome
    assert by_fallback != "BLOCK"
    _, [recorded] = planned(Criteria(route="FALLBACK"))
    _, [closed] = planned(Criteria(route="FALLBACK"), basis=Basis.CLOSED)
    assert (recorded.after, recorded.disposition) == (by_fallback, "UNCHANGED")
    assert closed.after == "BLOCK"


def test_a_half_open_payment_is_answered_by_who_answered_it(planned, archive, audited):
    half = [Mode(BreakerState.HALF_OPEN, "all", True), Mode(BreakerState.HALF_OPEN, "all", False)]
    archive.decide_by("blocks-all")
    audited.append(archive.values([payment(1, amount_minor=5_000), payment(2, amount_minor=5_000)], half))
    _, lines = planned(Criteria(model_version="blocks-all"))
    assert [(line.before, line.after) for line in lines] == [("BLOCK", "ALLOW"), ("ALLOW", "ALLOW")]


@pytest.mark.parametrize(
    ("criteria", "count"),
    [
        (Criteria(model_version="small-1"), 20),
        (Criteria(route="FALLBACK"), 30),
        (Criteria(outcome="BLOCK"), 40),
        (Criteria(policy_version="2026-11"), 90),
        (Criteria(since_ms=NOON_MS + 7, until_ms=NOON_MS + 8), 90),
        (Criteria(segment=("postcode_area", "SW")), 90),
        (Criteria(model_version="blocks-all", route="MODEL"), 40),
    ],
)
def test_criteria_select_together(planned, mixed, archive, criteria, count):
    if criteria.policy_version:
        criteria = criteria._replace(policy_version=archive.good.policy.version)
    assert planned(criteria)[0].decisions == count


@pytest.mark.parametrize(
    "criteria",
    [
        Criteria(model_version="unknown"),
        Criteria(since_ms=NOON_MS + 8),
        Criteria(until_ms=NOON_MS + 7),
        Criteria(segment=("postcode_area", "EC")),
        Criteria(rule="HARD_NONE"),
        Criteria(ids=("00000000-0000-5000-8000-000000000000",)),
    ],
)
def test_a_plan_about_nothing_is_refused(planned, mixed, criteria):
    with pytest.raises(PlanRefused, match="No decision"):
        planned(criteria)


def test_a_rule_and_a_list_select(planned, archive, audited):
    values = archive.values([payment(n, beneficiary_country="KP" if n < 3 else "GB") for n in range(8)], [CLOSED] * 8)
    audited.append(values)
    [rule] = decision_of(values[0]).rules_triggered
    assert planned(Criteria(rule=rule))[0].decisions == 3
    ids = tuple(decision_of(value).decision_id for value in values[2:5])
    assert [line.decision_id for line in planned(Criteria(ids=ids))[1]] == list(ids)


def test_everything_is_not_a_selection(planned, mixed):
    with pytest.raises(PlanRefused, match="Nothing says"):
        planned(Criteria())


def test_only_a_requester_plans_and_a_refused_plan_leaves_nothing(planned, mixed, connection):
    with pytest.raises(PlanRefused, match="ROLLBACK_REQUESTER"):
        planned(Criteria(model_version="blocks-all"), by="abe")
    assert connection.execute("SELECT count(*) FROM control.rollback_plan_decision").fetchone() == (0,)


def test_a_regime_that_is_gone_stops_the_plan(planned, mixed):
    with pytest.raises(RegimeMissing):
        planned(Criteria(model_version="blocks-all"), "no-such-model")


def reviewed(decision, outcome, by="ann"):
    return WIRE.encode(review_of(decision, Outcome(outcome), name=ReviewId(str(uuid4())), by=by))


def reversed_to(decision, corrected):
    return WIRE.encode(reversal_of(decision, corrected and Outcome(corrected), plan_id=str(uuid4())))


def test_what_people_decided_stands_and_what_was_reversed_counts_as_corrected(planned, archive, audited):
    archive.decide_by("blocks-all")
    values = archive.values([payment(n, amount_minor=5_000) for n in range(4)], [CLOSED] * 4)
    first, second, third, _ = map(decision_of, values)
    audited.append(values)
    audited.append([reviewed(first, "BLOCK"), reversed_to(second, "ALLOW"), reversed_to(third, None)])
    _, lines = planned(Criteria(model_version="blocks-all"))
    assert [(line.before, line.disposition) for line in lines] == [
        ("BLOCK", "REVIEWED"),
        ("ALLOW", "UNCHANGED"),
        (None, "GIVEN_BACK"),
        ("BLOCK", "RELEASE"),
    ]


def test_what_expired_was_decided_by_nobody_and_is_given_back(planned, archive, audited):
    """A model that escalates too much, and a queue that nobody got through: the customers are still owed an answer."""
    escalated = archive.values([payment(1, amount_minor=600_000)], [OPEN], is_new_beneficiary=1)
    decision = decision_of(escalated[0])
    audited.append([*escalated, reviewed(decision, "BLOCK", EXPIRY)])
    _, [line] = planned(Criteria(model_version="small-1"))
    assert (decision.outcome, line.before, line.after, line.disposition) == (
        "ESCALATE",
        "BLOCK",
        "ESCALATE",
        "RELEASE",
    )


def test_the_last_word_counts_of_review_and_reversal(planned, archive, audited):
    archive.decide_by("blocks-all")
    values = archive.values([payment(n, amount_minor=5_000) for n in range(2)], [CLOSED] * 2)
    first, second = map(decision_of, values)
    audited.append([*values, reviewed(first, "BLOCK"), reversed_to(first, "ESCALATE")])
    audited.append([reversed_to(second, "ESCALATE"), reviewed(second, "ALLOW")])
    _, lines = planned(Criteria(model_version="blocks-all"))
    assert [(line.before, line.disposition) for line in lines] == [("ESCALATE", "REVERSE"), ("ALLOW", "REVIEWED")]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE control.rollback_plan SET reason = 'other'",
        "DELETE FROM control.rollback_plan_decision",
        "TRUNCATE control.rollback_approval",
    ],
)
def test_a_plan_is_immutable_for_the_role_and_the_owner(planned, mixed, connection, owner, statement):
    planned(Criteria(model_version="blocks-all"))
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(statement)
    with pytest.raises(psycopg.errors.RestrictViolation):
        owner.execute(statement + (" CASCADE" if "TRUNCATE" in statement else ""))


def test_the_database_itself_refuses_own_approval_and_other_content(planned, mixed, connection):
    plan, _ = planned(Criteria(model_version="blocks-all"))
    for by, content in [("rae", plan.content_hash), ("abe", b"x" * 32)]:
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute(
                "INSERT INTO control.rollback_approval VALUES (%s, %s, now(), %s)", [plan.header.plan_id, by, content]
            )


def test_released_ids_of_a_plan_are_all_different(planned, mixed):
    _, lines = planned(Criteria(model_version="blocks-all"))
    assert len({released_id(line.transaction_id, line.decision_id) for line in lines}) == len(lines)
