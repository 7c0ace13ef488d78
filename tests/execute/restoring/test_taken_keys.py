"""A key that stands for somebody else's payment at the rail: whoever holds the executor's certificate can work keys out
ahead, as they follow from payments."""

from __future__ import annotations

from contextlib import closing
from urllib.request import urlopen

import orjson
import pytest

from ops.rail.misbehaviour import Misbehaviour
from pipeline.domain.identities import posting_id
from pipeline.execute.rail_client import Rail, Recall, Transfer
from pipeline.execute.saga import Answer
from tests.execute.given import PAYEE, PAYER, Desk, decision, execution_of, reversal
from tests.execute.test_failures import Crash, crash_at

THIEF = "GB29-0666"
KEY, OTHER = "0f8fad5b-d9cb-569f-a165-70867728950e", "7c9e6679-7425-50de-944b-e07fc1f90ae7"
MEANT = Transfer(KEY, PAYER, PAYEE, "GBP", 700)


def taken(rail_address: str, of) -> None:
    """Pay the thief under the key that the payment will have."""
    key = posting_id(execution_of(of), "SUBMIT", 1)
    with closing(Rail(rail_address)) as rail:
        assert rail.pay([Transfer(key, PAYER, THIEF, "GBP", 700)]) == {key: Answer.DONE}


def cases(desk: Desk) -> list[tuple[str, int]]:
    return desk.connection.execute("SELECT reason, missing_minor FROM ledger.recovery_case").fetchall()


def test_a_payment_whose_key_paid_another_is_not_taken_for_made(desk):
    desk.open(GB29_0001=10_000)
    paid, beside = decision(), decision(amount_minor=300)
    taken(desk.rail_address, paid)
    desk.hear(paid, beside)
    assert (desk.state(paid), desk.state(beside)) == ("IN_DOUBT", "SETTLED")
    assert (desk.balance(PAYER), desk.balance(PAYEE)) == (9_000, 300)
    assert cases(desk) == [("RAIL_KEY_FORGOTTEN", 700)], "people rule on it"
    desk.retry()
    assert desk.state(paid) == "IN_DOUBT"
    assert desk.findings() == []


def test_after_a_crash_it_is_not_taken_for_made_either(desk, executor_url, appender, monkeypatch):
    desk.open(GB29_0001=10_000)
    paid = decision()
    with monkeypatch.context() as patched:
        crash_at(patched, Rail, "pay", is_before=True)
        with pytest.raises(Crash):
            desk.hear(paid)
    taken(desk.rail_address, paid)
    with closing(Desk(executor_url, appender, desk.rail_address)) as second:
        second.resume()
        assert (second.state(paid), second.balance(PAYEE)) == ("IN_DOUBT", 0)
        assert cases(second) == [("RAIL_KEY_FORGOTTEN", 700)]


def test_what_was_paid_and_taken_back_is_known_by_what_it_was(desk, executor_url, appender, monkeypatch):
    """A transfer that the rail has recalled was made, whatever became of it."""
    desk.open(GB29_0001=10_000)
    paid = decision()
    desk.hear(paid)
    with monkeypatch.context() as patched:
        crash_at(patched, Rail, "recall", is_before=False)
        with pytest.raises(Crash):
            desk.hear(reversal(paid, "BLOCK"))
    with closing(Desk(executor_url, appender, desk.rail_address)) as second:
        second.resume()
        assert (second.state(paid), second.balance(PAYER)) == ("REVERSED", 10_000)


@pytest.mark.parametrize(
    "other",
    [
        MEANT._replace(debtor_account_id=THIEF),
        MEANT._replace(creditor_account_id=THIEF),
        MEANT._replace(currency="EUR"),
        MEANT._replace(amount_minor=70_000),
    ],
)
@pytest.mark.parametrize("is_retry", [True, False])
def test_a_transfer_is_done_only_as_it_was_meant(rail_of, other, is_retry):
    with closing(Rail(rail_of(), wait=lambda _s: None)) as rail:
        rail.pay([other])
        assert rail.pay([MEANT], is_retry=is_retry) == {KEY: Answer.FORGOTTEN}
        assert rail.pay([other], is_retry=is_retry) == {KEY: Answer.DONE}


@pytest.mark.parametrize("is_retry", [True, False])
def test_a_recall_is_done_only_as_it_was_meant(rail_of, is_retry):
    rail_address = rail_of()
    with closing(Rail(rail_address, wait=lambda _s: None)) as rail:
        rail.pay([MEANT])
        rail.recall([Recall(OTHER, KEY, 100)])
        assert rail.recall([Recall(OTHER, KEY, 600)], is_retry=is_retry) == {OTHER: Answer.FORGOTTEN}
        assert rail.recall([Recall(OTHER, KEY, 100)], is_retry=is_retry) == {OTHER: Answer.DONE}
    with urlopen(f"{rail_address}/v1/books") as answer:
        assert orjson.loads(answer.read())["paid_minor"] == {"GBP": 600}


def test_what_was_refused_to_another_is_not_refused(rail_of):
    refusing = rail_of(Misbehaviour(refused_share=1.0))
    with closing(Rail(refusing, wait=lambda _s: None)) as rail:
        assert rail.pay([MEANT._replace(creditor_account_id=THIEF)]) == {KEY: Answer.REFUSED}
        assert rail.pay([MEANT], is_retry=True) == {KEY: Answer.FORGOTTEN}


@pytest.mark.parametrize("said", [{}, {KEY: None}, {KEY: []}, {KEY: ["ACCEPTED", PAYER, PAYEE, "GBP", "700"]}])
def test_a_rail_that_does_not_say_what_it_has_done_is_not_believed(monkeypatch, said):
    rail = Rail("http://127.0.0.1:1", wait=lambda _s: None)
    monkeypatch.setattr(rail, "_post", lambda path, _body: said if path == "/v1/lookup" else {KEY: "ACCEPTED"})
    assert rail.pay([MEANT], is_retry=True) == {KEY: Answer.UNKNOWN}
