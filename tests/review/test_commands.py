"""`fraud review` and `fraud people` as people type them."""

from __future__ import annotations

import contextlib
import json
from uuid import uuid4

import pytest

from ops import cli
from pipeline.io.clock import now_ms
from pipeline.io.postgres import connect
from tests.known import appoint, environment_of
from tests.review.given import HOUR_MS, LARGE, SMALL
from tests.review.planted import plant
from tests.servers import url_as

WHY = "called the customer, who knows the payee"


@pytest.fixture
def fraud(database_url, capsys, monkeypatch, tmp_path):
    """The command in this process, as a database role; exit code, stdout, stderr."""

    def run(*arguments, role="fraud_review", by="ann"):
        monkeypatch.setenv("FRAUD_DATABASE_URL", url_as(database_url, role))
        for name, value in environment_of(tmp_path / "people", by).items():
            monkeypatch.setenv(name, value)
        with contextlib.chdir(tmp_path):
            code = cli.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    with contextlib.closing(connect(database_url, "test")) as owner:
        appoint(owner, {"ann": "REVIEWER", "sue": "SENIOR_REVIEWER"})
    return run


def opened(owner, case):
    at_ms = now_ms()
    case = case._replace(decision_id=str(uuid4()), opened_at_ms=at_ms, expires_at_ms=at_ms + HOUR_MS)
    plant(owner, case, "Escalated because.")
    return case.decision_id


def test_a_case_from_the_list_to_its_decision(fraud, owner):
    decision_id = opened(owner, SMALL)
    code, out, _ = fraud("review", "list")
    assert (code, len(out.splitlines())) == (0, 1)
    assert decision_id in out
    assert "£123.45" in out
    assert "Escalated because." in out
    assert fraud("review", "claim", decision_id)[1].startswith("Claimed until ")
    assert fraud("review", "decide", "tx-1", "ALLOW", "--reason", WHY)[:2] == (0, "Decided: ALLOW.\n")
    assert fraud("review", "list") == (0, "", "No case waits.\n")
    assert fraud("review", "list", "--json") == (0, "", "")
    _, shown, _ = fraud("review", "show", decision_id)
    *events, customer = shown.splitlines()[1:]
    assert [line.split()[1] for line in events] == ["OPENED", "CLAIMED", "DECIDED"]
    assert customer.startswith("  what the customer may be told: `fraud explain ")
    assert "Our checks" not in shown, "whether the money is out is for fraud explain to look up"
    assert WHY in shown


def test_json_holds_the_whole_case(fraud, owner):
    decision_id = opened(owner, LARGE)
    fraud("review", "claim", decision_id)
    _, out, _ = fraud("review", "decide", decision_id, "BLOCK", "--reason", WHY, "--json")
    case = json.loads(out)
    assert (case["decision_id"], case["state"], case["needs_second"]) == (decision_id, "PROPOSED", True)
    assert case["events"][-1]["reason"] == WHY


def test_a_second_person_confirms_a_large_one(fraud, owner):
    decision_id = opened(owner, LARGE)
    fraud("review", "claim", decision_id)
    proposed = fraud("review", "decide", decision_id, "BLOCK", "--reason", WHY)
    assert proposed[1].startswith("BLOCK proposed")
    confirmed = fraud("review", "decide", decision_id, "BLOCK", "--reason", WHY, by="sue")
    assert confirmed[1] == "Decided: BLOCK.\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["decide", "{}", "ALLOW", "--reason", WHY], "must be claimed first"),
        (["release", "{}"], "must be claimed first"),
        (["decide", "{}", "ALLOW", "--reason", "ok"], "the reason is too short"),
    ],
)
def test_a_refusal_is_one_sentence_and_exit_code_1(fraud, owner, arguments, said):
    decision_id = opened(owner, SMALL)
    code, out, err = fraud("review", *[argument.format(decision_id) for argument in arguments])
    assert (code, out, len(err.splitlines())) == (1, "", 1)
    assert said in err


def test_who_was_given_no_role_is_told_so(fraud, owner):
    code, out, err = fraud("review", "claim", opened(owner, SMALL), by="mallory")
    assert (code, out, "only a REVIEWER or SENIOR_REVIEWER" in err) == (1, "", True)


def test_an_unknown_case_is_named(fraud):
    code, _, err = fraud("review", "show", "tx-gone")
    assert code == 2
    assert err.startswith("fraud: There is no case of tx-gone.")


def test_a_grant_says_what_it_granted(fraud):
    asked = ("people", "grant", "ann", "ROLLBACK_REQUESTER", "--json")
    granted = {"name": "ann", "role": "ROLLBACK_REQUESTER", "is_held": True, "granted_by": "ada"}
    assert json.loads(fraud(*asked, role="fraud_owner", by="ada")[1]) == granted


def test_only_the_owner_appoints(fraud):
    code, _, err = fraud("people", "grant", "eve", "REVIEWER")
    assert code == 2
    assert "InsufficientPrivilege" in err


def test_grants_are_listed_with_who_made_them(fraud):
    fraud("people", "revoke", "ann", "REVIEWER", role="fraud_owner", by="ada")
    _, out, _ = fraud("people", "list", "--json")
    grants = [json.loads(line) for line in out.splitlines()]
    assert (grants[-1]["name"], grants[-1]["role"], grants[-1]["is_held"]) == ("ann", "REVIEWER", False)
    assert {grant["granted_by"] for grant in grants} == {"ada"}


def test_nobody_grants_to_themselves(fraud):
    code, _, err = fraud("people", "grant", "ada", "ROLLBACK_APPROVER", role="fraud_owner", by="ada")
    assert code == 1
    assert "nobody changes their own roles" in err


def test_a_database_that_is_away_is_said(fraud, monkeypatch, capsys):
    monkeypatch.setenv("FRAUD_DATABASE_URL", "postgresql://fraud_review:secret@127.0.0.1:1/fraud")
    code = cli.run(["review", "list"])
    err = capsys.readouterr().err
    assert code == 2
    assert "PostgreSQL does not answer at postgresql://127.0.0.1:1/fraud." in err
    assert "secret" not in err
