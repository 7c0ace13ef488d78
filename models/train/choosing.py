"""The choice of features and settings, on validation periods that are over before anything is measured.

Invariants
1. Walk-forward: what is learned for a period rests on payments and labels that were known when it began
   (`settled.known_at`), and it is judged on the payments of the period alone.
2. No payment that calibrates or measures the model in the end is in any of the periods.
3. Of equal candidates the first wins, so that the choice follows from the history, the plan and the seed.

Features come first, by the plan's own settings (`models.train.feature_sets` has the rule), and then settings, by the
features that were chosen: what is best with all features need not be without some.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np

from models.artefact.scoring import Calibration, Model, score
from models.artefact.strict import Json
from models.train.compile import compile_terms
from models.train.feature_sets import (
    Choice,
    Groups,
    Precision,
    choice,
    feature_sets,
    precision_of,
)
from models.train.history import HistoryRefused
from models.train.learn import Learner, fit, reading
from models.train.settled import History, known_at

FOLDS: Final = 3
FOLDS_MAX: Final = 12
FIRST_PERCENT: Final = 55
"""Share of the payments before the first validation period."""
CANDIDATES_MAX: Final = 48
"""Most settings to try. Each is learned once a fold, and some minutes a time on a million payments."""
FRAUDS_IN_FOLD_MIN: Final = 20
"""Least number of frauds to learn from, and to judge by, in each fold; with fewer, the choice is noise."""
SETTINGS: Final = ("bins", "pair_bins", "pairs", "outer_bags", "learning_rate", "samples_in_leaf_min")
"""What a grid may vary, by its names in `Learner`."""
DEFAULT_GRID: Final[Mapping[str, Sequence[float]]] = MappingProxyType({"bins": (256, 1024), "pairs": (0, 10)})
"""What made a difference on the Handbook's validation folds: few bins put rare tails into one, and whether pairs help
depends on the features. The learning rate, leaves and bags changed the average precision by at most 0.001 there."""
MICRO: Final = 1_000_000

Advance = Callable[[], object]


class Plan(NamedTuple):
    """The choices that a training is to make, and by how many periods."""

    learner: Learner  # what is tried varies this one
    tried: tuple[Learner, ...]  # empty: the settings are given
    folds: int
    label_delay_days: int
    groups: Groups = MappingProxyType({})
    """Groups of the learner's features, each of which has to earn its place; none: the features are given."""

    @property
    def is_all_given(self) -> bool:
        return not self.tried and not self.groups


class Tried(NamedTuple):
    learner: Learner
    average_precision_ppm: tuple[int, ...]  # by fold

    @property
    def mean_ppm(self) -> int:
        return sum(self.average_precision_ppm) // len(self.average_precision_ppm)


class Chosen(NamedTuple):
    learner: Learner
    tried: tuple[Tried, ...]
    period_starts_ms: tuple[int, ...]
    groups: Groups
    features: Choice | None  # None where they were given


def candidates(learner: Learner, grid: Mapping[str, Sequence[float]]) -> list[Learner]:
    """Return the learner with every combination of a grid's settings, the later ones varying fastest."""
    names = list(grid)
    assert set(names) <= set(SETTINGS), "a grid varies settings"
    combined = itertools.product(*(grid[name] for name in names))
    return [replace(learner, **dict(zip(names, values, strict=True))) for values in combined]  # type: ignore[arg-type]


def choose(history: History, plan: Plan, jobs: int = 1, advance: Advance = lambda: None) -> Chosen:
    """Choose features, then settings, by what each comes to in each period. `history` ends before what calibrates.

    `advance` is called `rounds_of_choosing(plan)` times. Raises HistoryRefused.
    """
    parts = _folds(history, plan.folds)
    known: list[tuple[Learner, tuple[Precision, ...]]] = []

    def precisions(learner: Learner) -> tuple[Precision, ...]:
        for each, found in known:
            if each == learner:
                for _ in parts:
                    advance()
                return found
        rows = []
        for learned, judged in parts:
            rows.append(_precision(learner, learned, judged, jobs))
            advance()
        known.append((learner, tuple(rows)))
        return tuple(rows)

    features, learner = None, plan.learner
    if plan.groups:
        sets = feature_sets(learner.features, plan.groups)
        features = choice(sets, [precisions(reading(learner, each.features)) for each in sets])
        learner = reading(learner, features.chosen.features)
    tried = plan.tried if features is None else [reading(each, learner.features) for each in plan.tried]
    figures = tuple(Tried(each, tuple(one.whole_ppm for one in precisions(each))) for each in tried)
    if figures:
        learner = max(figures, key=lambda each: each.mean_ppm).learner  # max takes the first of equals
    starts_ms = tuple(int(judged.examples.event_time_ms[0]) for _, judged in parts)
    return Chosen(learner, figures, starts_ms, plan.groups, features)


def rounds_of_choosing(plan: Plan) -> int:
    sets = 2 ** len(plan.groups) if plan.groups else 0
    return (sets + len(plan.tried)) * plan.folds


def parameters(learner: Learner) -> dict[str, Json]:
    """Return the settings as whole numbers, rates in millionths."""
    return {
        "pairs": learner.pairs,
        "outer_bags": learner.outer_bags,
        "bins": learner.bins,
        "pair_bins": learner.pair_bins,
        "learning_rate_micro": round(learner.learning_rate * MICRO),
        "samples_in_leaf_min": learner.samples_in_leaf_min,
        "hessian_min_micro": round(learner.hessian_min * MICRO),
        "monotone": dict(learner.monotone),
    }


def told(chosen: Chosen | None) -> Json:
    """Return all that was tried, for the manifest."""
    if chosen is None:
        return {"kind": "given"}
    settings: dict[str, Json] = {"tried": []}
    if chosen.tried:
        settings = _settings_told(chosen)
    features: Json = {"kind": "given"} if chosen.features is None else _features_told(chosen.features, chosen.groups)
    return {
        "kind": "walk-forward",
        "period_starts_ms": list(chosen.period_starts_ms),
        "features": features,
        **settings,
    }


def _settings_told(chosen: Chosen) -> dict[str, Json]:
    return {
        "tried": [
            {
                **{name: value for name, value in parameters(each.learner).items() if name != "monotone"},
                "average_precision_ppm": list(each.average_precision_ppm),
                "mean_ppm": each.mean_ppm,
            }
            for each in chosen.tried
        ],
        "chosen": next(place for place, each in enumerate(chosen.tried) if each.learner is chosen.learner),
    }


def _features_told(found: Choice, groups: Groups) -> Json:
    return {
        "kind": "walk-forward",
        "groups": {name: list(features) for name, features in groups.items()},
        "sets": [
            {
                "groups": list(each.set.groups),
                "average_precision_ppm": [one.whole_ppm for one in each.precisions],
                "mean_ppm": each.mean_ppm,
                "behind_best_ppm": each.behind_ppm,
                "noise_ppm": each.noise_ppm,
            }
            for each in found.weighed
        ],
        "chosen": found.place,
    }


def _folds(history: History, folds: int) -> list[tuple[History, History]]:
    count = len(history.known_at_ms)
    bounds = [count * (FIRST_PERCENT + (100 - FIRST_PERCENT) * fold // folds) // 100 for fold in range(folds + 1)]
    parts = []
    for begin, end in itertools.pairwise(bounds):
        judged = history.rows(begin, end)
        start_ms = int(history.examples.event_time_ms[min(begin, count - 1)])
        parts.append((_before(known_at(history, start_ms), start_ms), judged))
    for number, both in enumerate(parts, start=1):
        if any(part.examples.fraud.sum() < FRAUDS_IN_FOLD_MIN or part.examples.fraud.all() for part in both):
            raise HistoryRefused(
                f"validation period {number} of {folds} has fewer than {FRAUDS_IN_FOLD_MIN} frauds to learn from or to "
                "judge by, so neither features nor settings can be chosen; ask for fewer folds in the plan, or for an "
                "empty grid and no optional features"
            )
    return parts


def _before(history: History, moment_ms: int) -> History:
    return history.chosen(history.examples.event_time_ms < moment_ms)


def _precision(learner: Learner, learned: History, judged: History, jobs: int) -> Precision:
    booster: Any = fit(learner, learned.examples.features, learned.examples.fraud, jobs)
    intercept_micro, terms = compile_terms(booster, learner.features)
    flat = Calibration(np.array([], dtype=np.int64), np.array([0], dtype=np.int64))
    found = score(Model("tried", bytes(32), intercept_micro, terms, flat, {}), judged.examples.features).score_micro
    return precision_of(judged.examples.fraud, found, judged.weight)
