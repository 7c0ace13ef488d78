"""The version that is attacked, and what it answers to honest people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from models.artefact.scoring import Model
from models.redteam.world import AGENT, TOPICS, World, fresh_feeds, world_of
from pipeline.breaker.answer_counts import Answer
from pipeline.decide.batch import Judge, Judged
from pipeline.decide.policy import Policy
from pipeline.decide.verdict import Mode, Regime, regime
from pipeline.domain.decision import BreakerState, Outcome
from pipeline.io.avro.wire import WireFormat

CLOSED: Final = Mode(BreakerState.CLOSED, "all", True)


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A regime to attack, in a world."""

    name: str
    in_force: Regime
    world: World
    judge: Judge
    honest_answers: tuple[Answer, ...]  # of the model to the last HONEST_DAYS of the background
    honest_payments: int
    honest_stopped: int  # blocked
    honest_escalated: int


def target_of(name: str, policy: Policy, model: Model | None, seed: int) -> Target:
    """model: None for the fallback's rules alone."""
    in_force = regime(policy, model, fresh_feeds())
    world = world_of(seed, policy)
    judge = Judge(in_force, WireFormat(), TOPICS, AGENT, lambda _: 0)
    judged = _honest(world, judge)
    count = judged.outcomes
    stopped = sum(number for (outcome, _), number in count.items() if outcome is Outcome.BLOCK)
    escalated = sum(number for (outcome, _), number in count.items() if outcome is Outcome.ESCALATE)
    return Target(name, in_force, world, judge, tuple(judged.answers), count.total(), stopped, escalated)


def without_soft(policy: Policy) -> Policy:
    """The policy with no soft guardrail: never one to serve under, but to see what they buy."""
    return policy.model_copy(update={"soft": policy.soft.model_copy(update={"rules": ()})})


def _honest(world: World, judge: Judge) -> Judged:
    """Decide the last days of the background."""
    whole = Judged()
    for reading, observation, logged_at_ms in world.last_days:
        whole.extend(Judged.whole(judge.judge(reading, observation, lambda _: CLOSED, logged_at_ms)))
    return whole
