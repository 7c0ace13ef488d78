"""The features that a model may see, the one way that some of them may go, and the booster's settings."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from interpret.glassbox import ExplainableBoostingClassifier  # type: ignore[import-untyped]
from numpy.typing import NDArray
from scipy.stats import rankdata  # type: ignore[import-untyped]

from pipeline.domain.features import COLUMN, NONE, Matrix

TWIN_CORRELATION: Final = 0.95
RISING: Final = 1
FALLING: Final = -1

OPTIONAL_FEATURES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "unusual_amounts": ("amount_percent_of_earlier_average_ever", "account_percent_of_earlier_average_max_7d"),
        "fraud_runs": ("beneficiary_fraud_run_30d", "beneficiary_fraud_run_hours_30d"),
    }
)
"""Groups of features that a training reads only where they earn their place on its validation periods (ADR 0053): how
unusual the payment is for its account, and the week's most unusual one was; and the run of frauds at the beneficiary
(ADR 0041)."""
UNUSUAL_FEATURES: Final = tuple(name for group in OPTIONAL_FEATURES.values() for name in group)
MODEL_FEATURES: Final = (
    "amount_gbp_minor",
    "beneficiary_age_hours",
    "local_minute_of_day",
    "account_count_1h",
    "account_sum_minor_24h",
    "account_count_7d",
    "account_ms_since_last",
    "account_distinct_beneficiaries_24h",
    "account_near_limit_count_24h",
    "is_new_beneficiary",
    "ip_fraud_reports",
    "device_fraud_reports",
    "amount_percent_of_average_30d",
    "account_volume_percent_of_normal_month",
    "beneficiary_risk_ppm_7d",
    "beneficiary_risk_ppm_30d",
    *UNUSUAL_FEATURES,
)
"""Features of a model. Each says something that a person can check and understand. Segments, and the features that
guardrails own, are not here. Nor is a feature that says nearly the same as another: such twins get large contributions
that cancel, and then neither is a reason. The number of accounts that paid the beneficiary is left out for that, though
with it average precision on the generated traffic was 0.889, and without it 0.865: it spoke through four pairs at once,
and few senders are no reason to block."""

MONOTONE: Final[Mapping[str, int]] = MappingProxyType(
    {
        "beneficiary_age_hours": FALLING,
        "account_count_1h": RISING,
        "account_distinct_beneficiaries_24h": RISING,
        "account_near_limit_count_24h": RISING,
        "ip_fraud_reports": RISING,
        "device_fraud_reports": RISING,
        "beneficiary_risk_ppm_7d": RISING,
        "beneficiary_risk_ppm_30d": RISING,
        "amount_percent_of_earlier_average_ever": RISING,
        "account_percent_of_earlier_average_max_7d": RISING,
        "beneficiary_fraud_run_30d": RISING,
    }
)
"""Directions of the monotone features. Whatever the sample says, more fraud reports must not speak for a payment. Nor
must a burst: without this, payrolls taught a model that fourteen beneficiaries in a day are a reason to allow. These
features join no pair, so the whole score is monotone in them, not just one table."""


@dataclass(frozen=True, slots=True)
class Learner:
    seed: int
    features: tuple[str, ...] = MODEL_FEATURES
    monotone: Mapping[str, int] = field(default_factory=lambda: MONOTONE)
    pairs: int = 10
    outer_bags: int = 3
    bins: int = 1_024
    pair_bins: int = 32
    learning_rate: float = 0.04
    samples_in_leaf_min: int = 50
    hessian_min: float = 0.01  # of each leaf


def reading(learner: Learner, features: tuple[str, ...]) -> Learner:
    """Return the learner with these features, and the directions of these."""
    kept = {name: direction for name, direction in learner.monotone.items() if name in features}
    return replace(learner, features=features, monotone=MappingProxyType(kept))


def fit(
    learner: Learner,
    features: Matrix,
    fraud: NDArray[np.bool_],
    jobs: int = 1,
    weight: NDArray[np.float64] | None = None,
) -> Any:
    """Fit an ExplainableBoostingClassifier over `learner.features`; `features` is (n, len(FEATURES)).

    weight: of each example; None where all count the same. The result doesn't depend on `jobs`.
    """
    columns = booster_input(features, learner.features)
    booster = ExplainableBoostingClassifier(
        feature_names=list(learner.features),
        feature_types=["continuous"] * len(learner.features),
        monotone_constraints=[learner.monotone.get(name, 0) for name in learner.features],
        interactions=learner.pairs,
        exclude=twins(columns),
        outer_bags=learner.outer_bags,
        max_bins=learner.bins,
        max_interaction_bins=learner.pair_bins,
        learning_rate=learner.learning_rate,
        min_samples_leaf=learner.samples_in_leaf_min,
        min_hessian=learner.hessian_min,
        random_state=learner.seed,
        n_jobs=jobs,
    )
    with warnings.catch_warnings():
        # It warns that its plots don't show missing values. Ours are the bin of NONE, and the reasons name them.
        warnings.filterwarnings("ignore", message="Missing values detected")
        # A feature that no payment of a validation period's past had yet has the bin of NONE, and no other.
        warnings.filterwarnings("ignore", message="All-NaN slice encountered")
        booster.fit(columns, fraud.astype(np.int64), sample_weight=weight)
    return booster


def twins(columns: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the pairs of columns that rise together so much that they may not form a term.

    The measure is rank correlation, with NONE the lowest rank. The mass of such a pair lies along its diagonal, and
    to separate its table from the two one-feature tables is ill-conditioned: the averages over 7 and over 30 days got
    entries of 463 and of 1,819 log-odds that way.
    """
    ranks = rankdata(np.nan_to_num(columns, nan=NONE), axis=0)
    varying = np.flatnonzero(ranks.std(axis=0) > 0)
    correlation = np.atleast_2d(np.corrcoef(ranks[:, varying], rowvar=False))
    found = np.argwhere(np.triu(np.abs(correlation) > TWIN_CORRELATION, k=1))
    return [(int(varying[first]), int(varying[second])) for first, second in found]


def booster_input(features: Matrix, names: Sequence[str]) -> NDArray[np.float64]:
    """Return the named columns as floats, NONE as missing. They are exact, because values stay below 2^53."""
    columns = features[:, [COLUMN[name] for name in names]]
    return np.where(columns == NONE, np.nan, columns.astype(np.float64))
