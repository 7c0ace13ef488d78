"""I4 over the whole path: no fault at any seam makes an ALLOW of what full knowledge would block or escalate.

Only an answer by the fallback is excused, and only where the fallback allows with full knowledge too. An example is one
payment that is decided after a fault, in one world of payments, outcomes and context.
"""

from __future__ import annotations

import pytest

from tests.permissive.faults import FAULTS
from tests.permissive.trials import Trials, faults_of, known, try_out

EXAMPLES = 4_000
EXAMPLES_BY_NIGHT = 100_000
EXAMPLES_A_PAIR = 200


def tried(examples: int) -> Trials:
    trials, seed = Trials(), 0
    while trials.total < examples:
        world = known(seed)
        for fault in faults_of(seed):
            try_out(trials, world, fault)
        seed += 1
    return trials


def tell(trials: Trials) -> None:
    for name, count in sorted(trials.examples.items()):
        print(f"{name:<28} {count:>7,}")
    share = trials.strict / trials.total
    print(f"{trials.total:,} examples, {share:.1%} not allowed with full knowledge, {trials.excused:,} excused")


def hold(trials: Trials) -> None:
    tell(trials)
    assert trials.violations == []
    assert set(trials.examples) == {fault.name for fault in FAULTS}
    assert trials.strict >= 0.3 * trials.total


def test_no_fault_makes_a_decision_more_permissive():
    hold(tried(EXAMPLES))


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
def test_no_fault_makes_a_decision_more_permissive_by_night():
    trials = tried(EXAMPLES_BY_NIGHT)
    hold(trials)
    assert min(trials.examples.values()) >= EXAMPLES_A_PAIR
