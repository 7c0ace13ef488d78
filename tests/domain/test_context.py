"""What labels hold for fraud, whatever comes late, twice, or of another system."""

from __future__ import annotations

from models.lifecycle.diff_command import fraud_by_payment
from pipeline.domain.context import Label, frauds_told
from pipeline.promotion.progress_store import frauds_of


def said(at_ms: int, *, fraud: bool, payment: str = "tx-1", account: str = "a") -> Label:
    return Label(payment, account, "b", 0, fraud, at_ms, "desk")


STOLEN = said(5, fraud=True)
OVERTAKEN, LATER = said(4, fraud=False), said(6, fraud=False)


def test_a_label_takes_no_fraud_back_that_was_confirmed_after_it_was_made() -> None:
    """A queue of the desk that stood still is published a week later."""
    assert list(frauds_told([STOLEN, OVERTAKEN]).values()) == [STOLEN]
    assert frauds_of([STOLEN, OVERTAKEN]) == ["tx-1"]
    assert fraud_by_payment([STOLEN, OVERTAKEN]) == {("a", "tx-1"): True}


def test_what_was_found_out_since_takes_a_fraud_back() -> None:
    for cleared in (LATER, said(5, fraud=False)):
        assert frauds_told([STOLEN, cleared]) == {}
        assert frauds_of([STOLEN, cleared]) == []
        assert fraud_by_payment([STOLEN, cleared]) == {("a", "tx-1"): False}
    assert frauds_of([OVERTAKEN, STOLEN]) == frauds_of([LATER, STOLEN]) == ["tx-1"]


def test_an_older_fraud_that_comes_late_makes_no_later_one_older() -> None:
    assert frauds_told([STOLEN, said(1, fraud=True), OVERTAKEN]) == {("a", "tx-1"): STOLEN}


def test_a_payment_of_another_account_under_the_same_id_clears_nothing() -> None:
    assert frauds_of([STOLEN, said(9, fraud=False, account="c")]) == ["tx-1"]
    assert frauds_of([STOLEN, said(9, fraud=True, account="c")]) == ["tx-1"]


def test_frauds_come_in_the_order_in_which_they_were_said_last() -> None:
    labels = [STOLEN, said(6, fraud=True, payment="tx-2"), said(7, fraud=True)]
    assert frauds_of(labels) == ["tx-2", "tx-1"]
