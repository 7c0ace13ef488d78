"""`fraud ledger`, on a database with one settled payment."""

from __future__ import annotations

import json

import pytest

from ops.cli import run
from tests.execute.given import PAYEE, PAYER, decision, reversal
from tests.servers import url_as


@pytest.fixture
def fraud(database_url, monkeypatch, capsys, tmp_path):
    """Runs a command in its own role; its exit code and what it printed, line by line as JSON."""
    monkeypatch.setenv("FRAUD_DATABASE_URL", url_as(database_url, "{role}"))
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        code = run(list(arguments))
        return code, [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]

    return command


def test_balances_now_and_then(fraud, desk):
    desk.open(GB29_0001=1_000)
    paid = decision()
    desk.hear(paid)
    desk.hear(reversal(paid, "BLOCK"))
    expected = {"account_id": PAYER, "currency": "GBP", "balance_minor": 1_000, "postings": 3}
    assert fraud("ledger", "balance", PAYER, "--json") == (0, [expected])
    _, then = fraud("ledger", "balance", PAYER, "--as-of", "2025-11-25T12:01:00Z", "--json")
    assert then[0]["balance_minor"] == 300
    _, unknown = fraud("ledger", "balance", PAYER, "--recorded-as-of", "2020-01-01T00:00:00Z", "--json")
    assert unknown == []


def test_accounts_are_opened_and_funded_once(fraud, desk, tmp_path):
    _, [opened] = fraud("ledger", "open", "GB29-0005", "GBP", "--balance", "500", "--json")
    assert opened == {"account_id": "GB29-0005", "currency": "GBP", "is_new": True}
    for is_new in (True, False):
        _, [funded] = fraud("ledger", "fund", "GB29-0005", "GBP", "250", "--reference", "salary 1", "--json")
        assert funded["is_new"] is is_new
    file = tmp_path / "accounts.csv"
    file.write_text(
        "account_id,currency,overdraft_limit_minor,opening_balance_minor\nGB29-0005,GBP,0,500\nGB29-0006,EUR,10,40\n"
    )
    assert fraud("ledger", "import", str(file), "--json") == (0, [{"accounts": 2, "opened": 1}])
    balances = [fraud("ledger", "balance", account, "--json")[1][0] for account in ("GB29-0005", "GB29-0006")]
    assert [(each["currency"], each["balance_minor"]) for each in balances] == [("GBP", 750), ("EUR", 40)]


def test_an_account_that_nobody_has_heard_of_is_not_said_to_have_nothing(fraud, desk, capsys):
    """Its id may be a slip of the pen."""
    desk.open(GB29_0001=0)
    for unknown in ("GB29-OOO1", ""):
        assert fraud("ledger", "balance", unknown)[0] == 2
    assert run(["ledger", "balance", PAYER]) == 0
    assert capsys.readouterr().out == f"{PAYER}  £0.00 in GBP, by 0 postings\n"
    assert fraud("ledger", "fund", PAYER, "GBP", "1250", "--reference", "salary 1")[0] == 0
    assert run(["ledger", "balance", PAYER]) == 0
    assert capsys.readouterr().out == f"{PAYER}  £12.50 in GBP, by 1 posting\n"


def test_an_account_that_is_not_open_is_not_funded(fraud, desk):
    assert fraud("ledger", "fund", "GB29-0099", "GBP", "250", "--reference", "salary 1")[0] == 1


def test_whole_books_pass_the_check(fraud, desk):
    desk.open(GB29_0001=1_000)
    desk.hear(decision())
    code, lines = fraud("ledger", "check", "--json")
    assert (code, lines) == (0, [{"state": "SETTLED", "currency": "GBP", "executions": 1, "amount_minor": 700}])


def test_broken_books_fail_it(fraud, desk, owner):
    desk.open(GB29_0001=1_000)
    desk.hear(decision())
    owner.execute("SET session_replication_role = replica")  # past the triggers, as a superuser can
    owner.execute(
        "INSERT INTO ledger.posting (posting_id, execution_id, step, attempt, source_account_id,"
        " destination_account_id, currency, amount_minor, event_time, caused_at)"
        " SELECT gen_random_uuid(), gen_random_uuid(), 'THEFT', 1, %s, %s, 'GBP', 301, now(), caused_at"
        " FROM ledger.execution",
        [PAYER, PAYEE],
    )
    code, lines = fraud("ledger", "check", "--json")
    assert code == 1
    assert [line["code"] for line in lines if "code" in line] == ["OVERDRAWN", "POSTED_OTHERWISE"]
    [overdrawn] = [line["detail"] for line in lines if line.get("code") == "OVERDRAWN"]
    assert f"{PAYER} has -£" in overdrawn, "pounds, and not pence"


def test_a_time_that_is_none_is_said_so(fraud):
    assert fraud("ledger", "balance", PAYER, "--as-of", "yesterday")[0] == 2
