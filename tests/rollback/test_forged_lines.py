"""Plans that their maker wrote by herself, with her own key and the rollback role's credential: what is signed is not
true, and another person would approve it."""

from __future__ import annotations

from uuid import uuid4

import pytest

from pipeline.domain.decision import Outcome
from pipeline.people.act_store import read_registry, sign_act
from pipeline.rollback import plan_content_store
from pipeline.rollback.acts import planned
from pipeline.rollback.blast_radius import radius_of_lines
from pipeline.rollback.derivation_store import Differing
from pipeline.rollback.plan_content_store import ContentWriter, PlanRefused
from pipeline.rollback.plan_store import StoredPlan, begin_plan, copy_lines, insert_plan, read_approval, read_plan
from pipeline.rollback.report_store import read_report
from pipeline.rollback.reversal import ApplyRefusal, Disposition
from tests.known import identity
from tests.rollback.scene import Scene
from tests.rollback.stand import WIRE


@pytest.fixture
def scene(stack, database_url, owner, connection, archive, desk, tmp_path):
    return Scene(stack, database_url, owner, connection, archive, tmp_path / "audit", desk, blocked=3, allowed=3)


def forge(scene, lines, radius=None, **header):
    """The id of a plan that rae wrote without the planner; its digest and act are in order."""
    connection, made = scene.connection, read_plan(scene.connection, scene.plan_id)
    header = made.header._replace(plan_id=str(uuid4()), **header)
    with connection.transaction():
        begin_plan(connection)
        content = ContentWriter(connection, header)
        copy_lines(connection, header.plan_id, 0, lines)
        content.add(lines)
        changing = sum(line.disposition in ("REVERSE", "RELEASE") for line in lines)
        expected = planned(header, content.digest(), len(lines), changing)
        act = sign_act(connection, identity("rae"), expected.kind, expected.subject, read_registry(connection))
        sums = radius or radius_of_lines(lines)
        insert_plan(
            connection,
            StoredPlan(header, made.audited_until, len(lines), changing, sums, content.digest(), act),
        )
    return header.plan_id


def refused(scene, plan_id):
    """The answer to whoever would approve the plan; nothing came of it."""
    answer = scene.apply(plan_id=plan_id)
    assert read_approval(scene.connection, plan_id) is None
    assert scene.news("decisions.v1") == scene.news("transactions.v1") == []
    return answer


def released(scene):
    return next(line for line in scene.lines() if line.disposition == "RELEASE")


def paid(line):
    return WIRE.decode_transaction(bytes.fromhex(line.payment_hex)).transaction


@pytest.mark.parametrize(
    "change",
    [
        {"amount_minor": 4_900_000},
        {"beneficiary_account_id": "XX00-STRANGER"},
        {"account_id": "GB29-VICTIM", "beneficiary_account_id": "XX00-STRANGER", "amount_minor": 4_900_000},
        {"currency": "JPY"},
        {"reference": "another"},
    ],
    ids=lambda change: "+".join(change),
)
def test_no_payment_but_the_audited_one_is_given_back(scene, change):
    line = released(scene)
    bad = line._replace(payment_hex=WIRE.encode_transaction(paid(line)._replace(**change)).hex())
    assert refused(scene, forge(scene, [bad])) == Differing(0, line.decision_id, ("payment_hex",))


@pytest.mark.parametrize(
    ("which", "change"),
    [
        ("RELEASE", {"disposition": Disposition.REVERSE, "payment_hex": ""}),
        ("RELEASE", {"account_id": "GB29-VICTIM"}),
        ("RELEASE", {"transaction_id": "tx-another"}),
        ("RELEASE", {"amount_minor": 1}),
        ("RELEASE", {"amount_gbp_minor": 1}),
        ("RELEASE", {"currency": "EUR"}),
        ("RELEASE", {"after": Outcome.ESCALATE}),
        ("RELEASE", {"why": "the customer has rung"}),
        ("REVERSE", {"after": Outcome.ESCALATE}),
        ("REVERSE", {"is_held": True}),
        ("REVERSE", {"is_in_review": True}),
        ("REVERSE", {"state": "HELD"}),
        ("REVERSE", {"topic_offset": 999}),
    ],
    ids=str,
)
def test_every_field_of_a_line_is_as_the_records_lead_to_it(scene, which, change):
    line = next(line for line in scene.lines() if line.disposition == which)
    answer = refused(scene, forge(scene, [line._replace(**change)]))
    assert isinstance(answer, Differing)
    assert (answer.position, answer.decision_id) == (0, line.decision_id)
    assert set(change) <= set(answer.fields)


def test_a_line_is_named_by_its_place(scene):
    lines = scene.lines()
    lines[4] = lines[4]._replace(amount_minor=lines[4].amount_minor + 1)
    answer = refused(scene, forge(scene, lines))
    assert "line 5 of the plan" in str(answer)
    assert "amount_minor" in str(answer)


@pytest.mark.parametrize(
    "criteria",
    [{"route": "FALLBACK"}, {"model": "small-1"}, {"since": "2039-01-01T00:00:00.000Z"}, {"rule": "NO_SUCH_RULE"}],
    ids=str,
)
def test_a_line_is_of_the_decisions_that_the_plan_says_were_selected(scene, criteria):
    answer = refused(scene, forge(scene, scene.lines(), criteria=criteria))
    assert (answer.position, answer.fields) == (0, ())


@pytest.mark.parametrize("criteria", [{"everything": "yes"}, {"since": "soon"}], ids=str)
def test_criteria_that_nobody_can_read_select_nothing(scene, criteria):
    with pytest.raises(PlanRefused):
        refused(scene, forge(scene, scene.lines(), criteria=criteria))


@pytest.mark.parametrize("content", [b"[]\n", b"nonsense\n", b'{"a": 1}\n', b"[1, 2]\n"])
def test_a_line_that_nobody_can_read_is_refused(scene, monkeypatch, content):
    monkeypatch.setattr(plan_content_store, "line_bytes", lambda _: content)
    with pytest.raises(PlanRefused, match="can't be read"):
        refused(scene, forge(scene, scene.lines()[:1]))


def test_lines_stand_in_the_order_of_the_topic(scene):
    answer = refused(scene, forge(scene, scene.lines()[::-1]))
    assert (answer.position, answer.fields) == (1, ())


def test_the_good_version_is_asked_again(scene):
    """The plan says that another version of the same name blocks; whoever approves asks the version itself."""
    lines = [
        line._replace(after=Outcome.ALLOW if line.before == "BLOCK" else Outcome.BLOCK, why="so it says")
        for line in scene.lines()
    ]
    assert "why" in refused(scene, forge(scene, lines)).fields


def test_totals_are_those_of_the_lines(scene):
    made = read_plan(scene.connection, scene.plan_id).blast_radius
    one = made.changing._replace(decisions=1, customers=1, amount_minor={"GBP": 1})
    plan_id = forge(scene, scene.lines(), made._replace(changing=one, selected=one, by_change={}, by_disposition={}))
    with scene.connection.transaction():
        report = read_report(scene.connection, WIRE, read_plan(scene.connection, plan_id))
    assert not report.is_intact
    assert report.plan.blast_radius == made
    assert refused(scene, plan_id) is ApplyRefusal.ADDED_OTHERWISE


def test_an_honest_plan_of_the_same_lines_is_applied(scene):
    plan_id = forge(scene, scene.lines())
    assert scene.apply(plan_id=plan_id).appended == 6


def test_the_approver_is_shown_the_audited_payments(scene):
    """Whatever the line says, the payment that is shown is the one of the audit log."""
    line = released(scene)
    evil = paid(line)._replace(beneficiary_account_id="XX00-STRANGER", amount_minor=4_900_000)
    plan_id = forge(scene, [line._replace(payment_hex=WIRE.encode_transaction(evil).hex())])
    with scene.connection.transaction():
        report = read_report(scene.connection, WIRE, read_plan(scene.connection, plan_id))
    [shown] = report.payments.values()
    assert (shown.beneficiary_account_id, shown.amount_minor) == (paid(line).beneficiary_account_id, line.amount_minor)
    assert not report.is_intact
