"""`fraud ruling` on a payment in doubt, as people run it."""

from __future__ import annotations

import json

import pytest

from tests.execute.given import decision
from tests.known import settings_of
from tests.ruling.given import EVIDENCE, REASON, appoint, forgotten
from tests.servers import url_as

BECAUSE = ["--evidence", EVIDENCE, "--reason", REASON]


@pytest.fixture
def paid(owner, desk, rail_of):
    appoint(owner)
    desk.open(GB29_0001=10_000)
    record = decision()
    with forgotten(desk, rail_of(), record) as second:
        yield second, record


@pytest.fixture
def run(fraud, database_url, tmp_path):
    def run(*arguments: object, by: str = "rob", role: str = "fraud_rollback"):
        return fraud(*arguments, database_url=url_as(database_url, role), **settings_of(tmp_path / "people", by))

    return run


def test_a_payment_is_ruled_on_listed_and_taken(paid, run):
    desk, record = paid
    waiting = run("ruling", "waiting")
    assert "payment 1 of execution" in waiting.out
    assert "£7.00 from GB29-0001 to GB29-0002" in waiting.out
    proposed = run("ruling", "propose", record.decision_id, "NOT_MADE", *BECAUSE, "--json")
    assert proposed.code == 0, proposed.err
    ruling_id = json.loads(proposed.out)["ruling"]["ruling_id"]
    refused = run("ruling", "confirm", ruling_id, "NOT_MADE")
    assert (refused.code, "another person" in refused.err) == (1, True)
    other = run("ruling", "confirm", ruling_id, "MADE", by="ada")
    assert (other.code, "NOT_MADE, and not MADE" in other.err) == (1, True)
    assert run("ruling", "confirm", ruling_id, "NOT_MADE", by="ada").code == 0
    assert "not taken by the executor" in run("ruling", "list").out
    assert desk.retry() == 0
    assert (desk.state(record), "taken as step 5" in run("ruling", "list").out) == ("RELEASED", True)
    assert "No rulings wait." in run("ruling", "waiting").err


def test_a_recovery_case_about_a_forgotten_key_is_ended_by_a_ruling_alone(paid, run, owner):
    from tests.known import appoint as appointed

    desk, record = paid
    appointed(owner, {"sue": "SENIOR_REVIEWER"}, admin="ana")
    shown = run("review", "recoveries", role="fraud_review", by="sue")
    assert f"{record.decision_id}  nobody knows whether £7.00 is with GB29-0002" in shown.out
    closing = "review", "close-recovery", record.decision_id, "--reason", REASON
    closed = run(*closing, role="fraud_review", by="sue")
    assert (closed.code, "fraud ruling" in closed.err) == (1, True)
    proposed = run("ruling", "propose", record.decision_id, "MADE", *BECAUSE, "--json")
    assert run("ruling", "confirm", json.loads(proposed.out)["ruling"]["ruling_id"], "MADE", by="ada").code == 0
    assert desk.retry() == 0
    assert run("review", "recoveries", role="fraud_review", by="sue").out == ""


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["propose", "00000000-0000-4000-8000-000000000000", "MADE", *BECAUSE], "in no doubt that only people can end"),
        (["propose", "no-such", "MADE", *BECAUSE], "is no id"),
        (["propose", "{decision}", "MADE", "--evidence", EVIDENCE, "--reason", "because"], "reason is too short"),
        (["propose", "{decision}", "MADE", "--evidence", "....", "--reason", REASON], "evidence is too short"),
        (["account", "S:1", *BECAUSE], "no line that waits"),
        (["confirm", "00000000-0000-4000-8000-000000000000", "MADE"], "There is no ruling"),
    ],
)
def test_what_can_not_be_ruled_is_said_in_a_sentence(paid, run, arguments, why):
    _, record = paid
    answer = run("ruling", *[each.replace("{decision}", record.decision_id) for each in arguments])
    assert answer.code in (1, 2)
    assert why in answer.err
