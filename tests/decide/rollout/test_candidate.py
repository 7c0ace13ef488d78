"""A batch that two models decide: each payment by the one that answers it, and as if there were no other."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.artefact.scoring import Model
from pipeline.breaker.states import BreakerRecord, Cause
from pipeline.decide.batch import Judge, Judged
from pipeline.decide.rollout.modes import is_in_the_loop, modes_under, shared_modes
from pipeline.decide.rollout.sharing import Rollout, Sharing, salt_key
from pipeline.decide.verdict import Regime, regime
from pipeline.domain.decision import BreakerState
from pipeline.domain.log import Record, Span
from pipeline.state.windows import MemoryState
from tests.decide.test_batch import PARTITIONING, TOPICS, WIRE, decisions_of, record
from tests.records import NOON_MS, PAYMENT, feeds, policy, small_model

KEY = salt_key("a salt of a test")


def other_model(version: str = "test-2") -> Model:
    return dataclasses.replace(small_model(version), hash=bytes(range(1, 33)), intercept_micro=-2_000_000)


def in_force(model: Model | None) -> Regime:
    return regime(policy(), model, feeds())


def judge_of(model: Model, rollout: Rollout | None = None) -> Judge:
    return Judge(in_force(model), WIRE, TOPICS, "decide/test", PARTITIONING.of, rollout=rollout)


def rollout_at(share_ppm: int) -> Rollout:
    return Rollout(in_force(other_model()), Sharing(share_ppm, KEY))


def closed(**others: BreakerState) -> dict[str, BreakerRecord]:
    states = {"all": BreakerState.CLOSED, **others}
    return {
        scope: BreakerRecord(scope, state, 1, 0, 0, Cause("a test", "test"), share_percent=5, salt="s")
        for scope, state in states.items()
    }


def batch_of(count: int) -> list[Record]:
    amounts = (900, 4_500, 150_000, 6_000_000)  # the last is for a hard guardrail
    return [
        record(number, PAYMENT._replace(transaction_id=f"tx-{number}", amount_minor=amounts[number % 4]))
        for number in range(count)
    ]


def judged(judge: Judge, records: list[Record], states: Mapping[str, BreakerRecord]) -> Judged:
    reading = judge.read(records)
    events = judge.state_events(reading, [Span(0, 0, len(records), 0)])
    observations = MemoryState().observe(events)
    modes = modes_under(states, judge.in_force, 0)
    if judge.rollout is not None and is_in_the_loop(states, judge.rollout.model.version):
        modes = shared_modes(modes, modes_under(states, judge.rollout.candidate, 0), judge.rollout.sharing)
    return Judged.whole(judge.judge(reading, observations, modes, NOON_MS + 5))


@settings(max_examples=10, deadline=None)
@given(st.sampled_from([0, 10_000, 500_000, 900_000, 1_000_000]), st.integers(1, 120))
def test_each_decision_is_that_of_its_model_alone_and_in_order(share_ppm: int, count: int) -> None:
    records, rollout = batch_of(count), rollout_at(share_ppm)
    shared = judged(judge_of(small_model(), rollout), records, closed())
    alone = {
        False: judged(judge_of(small_model()), records, closed()).outgoing,
        True: judged(judge_of(other_model()), records, closed()).outgoing,
    }
    is_candidates = [rollout.sharing.chooses(f"tx-{number}") for number in range(count)]
    assert shared.outgoing == [alone[is_its][place] for place, is_its in enumerate(is_candidates)]
    assert shared.accounted_for == count


def test_what_each_model_answered_is_counted_as_its_own() -> None:
    rollout = rollout_at(500_000)
    result = judged(judge_of(small_model(), rollout), batch_of(200), closed())
    asked = [number for number in range(200) if number % 4 != 3]
    chosen = [rollout.sharing.chooses(f"tx-{number}") for number in asked]
    assert (len(result.candidate_answers), len(result.answers)) == (sum(chosen), len(asked) - sum(chosen))


@pytest.mark.parametrize("state", [BreakerState.OPEN, BreakerState.FORCED_OPEN, BreakerState.UNKNOWN])
def test_a_candidate_out_of_the_loop_leaves_its_share_to_the_champion(state: BreakerState) -> None:
    records, states = batch_of(40), closed(**{"model:test-2": state})
    shared = judged(judge_of(small_model(), rollout_at(1_000_000)), records, states)
    assert shared.outgoing == judged(judge_of(small_model()), records, closed()).outgoing
    assert not shared.candidate_answers


def test_a_candidate_on_probation_answers_a_part_of_its_share() -> None:
    states = closed(**{"model:test-2": BreakerState.HALF_OPEN})
    payers = [
        payer for payer in (f"payer-{number}" for number in range(9_000)) if PARTITIONING.of(payer.encode()) == 0
    ][:400]
    asked = [
        record(number, PAYMENT._replace(transaction_id=f"tx-{number}", account_id=payer))
        for number, payer in enumerate(payers)
    ]
    shared = judged(judge_of(small_model(), rollout_at(1_000_000)), asked, states)
    routes = [(each.model_version, str(each.route)) for each in decisions_of(shared)]
    assert {version for version, _ in routes} == {"test-2"}
    assert 0 < routes.count(("test-2", "MODEL")) < routes.count(("test-2", "FALLBACK"))


def test_who_tries_again_with_other_ids_draws_no_other_route_on_probation() -> None:
    """Of 300 payments that one account tried, a model on probation at 1 % answered two or three."""
    states = closed(**{"model:test-1": BreakerState.HALF_OPEN})
    mode_of = modes_under(states, judge_of(small_model()).in_force, 0)
    found = [
        {
            mode_of(PAYMENT._replace(transaction_id=f"try {number}", account_id=account)).use_model
            for number in range(30)
        }
        for account in [f"account {number}" for number in range(300)]
    ]
    assert {len(routes) for routes in found} == {1}
    assert 0 < found.count({True}) < 300


def test_i4_nothing_is_a_candidates_where_the_breaker_says_nothing() -> None:
    shared = judged(judge_of(small_model(), rollout_at(1_000_000)), batch_of(40), {})
    assert {(each.model_version, str(each.breaker_state)) for each in decisions_of(shared)} == {("test-1", "UNKNOWN")}


def test_where_the_champion_is_out_the_candidate_answers_its_own_share_alone() -> None:
    states = closed(**{"model:test-1": BreakerState.OPEN})
    shared = judged(judge_of(small_model(), rollout_at(500_000)), batch_of(200), states)
    routes = {(each.model_version, str(each.route)) for each in decisions_of(shared)}
    assert routes - {("test-1", "GUARDRAIL"), ("test-2", "GUARDRAIL")} == {("test-1", "FALLBACK"), ("test-2", "MODEL")}
