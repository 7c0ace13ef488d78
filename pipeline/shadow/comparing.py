"""A challenger's answers beside the decisions that were made: which of them can be compared, and how they come out.

Invariants
1. Each decision gets one answer, in order, and the first standing in the order of `_standing` that holds.
2. An answer follows from the decision's record and the challenger's files alone (but for an ONNX model's floats): the
   same record gives the same answer, so that writing it again writes the same.
3. Only what both models answered counts as agreement or as disagreement.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np

from pipeline.decide.phrase_books.money import foreign_money
from pipeline.decide.reasons.asking import silencing
from pipeline.decide.verdict import Regime
from pipeline.domain.decision import Decision, Route, StoredDecision
from pipeline.domain.features import COLUMN, NONE, UNKNOWN, Matrix
from pipeline.domain.payment import Transaction
from pipeline.domain.trials.shadow_answer import ShadowAnswer, ShadowStanding
from pipeline.replay.feature_lists import observed_by, unheld_features
from pipeline.replay.regimes import NO_MODEL, Missing, RegimeKey, RegimeOf
from pipeline.replay.verify import regime_key
from pipeline.shadow.challenger import SAYS_CHARACTERS_MAX, Answered, Challenger

SEGMENT_CHARACTERS_MAX: Final = 100
"""Longer ones are cut; a payment's own may be as long as its publisher likes."""
SEGMENTS_MAX: Final = 8


class Placed(NamedTuple):
    """A decision, and where its record stands on decisions.v1, with the broker's time."""

    stored: StoredDecision
    partition: int
    offset: int
    at_ms: int


def compare(decisions: Sequence[Placed], challenger: Challenger, regime_of: RegimeOf) -> list[ShadowAnswer]:
    """One answer a decision, in order."""
    answers: dict[int, ShadowAnswer] = {}
    groups: dict[RegimeKey, list[int]] = {}
    for place, each in enumerate(decisions):
        standing = _standing(each.stored.decision, challenger)
        if standing is None:
            groups.setdefault(_without_model(each.stored.decision), []).append(place)
        else:
            answers[place] = _answer(each, challenger, standing, None)
    for key, group in groups.items():
        under = regime_of(key)
        part = [decisions[place] for place in group]
        answers.update(zip(group, _compared(part, challenger, under), strict=True))
    return [answers[place] for place in range(len(decisions))]


def segments_of(payment: Transaction) -> str:
    """A line for each segment that the payment is in: its channel, then its own by name."""
    own = [f"{name}={value}" for name, value in sorted(payment.segments.items())[: SEGMENTS_MAX - 1]]
    lines = [f"channel:{payment.channel}", *own]
    return "\n".join(" ".join(line.split())[:SEGMENT_CHARACTERS_MAX] for line in lines)


def _standing(decision: Decision, challenger: Challenger) -> ShadowStanding | None:
    """Why the two can't be compared, as far as the decision itself says; None where they may be."""
    if (decision.model_version, decision.model_hash) == (challenger.version, challenger.digest):
        return ShadowStanding.SAME_MODEL
    if decision.route is Route.GUARDRAIL:
        return ShadowStanding.GUARDRAIL
    held = decision.snapshot.features
    if UNKNOWN in held and silencing(np.array([held]), challenger.features).any():
        return ShadowStanding.VALUE_UNKNOWN
    return ShadowStanding.FALLBACK if decision.route is Route.FALLBACK else None


def _without_model(decision: Decision) -> RegimeKey:
    """The decision's policy and feeds: all that a challenger is judged under."""
    return regime_key(decision)._replace(model_version=NO_MODEL, model_hash=b"")


def _compared(decisions: Sequence[Placed], challenger: Challenger, under: Regime | Missing) -> list[ShadowAnswer]:
    if isinstance(under, Missing):
        return [_answer(each, challenger, ShadowStanding.REGIME_MISSING, None) for each in decisions]
    features = _observed(decisions, challenger, under)
    is_unknown = np.asarray(silencing(features, challenger.features).any(axis=1))
    asked = np.flatnonzero(~is_unknown).tolist()
    own = [foreign_money(decisions[row].stored.decision.snapshot.transaction) for row in asked]
    given = dict(zip(asked, challenger.answers(features[asked], own, under), strict=True)) if asked else {}
    found = []
    for row, each in enumerate(decisions):
        if is_unknown[row]:
            found.append(_answer(each, challenger, ShadowStanding.VALUE_UNKNOWN, None))
            continue
        answered = given[row]
        standing = ShadowStanding.FAILED if answered is None else ShadowStanding.COMPARED
        found.append(_answer(each, challenger, standing, answered))
    return found


def _observed(decisions: Sequence[Placed], challenger: Challenger, under: Regime) -> Matrix:
    """The features as recorded; what a writer of then did not know is UNKNOWN where the challenger reads it."""
    releases = [each.stored.release for each in decisions]
    features = observed_by([each.stored.decision for each in decisions], releases, under)
    for release in set(releases):
        if lacking := unheld_features(release) & challenger.features:
            rows = [row for row, theirs in enumerate(releases) if theirs == release]
            for name in lacking:
                features[rows, COLUMN[name]] = UNKNOWN
    return features


def _answer(
    placed: Placed, challenger: Challenger, standing: ShadowStanding, answered: Answered | None
) -> ShadowAnswer:
    decision = placed.stored.decision
    differs = answered is not None and answered.outcome is not decision.outcome
    return ShadowAnswer(
        decision.decision_id,
        decision.transaction_id,
        decision.account_id,
        placed.partition,
        placed.offset,
        placed.at_ms,
        segments_of(decision.snapshot.transaction),
        max(NONE, decision.snapshot.features[COLUMN["amount_gbp_minor"]]),
        challenger.version,
        challenger.digest,
        decision.model_version,
        standing,
        decision.outcome,
        None if answered is None else answered.outcome,
        decision.fraud_probability_ppm,
        NONE if answered is None else answered.fraud_probability_ppm,
        decision.summary[:SAYS_CHARACTERS_MAX] if differs else None,
        answered.says if answered is not None and differs else None,
    )
