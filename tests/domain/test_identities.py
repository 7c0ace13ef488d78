"""Ids of decisions and executions: who shares one, and who never does."""

from uuid import UUID, uuid5

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pipeline.domain.identities import LATE_AFTER_MS, decision_id, execution_id, funding_id, posting_id
from pipeline.domain.log import Source
from pipeline.domain.payment import payment_digest
from tests.io.test_payment_decoder import PAYMENTS
from tests.records import NOON_MS, PAYMENT

DECISIONS = UUID("8f0c9a3e-1f1b-5c52-9d7e-6c1a5f0e2b47")
EXECUTIONS = UUID("2d3f1c52-7b0e-5a44-9c1d-51f7a0c8e6b1")
IN_TIME = Source(3, 41, NOON_MS + LATE_AFTER_MS)
LATE = Source(3, 41, NOON_MS + LATE_AFTER_MS + 1)


def id_of(payment, source=IN_TIME):
    return decision_id(payment, payment_digest(payment), source)


@pytest.mark.parametrize("system", [None, "cards"])
def test_ids_are_uuid5_of_system_transaction_and_digest(system):
    payment = PAYMENT._replace(source_system=system)
    parts = [system or "", PAYMENT.transaction_id, payment_digest(payment).hex()]
    assert id_of(payment) == str(uuid5(DECISIONS, "\n".join(parts)))
    assert execution_id(payment) == str(uuid5(EXECUTIONS, "\n".join(parts)))


def test_a_late_payments_decision_says_where_it_stands_and_its_execution_does_not():
    parts = ["", PAYMENT.transaction_id, payment_digest(PAYMENT).hex(), "3", "41"]
    assert id_of(PAYMENT, LATE) == str(uuid5(DECISIONS, "\n".join(parts)))
    assert id_of(PAYMENT, LATE._replace(offset=42)) != id_of(PAYMENT, LATE)
    assert id_of(PAYMENT, IN_TIME._replace(offset=42)) == id_of(PAYMENT)


@given(PAYMENTS, PAYMENTS)
def test_invariant_4_no_two_payments_share_an_id(one, other):
    assume(one != other)
    other = other._replace(transaction_id=one.transaction_id)
    assume(one != other)
    assert id_of(one) != id_of(other)
    assert execution_id(one) != execution_id(other)


def test_invariant_3_a_systems_name_is_no_part_of_a_transactions_id():
    systems = [PAYMENT._replace(source_system=name, transaction_id=f"{name or ''}1") for name in (None, "a", "")]
    assert len({execution_id(payment) for payment in systems}) == 3


@given(st.text(min_size=1, max_size=40))
def test_invariant_2_the_ids_of_fundings_are_of_a_version_of_their_own(what_for):
    found = UUID(funding_id(what_for))
    assert (found.version, str(found)) == (8, funding_id(what_for))
    assert UUID(posting_id("fund", what_for, 1)).version == 5
