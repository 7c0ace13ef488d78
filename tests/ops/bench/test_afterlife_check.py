"""The afterlife bench's checker, on sound records, which it must let pass, and on planted violations."""

from __future__ import annotations

import pytest

from ops.bench.afterlife import afterlife_loss
from ops.bench.afterlife import check as afterlife_check
from ops.bench.afterlife.check import Decided, Execution, RecordsTold, Report, ends
from pipeline.domain.decision import Outcome
from pipeline.execute.rail_client import Transfer
from tests.execute.given import decision, reversal, review
from tests.ops.bench.saying import say


def told(decided, *later):
    about = RecordsTold(Decided(decided.decision_id, decided.transaction_id, decided.outcome), list(later))
    return {end.state for end in ends(about)}


def test_what_may_become_of_a_payment():
    allowed, held, blocked = decision(), decision("ESCALATE"), decision("BLOCK")
    assert told(allowed) == {"SETTLED", "REFUSED"}
    assert told(blocked) == {"REFUSED"}
    assert told(held, review(held, "BLOCK")) == {"REFUSED"}
    assert told(held, review(held, "ALLOW")) == {"SETTLED", "REFUSED"}
    assert told(blocked, reversal(blocked, None)) == {"RELEASED"}
    released, undone = reversal(blocked, None), reversal(allowed, "BLOCK")
    assert told(blocked, released, reversal(blocked, "ALLOW", released)) == {"RELEASED"}
    assert told(blocked, reversal(blocked, "ALLOW"), released) == {"SETTLED", "REFUSED"}, "the first counts"
    assert told(held, review(held, "BLOCK"), reversal(held, "ALLOW")) == {"REFUSED"}
    assert told(allowed, undone, reversal(allowed, "ALLOW", undone), undone) == {"SETTLED", "REFUSED"}
    assert told(allowed, review(allowed, "BLOCK")) == {"SETTLED", "REFUSED"}
    assert told(held, reversal(held, "BLOCK")) == {"REVERSED", "REFUSED"}


@pytest.mark.parametrize(("state", "reasons", "is_possible"), [
    ("SETTLED", set(), True),
    ("REFUSED", set(), False),
    ("REFUSED", {"INSUFFICIENT_FUNDS"}, True),
    ("CREDITED", set(), False),
    ("HELD", set(), False),
])  # fmt: skip
def test_a_refusal_needs_its_reason(state, reasons, is_possible):
    execution = Execution(state, frozenset(reasons), "a", "b", "GBP", 1)
    assert afterlife_check._is_possible(RecordsTold(Decided("d-1", "tx-1", Outcome.ALLOW)), execution) == is_possible


@pytest.fixture
def rail_address(rail_of):
    """Provide a rail of the test's own, because the checker looks at all that a rail knows."""
    return rail_of()


@pytest.fixture
def settled(desk):
    desk.open(GB29_0001=2_000)
    desk.hear(decision(), decision("ESCALATE"))
    return desk


def violations(check, *arguments):
    report = Report()
    check(*arguments, report)
    return set(report.violations)


def test_whole_books_are_never_accused(settled, owner):
    executions = afterlife_check._executions(owner)
    assert violations(afterlife_check._check_ledger, owner) == set()
    assert violations(afterlife_check._check_postings, owner, executions) == set()
    assert violations(afterlife_check._check_rail, owner, settled.rail_address, executions) == set()


def test_a_planted_double_payment_is_found(desk, owner):
    """What finding 1 was: the recall had failed, and the payment was published anew all the same."""
    desk.open(GB29_0001=2_000)
    paid = decision()
    again = decision(transaction_id=f"{paid.transaction_id}:r1-{paid.decision_id[:8]}")
    desk.hear(paid, again)
    assert (desk.state(paid), desk.state(again), desk.findings()) == ("SETTLED", "SETTLED", [])
    executions = afterlife_check._executions(owner)
    assert violations(afterlife_check._check_rail, owner, desk.rail_address, executions) == {"PAID_TWICE"}


def test_a_part_that_was_recalled_is_no_violation(desk, owner):
    desk.open(GB29_0001=2_000, GB29_0002=0, GB29_0003=0)
    paid = decision()
    desk.hear(paid)
    desk.hear(decision(payer="GB29-0002", payee="GB29-0003", amount_minor=1))
    desk.hear(reversal(paid, "BLOCK"))
    assert desk.reason(paid) == "PARTLY_RECALLED"
    executions = afterlife_check._executions(owner)
    assert violations(afterlife_check._check_postings, owner, executions) == set()
    assert violations(afterlife_check._check_rail, owner, desk.rail_address, executions) == set()


def test_money_that_is_elsewhere_is_found(settled, owner):
    executions = afterlife_check._executions(owner)
    name, execution = next(each for each in executions.items() if each[1].state == "SETTLED")
    assert violations(
        afterlife_check._check_postings, owner, {**executions, name: execution._replace(state="REVERSED")}
    ) == {"MONEY_ELSEWHERE"}


def test_what_the_rail_did_otherwise_is_found(settled, owner):
    executions, address = afterlife_check._executions(owner), settled.rail_address
    name, execution = next(each for each in executions.items() if each[1].state == "SETTLED")
    other = {**executions, name: execution._replace(state="REVERSED", amount_minor=1)}
    assert violations(afterlife_check._check_rail, owner, address, other) == {"RAIL_DIFFERS", "RAIL_PAID_OTHERWISE"}
    settled.rail.pay([Transfer("no-key-of-ours", "GB29-0001", "GB29-0002", "GBP", 5)])
    assert violations(afterlife_check._check_rail, owner, address, executions) == {"RAIL_KNOWS_MORE"}


@pytest.mark.real
@pytest.mark.timeout(1800)
def test_the_afterlife_survives_its_faults(tmp_path):
    result = afterlife_loss.run(say, tmp_path, is_quick=True)
    assert result["ok"], result
