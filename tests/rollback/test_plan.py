"""Plans from a real audit log: what is selected, what it would be under the good version, and what that touches."""

from __future__ import annotations

import hashlib
from uuid import uuid4

import psycopg
import pytest

from models.artefact.files import load
from pipeline.decide.feeds.feed import FeedKind, FeedName, parse_feed
from pipeline.decide.verdict import Mode
from pipeline.domain.decision import BreakerState, Outcome
from pipeline.domain.identities import review_id
from pipeline.execute.saga import Answer
from pipeline.replay.redecide import AS_RECORDED, Basis, Good, RegimeMissing, Version
from pipeline.review.cases import EXPIRY
from pipeline.rollback import plan_store, planning_service
from pipeline.rollback.blast_radius import Change, Share
from pipeline.rollback.derivation_store import Criteria, good_of
from pipeline.rollback.plan_content_store import PlanRefused
from pipeline.rollback.plan_store import read_lines, read_plan
from pipeline.rollback.planning_service import Planner, Request
from pipeline.rollback.reversal import plan_digest, regime_words, released_id
from tests.archive import CLOSED, OPEN, payment
from tests.decisions import decision_of, reversal_of, review_of, written
from tests.execute.given import name_of
from tests.known import identity
from tests.records import NOON_MS, feed_content
from tests.rollback.given import HEADER
from tests.rollback.stand import NOBODY_BEHIND, WIRE

HOUR_MS = 3_600_000


@pytest.fixture
def planned(connection, archive):
    """Makes a plan and reads it back, with its lines."""

    def plan(criteria, good_model="small-1", *, basis=Basis.RECORDED, by="rae", policy=None, feeds=(None, None)):
        folder = archive.registry / (good_model or "small-1")
        sha256 = load(folder).hash if folder.exists() else archive.good.model.hash
        model = None if good_model is None else Version(good_model, sha256)
        request = Request(
            criteria, {"asked": "test"}, Good(model, policy, basis, *feeds), "it went wrong", identity(by)
        )
        planner = Planner(connection, WIRE, archive.regime_of, NOBODY_BEHIND, HOUR_MS)
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


def test_what_a_wrong_feed_allowed_is_taken_back_under_the_good_one(planned, archive, audited):
    """A list of sanctions came late: payments to a country that was under sanctions by then were allowed."""
    paid = [payment(n, amount_minor=5_000, beneficiary_country="DE" if n < 3 else "GB") for n in range(5)]
    audited.append(archive.values(paid, [CLOSED] * 5))
    known = feed_content(FeedKind.SANCTIONS).decode()
    listed = known.replace(
        "sanctioned_countries = [", 'sanctioned_countries = [\n{ country = "DE", from = 2020-01-01 },', 1
    )
    assert listed != known
    (archive.policies / "listed.toml").write_text(listed)
    feed = parse_feed(listed.encode())
    name = FeedName(feed.version, feed.sha256)
    stored, lines = planned(Criteria(model_version="small-1"), None, feeds=(None, name))
    assert [("BLOCK", "REVERSE")] * 3 + [("ALLOW", "UNCHANGED")] * 2 == [
        (line.after, line.disposition) for line in lines
    ]
    assert {"sanctions": f"{feed.sha256.hex()} {feed.version}"} == stored.header.good_feeds
    assert Good(None, None, Basis.RECORDED, None, name) == good_of(stored.header)
    named = regime_words(AS_RECORDED, AS_RECORDED, stored.header.good_feeds)
    assert named == f"model as recorded and policy as recorded, with sanctions {feed.version}"
    assert "under sanctions" in lines[0].why


@pytest.mark.parametrize(
    "feeds", [{"sanctions": "zz v"}, {"weather": f"{'0' * 64} v"}, {"sanctions": 7}, ["sanctions"], None]
)
def test_a_header_whose_feeds_cannot_be_read_is_refused(feeds):
    with pytest.raises(PlanRefused):
        good_of(HEADER._replace(good_model_hash="00" * 32, good_feeds=feeds))


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


def test_no_more_is_sorted_than_a_plan_may_hold(planned, mixed, connection, monkeypatch):
    """A version decides millions a day, and the sort of them all was written to the database's disk."""
    for module in (plan_store, planning_service):
        monkeypatch.setattr(module, "SELECTED_MAX", 5)
    with pytest.raises(PlanRefused, match="over 5 decisions"):
        planned(Criteria(model_version="blocks-all"))
    with connection.transaction():
        found = list(plan_store.select_decisions(connection, Criteria(model_version="blocks-all").columns()))
    assert sum(map(len, found)) == 6


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


def reviewed(decision, outcome, by="ann", review_round=1):
    return review_of(decision, Outcome(outcome), name=review_id(decision.decision_id, review_round), by=by)


def reversed_to(decision, corrected, after=None):
    replaces = None if after is None else name_of(after)
    return reversal_of(decision, corrected and Outcome(corrected), plan_id=str(uuid4()), replaces=replaces)


def told(audited, *records):
    audited.append([WIRE.encode(record) for record in records])


def escalated_by(archive, audited, numbers):
    """Decisions that the fallback escalates, as small-1 would too; they are held."""
    payments = [payment(n, amount_minor=600_000) for n in numbers]
    values = archive.values(payments, [OPEN] * len(payments), is_new_beneficiary=1)
    decisions = [decision_of(value) for value in values]
    assert {each.outcome for each in decisions} == {"ESCALATE"}
    audited.append(values)
    return decisions


def test_what_people_decided_stands_and_what_was_reversed_counts_as_the_ledger_has_it(planned, archive, audited):
    first, second, third, fourth = escalated_by(archive, audited, range(4))
    told(audited, reviewed(first, "BLOCK"), reversed_to(second, "ALLOW"), reversed_to(third, None))
    _, lines = planned(Criteria(route="FALLBACK"))
    assert [(line.before, line.disposition, line.state) for line in lines] == [
        ("BLOCK", "REVIEWED", "REFUSED"),
        ("ALLOW", "REVERSE", "SETTLED"),
        (None, "GIVEN_BACK", "RELEASED"),
        ("ESCALATE", "UNCHANGED", "HELD"),
    ]
    assert lines[3].replaces_id == fourth.decision_id


def test_what_expired_was_decided_by_nobody_and_is_given_back(planned, archive, audited):
    """A model that escalates too much, and a queue that nobody got through: the customers are still owed an answer."""
    [decision] = escalated_by(archive, audited, [1])
    expired = reviewed(decision, "BLOCK", EXPIRY)
    told(audited, expired)
    _, [line] = planned(Criteria(model_version="small-1"))
    assert (line.before, line.after, line.disposition) == ("BLOCK", "ESCALATE", "RELEASE")
    assert (line.replaces_kind, line.replaces_id) == ("REVIEW", expired.review_id)


def test_an_outcome_whose_author_the_audit_log_does_not_know_stands(planned, archive, audited, owner):
    """Unknown is taken for a person."""
    [decision] = escalated_by(archive, audited, [1])
    told(audited, reviewed(decision, "BLOCK", EXPIRY))
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute("DELETE FROM audit.review_log")
    assert planned(Criteria(model_version="small-1"))[1][0].disposition == "REVIEWED"


def test_the_last_word_that_replaces_the_one_before_it_counts(planned, archive, audited):
    first, second = escalated_by(archive, audited, range(2))
    blocked, once_more = reviewed(first, "BLOCK"), reversed_to(second, "ESCALATE")
    told(audited, blocked, reversed_to(first, "ALLOW"))  # the reversal knew nothing of the review
    told(audited, once_more, reviewed(second, "ALLOW"), reviewed(second, "ALLOW", review_round=2))
    _, lines = planned(Criteria(route="FALLBACK"))
    assert [(line.before, line.disposition) for line in lines] == [("BLOCK", "REVIEWED"), ("ALLOW", "REVIEWED")]


def test_a_decided_case_that_is_not_on_the_topic_yet_stands(planned, archive, audited, owner):
    first, second, third = escalated_by(archive, audited, range(3))
    for decision, kind in ((first, "DECIDED"), (second, "EXPIRED"), (third, "CLAIMED")):
        file_case(owner, decision, kind)
    archive.decide_by("small-1")
    _, lines = planned(Criteria(route="FALLBACK"))
    assert [(line.disposition, line.is_in_review) for line in lines] == [
        ("REVIEWED", False),
        ("UNSETTLED", False),
        ("UNCHANGED", True),
    ]


def file_case(owner, decision, kind):
    """A case with one event after its opening, which nobody signed: a plan looks at the rows."""
    with owner.transaction():
        owner.execute("SET LOCAL session_replication_role = replica")
        insert_case(owner, decision, kind)


def insert_case(owner, decision, kind):
    owner.execute(
        """INSERT INTO review.review_case (decision_id, round, review_id, cause_id, transaction_id, account_id,
            currency, amount_minor, amount_gbp_minor, summary, opened_at, expires_at, topic_partition, topic_offset)
        VALUES (%s, 1, %s, %s, %s, %s, 'GBP', 1, 1, 'why', now(), now() + interval '1 hour', 0, 0)""",
        [
            decision.decision_id,
            review_id(decision.decision_id, 1),
            decision.decision_id,
            decision.transaction_id,
            decision.account_id,
        ],
    )
    is_judged = kind in ("DECIDED", "EXPIRED")
    for sequence, each in enumerate(["OPENED", kind], start=1):
        judged = ("BLOCK", "because") if each == kind and is_judged else (None, None)
        owner.execute(
            """INSERT INTO review.case_event (decision_id, round, sequence, kind, actor, at, outcome, reason,
                claimed_until) VALUES (%s, 1, %s, %s, 'ann', now(), %s, %s, %s)""",
            [decision.decision_id, sequence, each, *judged, "2030-01-01" if each == "CLAIMED" else None],
        )


class Recalls:
    """A rail whose answer to every recall the test sets."""

    def __init__(self, desk, monkeypatch):
        self.answer = Answer.REFUSED
        monkeypatch.setattr(desk.rail, "recall", lambda recalls, **_: dict.fromkeys(self.keys(recalls), self.answer))

    @staticmethod
    def keys(recalls):
        return [each if isinstance(each, str) else each[0] for each in recalls]


def allowed_by_a_wrong_model(archive, audited, count=1):
    archive.decide_by("allows-all")
    values = archive.values([payment(n) for n in range(count)], [CLOSED] * count, ip_fraud_reports=3)
    audited.append(values)
    return [decision_of(value) for value in values]


def test_a_payment_whose_recall_failed_is_paid_and_never_taken_for_blocked(planned, archive, audited, monkeypatch):
    """Finding 1: a rollback of the rollback would have released and published it, and it would have been paid twice."""
    [decision] = allowed_by_a_wrong_model(archive, audited)
    Recalls(audited.desk, monkeypatch)
    undone = reversed_to(decision, "BLOCK")
    told(audited, undone)
    assert audited.desk.state(decision) == "SETTLED"
    _, [again] = planned(Criteria(model_version="allows-all"))
    assert (again.before, again.after, again.disposition, again.state) == ("ALLOW", "BLOCK", "REVERSE", "SETTLED")
    assert (again.replaces_kind, again.replaces_id) == ("REVERSAL", undone.reversal_id)
    _, [back] = planned(Criteria(model_version="allows-all"), "allows-all")
    assert (back.before, back.after, back.disposition, back.payment_hex) == ("ALLOW", "ALLOW", "REVERSE", "")


@pytest.mark.parametrize("good", ["small-1", "allows-all"])
def test_what_is_in_doubt_is_left(planned, archive, audited, monkeypatch, good):
    [decision] = allowed_by_a_wrong_model(archive, audited)
    Recalls(audited.desk, monkeypatch).answer = Answer.UNKNOWN
    told(audited, reversed_to(decision, "BLOCK"))
    assert audited.desk.state(decision) == "RECALL_IN_DOUBT"
    _, [line] = planned(Criteria(model_version="allows-all"), good)
    assert (line.before, line.disposition, line.state) == (None, "UNSETTLED", "RECALL_IN_DOUBT")


@pytest.mark.parametrize("good", ["small-1", "blocks-all"])
def test_what_failed_for_want_of_funds_is_neither_released_nor_paid(planned, archive, audited, owner, good):
    """The customer was told that it was not made, and a good model's ALLOW doesn't make it after all."""
    archive.decide_by("small-1")
    poor = payment(49, amount_minor=5_000)._replace(account_id="GB29-0777", account_time_zone="Etc/GMT")
    audited._funded.add("GB29-0777")
    [value] = archive.values([poor], [CLOSED])
    audited.append([value])
    assert audited.desk.reason(decision_of(value)) == "ACCOUNT_NOT_OPEN"
    _, [line] = planned(Criteria(model_version="small-1"), good)
    assert (line.before, line.disposition, line.state) == ("BLOCK", "NOT_MADE", "REFUSED")


def test_a_second_decision_on_a_payment_is_left(planned, archive, audited):
    """Its payment is executed as the first one says."""
    archive.decide_by("blocks-all")
    [value] = archive.values([payment(1, amount_minor=5_000)], [CLOSED])
    second = decision_of(value)._replace(decision_id=str(uuid4()))
    audited.append([value, written(second)])
    _, lines = planned(Criteria(model_version="blocks-all"))
    assert [line.disposition for line in lines] == ["RELEASE", "NOT_EXECUTED"]


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
