"""Decide stored decisions again under another regime: the version that should have answered.

The snapshot is as it was; what follows from payment, policy and feeds alone is computed again under the good policy, so
that its limits hold, and under the feeds that the decision was made under, or the good ones where a feed was wrong.
What was counted (windows, payments near the limit) stays as counted.

The breaker's word is the recorded one by default: what the fallback answered because the model was out of the loop, the
fallback answers again, so the difference is the version's and nothing else's. Basis.CLOSED asks what would have been
had the model never been taken out. Either way hard guardrails come first and soft ones escalate, as in any decision.

A model that failed on a payment is recorded to have, and stays silent where the same model decides again as recorded;
another one is asked. Where something was UNKNOWN it still is, and no model is asked.
A feature that the writer of a decision did not know is UNKNOWN to a version that reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.breaker.answer_counts import ALL
from pipeline.decide.feeds.feed import FeedName
from pipeline.decide.phrase_books.money import foreign_money
from pipeline.decide.verdict import Mode, Regime, decide
from pipeline.domain.decision import BreakerState, Decision, Outcome, Route, StoredDecision
from pipeline.domain.refusals import refusal_of
from pipeline.replay.feature_lists import observed_by
from pipeline.replay.regimes import Missing, RegimeKey, RegimeOf
from pipeline.replay.verify import recomputed, regime_key

ROWS_MAX: Final = 2048
AS_RECORDED: Final = "as recorded"


class Basis(StrEnum):
    RECORDED = "RECORDED"
    CLOSED = "CLOSED"


class Version(NamedTuple):
    """A model or a policy, by its name and what it was archived as."""

    version: str
    sha256: bytes


class Good(NamedTuple):
    """The versions to decide again under. None: the one that each decision was made under. At least one is given."""

    model: Version | None
    policy: Version | None
    basis: Basis
    exchange_rates: FeedName | None = None
    sanctions: FeedName | None = None


class Redecided(NamedTuple):
    """`outcome` None: it can't be decided again, and `why` says why; else `why` is the new decision's summary."""

    outcome: Outcome | None
    why: str


class RegimeMissing(Exception):
    """The archive does not hold the version that a decision is to be decided under."""


def redecide(decisions: Sequence[StoredDecision], good: Good, regime_of: RegimeOf) -> list[Redecided]:
    """One for each, in order. Raises RegimeMissing: a plan that leaves decisions out would say too little."""
    answers: dict[int, Redecided] = {}
    groups: dict[RegimeKey, list[int]] = {}
    for place, (decision, *_) in enumerate(decisions):
        payment = decision.snapshot.transaction
        refusal = refusal_of(payment, payment.account_id.encode(), decision.source)
        if refusal is not None:
            answers[place] = Redecided(None, f"its payment would be refused as {refusal.code}: {refusal.detail}")
        else:
            groups.setdefault(_regime_key(decision, good), []).append(place)
    for key, group in groups.items():
        in_force = regime_of(key)
        if isinstance(in_force, Missing):
            raise RegimeMissing(in_force.why)
        for begin in range(0, len(group), ROWS_MAX):
            part = group[begin : begin + ROWS_MAX]
            answers.update(zip(part, _decided([decisions[place] for place in part], in_force, good), strict=True))
    return [answers[place] for place in range(len(decisions))]


def mode_of(decision: Decision, basis: Basis) -> Mode:
    """The breaker's word. Where a hard guardrail no longer hits, the model may answer only if all was closed."""
    if basis is Basis.CLOSED:
        return Mode(BreakerState.CLOSED, ALL, True)
    state = decision.breaker_state
    return Mode(state, decision.breaker_scope, state is BreakerState.CLOSED or decision.route is Route.MODEL)


def _decided(stored: Sequence[StoredDecision], in_force: Regime, good: Good) -> Iterator[Redecided]:
    decisions = [each.decision for each in stored]
    features = observed_by(decisions, [each.release for each in stored], in_force)
    modes = [mode_of(decision, good.basis) for decision in decisions]
    is_same_model = good.model is None and good.basis is Basis.RECORDED
    failed = [row for row, decision in enumerate(decisions) if is_same_model and decision.has_model_failed]
    own = [foreign_money(decision.snapshot.transaction) for decision in decisions]
    for verdict in decide(recomputed(decisions, features, in_force), modes, in_force, failed=failed, own=own):
        yield Redecided(verdict.outcome, verdict.summary)


def _regime_key(decision: Decision, good: Good) -> RegimeKey:
    model = good.model or Version(decision.model_version, decision.model_hash)
    policy_hash = decision.policy_hash if good.policy is None else good.policy.sha256
    made = regime_key(decision)
    return RegimeKey(
        policy_hash,
        model.version,
        model.sha256,
        good.exchange_rates or made.exchange_rates,
        good.sanctions or made.sanctions,
    )
