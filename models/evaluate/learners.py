"""The learners that are compared: the glass box by several sets of features, and others with the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.artefact.scoring import Calibration, Model, score
from models.evaluate.folds import Fold, Scores
from models.train.compile import compile_terms
from models.train.feature_sets import Choice, choice, feature_sets, precision_of
from models.train.learn import MONOTONE, OPTIONAL_FEATURES, UNUSUAL_FEATURES, Learner, booster_input, fit
from pipeline.terminal.output import Advance, unseen

_DAYS: Final = (("24h", "1d"), ("7d", "7d"), ("30d", "30d"))
WITHOUT: Final = (
    "amount_gbp_minor",
    "is_weekend",
    "local_minute_of_day",
    *(f"account_{kind}_{window}" for window, _ in _DAYS for kind in ("count", "average_minor")),
    *(f"beneficiary_{kind}_{window}" for _, window in _DAYS for kind in ("labelled", "risk_ppm")),
)
"""The Handbook's own 15 features, as the stream has them."""
WITH: Final = (*WITHOUT, *UNUSUAL_FEATURES)
ALONE: Final = ("amount_gbp_minor", *UNUSUAL_FEATURES)

Learn = Callable[[Fold], Scores]


def glass(features: tuple[str, ...], seed: int, bags: int, jobs: int, pairs: int = 0) -> Learn:
    """A booster compiled to integers, judged by its integer score."""
    monotone = MappingProxyType({name: MONOTONE[name] for name in features if name in MONOTONE})
    learner = Learner(
        seed=seed, features=features, monotone=monotone, pairs=pairs, outer_bags=bags, bins=1_024,
        samples_in_leaf_min=4, learning_rate=0.015, hessian_min=1e-4,
    )  # fmt: skip

    def learn(fold: Fold) -> Scores:
        booster = fit(learner, fold.learned.features, fold.learned.fraud, jobs)
        intercept_micro, terms = compile_terms(booster, features)
        flat = Calibration(np.array([], dtype=np.int64), np.array([0], dtype=np.int64))
        model = Model("evaluated", bytes(32), intercept_micro, terms, flat, {})
        return np.asarray(score(model, fold.tested.features).score_micro, dtype=np.float64)

    return learn


class Glass:
    """The glass box by several sets of features; what was learned once isn't learned again."""

    def __init__(self, bags: int, jobs: int) -> None:
        self._bags, self._jobs = bags, jobs
        self._known: list[tuple[tuple[str, ...], int, Fold, Scores]] = []

    def learning(self, features: tuple[str, ...], seed: int) -> Learn:
        def learn(fold: Fold) -> Scores:
            for names, with_seed, of, scores in self._known:
                if (names, with_seed) == (features, seed) and of is fold:
                    return scores
            scores = glass(features, seed, self._bags, self._jobs)(fold)
            self._known.append((features, seed, fold, scores))
            return scores

        return learn

    def chosen(self, validation: Sequence[Fold], advance: Advance = unseen) -> Choice:
        """Choose among the Handbook's features with and without each of the new groups, as a training does."""
        sets = feature_sets(WITH, OPTIONAL_FEATURES)
        found = []
        for place, each in enumerate(sets):
            learn, precisions = self.learning(each.features, 1), []
            for number, fold in enumerate(validation):
                precisions.append(precision_of(fold.tested.fraud, learn(fold)))
                advance(place * len(validation) + number + 1)
            found.append(precisions)
        return choice(sets, found)


def boosted_trees(features: tuple[str, ...], seed: int, jobs: int) -> Learn:
    """XGBoost with exact splits."""

    def make() -> Any:
        from xgboost import XGBClassifier

        return XGBClassifier(
            n_estimators=100, max_depth=4, learning_rate=0.1, tree_method="exact", random_state=seed, n_jobs=jobs
        )

    return _estimator(make, features)


def forest(features: tuple[str, ...], seed: int, jobs: int) -> Learn:
    def make() -> Any:
        from sklearn.ensemble import RandomForestClassifier  # type: ignore[import-untyped]

        return RandomForestClassifier(100, min_samples_leaf=4, random_state=seed, n_jobs=jobs)

    return _estimator(make, features)


def _estimator(make: Callable[[], Any], features: tuple[str, ...]) -> Learn:
    def learn(fold: Fold) -> Scores:
        fitted = make().fit(booster_input(fold.learned.features, features), fold.learned.fraud.astype(np.int64))
        probability: NDArray[np.float64] = fitted.predict_proba(booster_input(fold.tested.features, features))[:, 1]
        return np.asarray(probability, dtype=np.float64)

    return learn
