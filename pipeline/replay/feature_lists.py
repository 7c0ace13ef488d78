"""Which features the writer of a decision knew, and what the others are worth where it is decided again.

Invariants
1. Under the regime that a decision was made in, a feature that its writer did not know takes no part: no rule and no
   model of then reads it, and its absence keeps no model from being asked.
2. Under another regime that reads it, it is UNKNOWN: rules hold on it, and the model is not asked (I4).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.decide.policy import rules_of
from pipeline.decide.verdict import Regime
from pipeline.domain.decision import Decision
from pipeline.domain.features import COLUMN, EVENT, FEATURES, NONE, STATE_SLICE, UNKNOWN, Matrix, feature_matrix
from pipeline.io.avro.writers import features_known


def observed_by(decisions: Sequence[Decision], releases: Sequence[int], in_force: Regime) -> Matrix:
    """The features of stored decisions as `in_force` may read them; `releases` are those that they were written in."""
    features = np.array([decision.snapshot.features for decision in decisions], dtype=np.int64)
    for release in set(releases):
        unheld = unheld_features(release)
        if not unheld:
            continue
        rows = [place for place, theirs in enumerate(releases) if theirs == release]
        lacking = _lacking(unheld, in_force)
        for name in unheld:
            features[rows, COLUMN[name]] = UNKNOWN if name in lacking else NONE
    return features


@lru_cache
def held_columns(release: int) -> NDArray[np.intp]:
    """The columns that can be computed again of what writers of a release knew: those whose inputs they knew, too."""
    unheld = [COLUMN[name] for name in unheld_features(release)]
    probe = np.ones((1, len(FEATURES)), dtype=np.int64)
    probe[0, unheld] = UNKNOWN
    again = feature_matrix(probe[:, : len(EVENT)], probe[:, STATE_SLICE])  # what follows from UNKNOWN is UNKNOWN
    again[0, unheld] = UNKNOWN
    return np.flatnonzero(again[0] != UNKNOWN)


@lru_cache
def unheld_features(release: int) -> frozenset[str]:
    """The features that writers of a release of decision.v1 did not know."""
    return frozenset(FEATURES).difference(features_known(release))


def _lacking(unheld: frozenset[str], in_force: Regime) -> frozenset[str]:
    """Those of the features that are UNKNOWN to a regime.

    Where it reads one that doesn't follow from the payment, all of them are: what it reads may follow from others.
    """
    read = unheld & _read_by(in_force)
    return read if read.issubset(EVENT) else unheld


def _read_by(in_force: Regime) -> frozenset[str]:
    """The features that a regime's rules and model read."""
    by_rules = {condition.feature for rule in rules_of(in_force.policy) for condition in rule.when}
    model = in_force.model
    return frozenset(by_rules) | (frozenset() if model is None else frozenset(model.typical))
