"""What a live drill sees of decisions, partition by partition."""

from __future__ import annotations

import pytest

from ops.drills.live.watching import Seen, Watched, is_in, samples_of, trip_s
from pipeline.domain.decision import BreakerState, Decision, Route
from tests.decisions import DECISION

THROWN_S, ENDS_MS = 100.0, 1_000_000
DRILL = "0a1b2c3d"


def decided(state: BreakerState, at_ms: int = 500_000, partition: int = 0, **changed: object) -> Decision:
    route = Route.MODEL if state is BreakerState.CLOSED else Route.FALLBACK
    made = DECISION._replace(
        breaker_state=state, breaker_scope="all", decided_at_ms=at_ms, source_partition=partition, route=route
    )
    return made._replace(**changed)


def taken(*seen: tuple[float, Decision], scope: str = "all") -> Watched:
    """Take in decisions, of which those before THROWN_S come before the drill."""
    watched = Watched()
    for now_s, each in seen:
        thrown = None if now_s < THROWN_S else (THROWN_S, ENDS_MS)
        watched.take(each, scope, DRILL, now_s, thrown)
    return watched


CLOSED, OPEN = BreakerState.CLOSED, BreakerState.OPEN
MARKED = {"breaker_scope": f"drill:{DRILL}:all"}


def test_the_slowest_partition_counts_and_its_last_decision_by_the_model() -> None:
    watched = taken(
        (90, decided(CLOSED)),
        (91, decided(CLOSED, partition=1)),
        (100.5, decided(OPEN, 500_500, **MARKED)),
        (101, decided(CLOSED, 500_900, partition=1)),
        (102.25, decided(OPEN, 502_000, partition=1, **MARKED)),
    )
    assert trip_s(watched.partitions, THROWN_S) == 2.25
    assert (watched.marked, [each.is_back for each in watched.partitions.values()]) == (2, [False, False])


def test_a_partition_that_decided_nothing_since_is_not_known_to_have_tripped() -> None:
    watched = taken((90, decided(CLOSED)), (91, decided(CLOSED, partition=1)), (101, decided(OPEN)))
    assert trip_s(watched.partitions, THROWN_S) is None
    assert trip_s({}, THROWN_S) is None
    assert trip_s({0: Seen()}, THROWN_S) is None


def test_one_that_decided_nothing_before_says_nothing_either_way() -> None:
    watched = taken((90, decided(CLOSED)), (101, decided(OPEN)), (105, decided(CLOSED, partition=1)))
    assert trip_s(watched.partitions, THROWN_S) == 1.0


def test_a_model_that_is_back_before_the_end_is_seen_and_one_after_it_is_not() -> None:
    out = (90, decided(CLOSED)), (101, decided(OPEN, 501_000))
    assert taken(*out, (110, decided(CLOSED, 510_000))).partitions[0].is_back
    assert not taken(*out, (110, decided(CLOSED, 500_999))).partitions[0].is_back, "it was read late"
    assert not taken(*out, (999, decided(CLOSED, ENDS_MS))).partitions[0].is_back
    assert trip_s(taken(*out, (110, decided(CLOSED, 510_000))).partitions, THROWN_S) == 10.0


def test_what_really_opened_counts_as_out_and_is_not_the_drills() -> None:
    watched = taken((90, decided(CLOSED)), (101, decided(BreakerState.FORCED_OPEN)))
    assert (trip_s(watched.partitions, THROWN_S), watched.marked) == (1.0, 0)


def test_amounts_are_those_that_fallback_rules_decided_by_the_drill() -> None:
    marked, other = decided(OPEN, **MARKED), decided(OPEN, breaker_scope="drill:ffffffff:all")
    guarded = marked._replace(route=Route.GUARDRAIL)
    watched = taken((90, decided(CLOSED)), (101, marked), (101, other), (102, guarded))
    transaction = marked.snapshot.transaction
    assert watched.amounts_minor == {transaction.currency: transaction.amount_minor}


@pytest.mark.parametrize(
    ("scope", "is_of_it"),
    [
        ("all", True),
        (f"model:{DECISION.model_version}", True),
        ("model:another", False),
        ("segment:nothing=at-all", False),
        (f"channel:{DECISION.snapshot.transaction.channel}", True),
        ("channel:NONE", False),
    ],
)
def test_a_decision_is_in_the_scopes_of_its_payment(scope: str, is_of_it: bool) -> None:
    assert is_in(DECISION, scope) == is_of_it
    watched = taken((90, decided(CLOSED)), scope=scope)
    assert bool(watched.partitions) == is_of_it


def test_samples_are_seconds_after_the_drill_with_the_state_at_their_end() -> None:
    watched = taken((99, decided(CLOSED)), (101, decided(OPEN, **MARKED)))
    found = samples_of(watched, THROWN_S, {99: "CLOSED", 101: "OPEN"})
    assert [(each.second, each.by_model, each.by_fallback, each.state) for each in found] == [
        (-1, 1, 0, "CLOSED"),
        (0, 0, 0, "CLOSED"),
        (1, 0, 1, "OPEN"),
    ]
    assert samples_of(Watched(), THROWN_S, {}) == []
