"""Which decision an id means."""

import pytest

from pipeline.terminal.decision_choice import Candidate, as_decision_id, the_one
from pipeline.terminal.failures import Failure
from tests.records import NOON_MS

FIRST, SECOND = "6f9619ff-8b86-5011-b42d-00cf4fc964ff", "7f9619ff-8b86-5011-b42d-00cf4fc964ff"
BOTH = [Candidate(FIRST, "GB29-0001", "ALLOW", NOON_MS), Candidate(SECOND, "GB29-0002", "BLOCK", NOON_MS)]


def test_no_candidate_is_no_decision():
    assert the_one("tx-1", None, []) is None
    assert the_one("tx-1", "GB29-0003", BOTH) is None


def test_an_id_that_one_decision_carries_is_enough():
    assert the_one("tx-1", None, BOTH[:1]) == FIRST
    assert the_one("tx-1", None, BOTH[:1] * 2) == FIRST  # appended twice


def test_the_account_or_the_decisions_own_id_tells_several_apart():
    assert the_one("tx-1", "GB29-0002", BOTH) == SECOND
    assert the_one(SECOND.upper(), None, BOTH) == SECOND


def test_an_id_of_several_payments_is_answered_with_all_of_them():
    with pytest.raises(Failure) as caught:
        the_one("tx-1", None, BOTH)
    for candidate in BOTH:
        assert candidate.decision_id in caught.value.what
        assert candidate.account_id in caught.value.what


def test_only_a_uuid_can_be_a_decisions_id():
    assert as_decision_id(FIRST.upper()) == FIRST
    assert as_decision_id(FIRST.replace("-", "")) is None
    assert as_decision_id("tx-1") is None
