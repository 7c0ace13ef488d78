"""Recovery cases as people see and close them."""

from __future__ import annotations

import contextlib

import pytest

from ops import cli
from pipeline.execute.ledger_admin_store import append_openings
from pipeline.execute.references import Opening
from pipeline.io.postgres import connect
from tests.execute.given import PAYEE, PAYER, Desk, decision, reversal
from tests.known import appoint, environment_of
from tests.records import NOON_MS
from tests.review.closings import forge_closing
from tests.servers import url_as

WHY = "the beneficiary's bank has confirmed that it is gone"


@pytest.fixture
def fraud(database_url, capsys, monkeypatch, tmp_path):
    def run(*arguments, role="fraud_review", by="ann"):
        monkeypatch.setenv("FRAUD_DATABASE_URL", url_as(database_url, role))
        for name, value in environment_of(tmp_path / "people", by).items():
            monkeypatch.setenv(name, value)
        capsys.readouterr()  # what the scene has logged
        with contextlib.chdir(tmp_path):
            code = cli.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    with contextlib.closing(connect(database_url, "test")) as owner:
        appoint(owner, {"ann": "REVIEWER", "sue": "SENIOR_REVIEWER"})
    return run


@pytest.fixture
def missing(database_url, stack, rail_address):
    """A reversed payment of 700 of which 1 could not be had back."""
    from pipeline.io.kafka.appender import Appender

    appender = Appender(stack.bootstrap_servers, "test-recovery", {})
    with contextlib.closing(Desk(url_as(database_url, "fraud_executor"), appender, rail_address)) as desk:
        append_openings(
            desk.as_role("fraud_treasurer"), [Opening(PAYER, "GBP", 0, 1_000), Opening(PAYEE, "GBP", 0, 0)], NOON_MS
        )
        paid = decision()
        desk.hear(paid)
        desk.hear(decision(payer=PAYEE, payee="GB29-0003", amount_minor=1))
        desk.hear(reversal(paid, "BLOCK"))
        yield paid


def test_a_case_is_listed_until_a_senior_reviewer_closes_it(fraud, missing):
    code, out, _ = fraud("review", "recoveries")
    assert (code, len(out.splitlines())) == (0, 1)
    assert f"{missing.decision_id}  £0.01 of £7.00 is with {PAYEE}, PARTLY_RECALLED" in out
    asked = "review", "close-recovery", missing.decision_id, "--reason", WHY
    assert "only a SENIOR_REVIEWER" in fraud(*asked)[2]
    assert "too short" in fraud(*asked[:-1], "gone", by="sue")[2]
    assert fraud(*asked, by="sue")[0] == 0
    assert fraud("review", "recoveries")[:2] == (0, "")
    code, _, err = fraud(*asked, by="sue")
    assert (code, "no recovery case of this payment is open" in err) == (1, True)


def test_nothing_is_closed_that_is_not_open(fraud):
    code, _, err = fraud("review", "close-recovery", "no-such", "--reason", WHY, by="sue")
    assert (code, "no recovery case" in err) == (1, True)


def test_a_case_that_nobody_proved_to_have_closed_is_open_and_can_be_closed(fraud, missing, owner):
    forge_closing(owner)
    forge_closing(owner)
    code, out, _ = fraud("review", "recoveries")
    assert (code, out.count(missing.decision_id)) == (0, 1)
    code, _, err = fraud("review", "close-recovery", missing.decision_id, "--reason", WHY, by="sue")
    assert (code, err) == (0, "")
    assert fraud("review", "recoveries")[:2] == (0, "")


def test_a_case_is_closed_by_the_id_of_its_payment_as_the_help_says(fraud, missing):
    code, out, err = fraud("review", "close-recovery", missing.transaction_id, "--reason", WHY, by="sue")
    assert (code, missing.decision_id in out, err) == (0, True, "")


def test_a_case_about_what_the_rail_did_otherwise_is_not_hidden_by_a_later_one(fraud, missing, owner, database_url):
    """Nor the other way round; where several are open, whoever closes one says which."""
    with contextlib.closing(connect(url_as(database_url, "fraud_executor"), "test")) as executor:
        executor.execute(
            "INSERT INTO ledger.recovery_case"
            " (execution_id, sequence, reason, missing_minor, currency, claimed_account_id, claimed_minor)"
            " SELECT execution_id, 1, 'RAIL_PAID_OTHERWISE', 700, 'GBP', account_id, 300 FROM ledger.execution"
            " WHERE decision_id = %s",
            [missing.decision_id],
        )
    ((part_at,),) = owner.execute("SELECT max(sequence) FROM ledger.recovery_case").fetchall()
    asked = "review", "close-recovery", missing.decision_id, "--reason", WHY
    assert fraud("review", "recoveries")[1].count(missing.decision_id) == 2
    code, _, err = fraud(*asked, by="sue")
    assert (code, "say which one by --case" in err) == (1, True)
    assert fraud(*asked, "--case", "77", by="sue")[0] == 1
    assert fraud(*asked, "--case", part_at, by="sue")[0] == 0
    assert "RAIL_PAID_OTHERWISE" in fraud("review", "recoveries")[1]
    assert owner.execute("SELECT amount_minor FROM ledger.claim").fetchall() == [(300,)]
    assert fraud(*asked, by="sue")[0] == 0
    assert fraud("review", "recoveries")[:2] == (0, "")
    assert owner.execute("SELECT amount_minor FROM ledger.claim").fetchall() == []
