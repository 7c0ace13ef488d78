"""Recovery cases as people see and close them."""

from __future__ import annotations

import contextlib

import pytest

from ops import cli
from pipeline.execute.ledger_admin_store import Opening, append_openings
from tests.execute.given import PAYEE, PAYER, Desk, decision, reversal
from tests.records import NOON_MS
from tests.servers import url_as

WHY = "the beneficiary's bank has confirmed that it is gone"


@pytest.fixture
def fraud(database_url, capsys, monkeypatch, tmp_path):
    def run(*arguments, role="fraud_review"):
        monkeypatch.setenv("FRAUD_DATABASE_URL", url_as(database_url, role))
        capsys.readouterr()  # what the scene has logged
        with contextlib.chdir(tmp_path):
            code = cli.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    for name, role in {"ann": "REVIEWER", "sue": "SENIOR_REVIEWER"}.items():
        run("people", "grant", "ada", "ADMIN", "--by", "ada", role="fraud_owner")
        assert run("people", "grant", name, role, "--by", "ada", role="fraud_owner")[::2] == (0, "")
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
    assert "only a SENIOR_REVIEWER" in fraud(*asked, "--by", "ann")[2]
    assert "too short" in fraud(*asked[:-1], "gone", "--by", "sue")[2]
    assert fraud(*asked, "--by", "sue")[0] == 0
    assert fraud("review", "recoveries")[:2] == (0, "")
    code, _, err = fraud(*asked, "--by", "sue")
    assert (code, "no recovery case of this payment is open" in err) == (1, True)


def test_nothing_is_closed_that_is_not_open(fraud):
    code, _, err = fraud("review", "close-recovery", "no-such", "--reason", WHY, "--by", "sue")
    assert (code, "no recovery case" in err) == (1, True)
