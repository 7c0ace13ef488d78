"""The choice of settings, on validation periods that are over before anything is measured.

Invariants
1. Walk-forward: what is learned for a period rests on payments and labels that were known when it began
   (`settled.known_at`), and it is judged on the payments of the period alone.
2. No payment that calibrates or measures the model in the end is in any of the periods.
3. Of equal candidates the first wins, so that the choice follows from the history, the grid and the seed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import numpy as np
from sklearn.metrics import average_precision_score  # type: ignore[import-untyped]

from models.artefact.scoring import Calibration, Model, score
from models.artefact.strict import Json
from models.train.compile import PPM, compile_terms
from models.train.history import HistoryRefused
from models.train.learn import Learner, fit
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


def candidates(learner: Learner, grid: Mapping[str, Sequence[float]]) -> list[Learner]:
    """Return the learner with every combination of a grid's settings, the later ones varying fastest."""
    names = list(grid)
    assert set(names) <= set(SETTINGS), "a grid varies settings"
    combined = itertools.product(*(grid[name] for name in names))
    return [replace(learner, **dict(zip(names, values, strict=True))) for values in combined]  # type: ignore[arg-type]


def choose(
    history: History, tried: Sequence[Learner], folds: int = FOLDS, jobs: int = 1, advance: Advance = lambda: None
) -> Chosen:
    """Learn each candidate for each period and take the one with the best mean. `history` ends before what calibrates.

    Raises HistoryRefused.
    """
    parts = _folds(history, folds)
    figures = []
    for learner in tried:
        precisions = []
        for learned, judged in parts:
            precisions.append(_average_precision_ppm(learner, learned, judged, jobs))
            advance()
        figures.append(Tried(learner, tuple(precisions)))
    best = max(figures, key=lambda each: each.mean_ppm)  # max takes the first of equals
    starts_ms = tuple(int(judged.examples.event_time_ms[0]) for _, judged in parts)
    return Chosen(best.learner, tuple(figures), starts_ms)


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
    return {
        "kind": "walk-forward",
        "period_starts_ms": list(chosen.period_starts_ms),
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
                "judge by, so settings can't be chosen; ask for fewer folds, or for an empty grid, in the plan"
            )
    return parts


def _before(history: History, moment_ms: int) -> History:
    return history.chosen(history.examples.event_time_ms < moment_ms)


def _average_precision_ppm(learner: Learner, learned: History, judged: History, jobs: int) -> int:
    booster: Any = fit(learner, learned.examples.features, learned.examples.fraud, jobs)
    intercept_micro, terms = compile_terms(booster, learner.features)
    flat = Calibration(np.array([], dtype=np.int64), np.array([0], dtype=np.int64))
    found = score(Model("tried", bytes(32), intercept_micro, terms, flat, {}), judged.examples.features).score_micro
    precision = average_precision_score(judged.examples.fraud, found, sample_weight=judged.weight)
    return round(float(precision) * PPM)
