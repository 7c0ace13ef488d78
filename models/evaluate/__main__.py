"""Measure the learner on a file of payments in the Fraud Detection Handbook's form, by its protocol.

    python -m models.evaluate handbook PATH [--bags N] [--seeds N] [--validation]

The features are those of the stream: `models.train.history` feeds the very windows that serve, from the file's first
payment on, with labels as they come. For each fold a model is learned, compiled to integers and judged by its integer
score. Beside it stand the same learner without what the stream knows of unusual payments and runs of frauds, and two
other learners with the same features, so that nobody takes the features' gain for the learner's.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from models.evaluate.folds import (
    TEST_STARTS,
    VALIDATION_STARTS,
    Fold,
    Judged,
    Scores,
    average_precisions_resampled,
    card_precisions,
    days_of,
    days_resampled,
    folds,
    judged,
)
from models.evaluate.learners import ALONE, WITH, WITHOUT, Learn, boosted_trees, forest, glass
from models.evaluate.stream import Payments, read
from models.train.history import HistoryRefused
from pipeline.terminal.output import Advance, progress

RESAMPLES: Final = 200
SURE_PERCENT: Final = 95
PUBLISHED: Final = (
    ("logistic regression", 0.868, 0.623, 0.297),
    ("random forest", 0.870, 0.678, 0.299),
    ("XGBoost, exact splits", 0.872, 0.687, 0.302),
    ("feed-forward network", 0.876, 0.675, 0.303),
    ("balanced bagging", 0.879, 0.680, 0.305),
)
"""The Handbook's own figures with its 15 features: the mean of the four weekly test folds."""


class Measured(NamedTuple):
    name: str
    folds: tuple[Judged, ...]
    scores: tuple[Scores, ...]

    def mean(self, measure: str) -> float:
        return float(np.mean([getattr(fold, measure) for fold in self.folds]))


def measured(
    payments: Payments, starts: tuple[int, ...], learners: dict[str, Learn], advance: Advance
) -> Iterator[Measured]:
    """Yield what each learner comes to."""
    parts = list(folds(payments, starts))
    for place, (name, learn) in enumerate(learners.items()):
        scores = []
        for number, part in enumerate(parts):
            scores.append(learn(part))
            advance(place * len(parts) + number + 1)
        found = zip(parts, scores, strict=True)
        yield Measured(name, tuple(judged(part.tested, score) for part, score in found), tuple(scores))


def intervals(parts: list[Fold], of: Measured) -> dict[str, list[float]]:
    """The intervals of both means: of the average precision by account, of the card precision by day."""
    pairs = list(zip(parts, of.scores, strict=True))
    precision = [
        average_precisions_resampled(part.tested, score, RESAMPLES, seed) for seed, (part, score) in enumerate(pairs)
    ]
    cards = [
        days_resampled(card_precisions(part.tested, score), RESAMPLES, seed) for seed, (part, score) in enumerate(pairs)
    ]
    return {"average_precision": _interval(precision), "card_precision": _interval(cards)}


def _interval(resampled: list[Scores]) -> list[float]:
    tail = (100 - SURE_PERCENT) / 2
    low, high = np.percentile(np.mean(resampled, axis=0), [tail, 100 - tail])
    return [round(float(low), 4), round(float(high), 4)]


def handbook(asked: argparse.Namespace) -> dict[str, object]:
    starts = VALIDATION_STARTS if asked.validation else TEST_STARTS
    with progress("streaming", None) as advance:
        payments = read(asked.path, days_of(starts), advance)
    learners = {
        f"glass box, seed {seed}": glass(WITH, seed, asked.bags, asked.jobs) for seed in range(1, asked.seeds + 1)
    }
    learners |= {
        "glass box, amount and these alone": glass(ALONE, 1, asked.bags, asked.jobs),
        "glass box without these features": glass(WITHOUT, 1, asked.bags, asked.jobs),
        "XGBoost, the same features": boosted_trees(WITH, 1, asked.jobs),
        "random forest, the same features": forest(WITH, 1, asked.jobs),
    }
    results = []
    with progress("learning", len(learners) * len(starts)) as advance:
        for each in measured(payments, starts, learners, advance):
            print(f"{each.name:40}" + _row(*(each.mean(name) for name in Judged._fields)), file=sys.stderr, flush=True)
            results.append(each)
    parts = list(folds(payments, starts))
    return {
        "folds": "validation" if asked.validation else "test",
        "payments_learned": [len(part.learned.fraud) for part in parts],
        "payments_tested": [len(part.tested.fraud) for part in parts],
        "means": {each.name: {name: round(each.mean(name), 4) for name in Judged._fields} for each in results},
        "by_fold": {each.name: [round(fold.average_precision, 4) for fold in each.folds] for each in results},
        "intervals_of_the_first": intervals(parts, results[0]),
        "bags": asked.bags,
    }


def _row(auc: float, average_precision: float, card_precision: float) -> str:
    return f"{auc:8.3f}{average_precision:8.3f}{card_precision:8.3f}"


def table(told: dict[str, object]) -> str:
    means = told["means"]
    assert isinstance(means, dict)
    lines = [f"{'mean of four weekly ' + str(told['folds']) + ' folds':40}{'AUC':>8}{'AP':>8}{'CP@100':>8}"]
    lines += [f"{name:40}{_row(*each.values())}" for name, each in means.items()]
    lines += [f"{'published: ' + name:40}{_row(*each)}" for name, *each in PUBLISHED]
    lines.append(f"{SURE_PERCENT} % intervals of the first line (average precision by account, CP@100 by day):")
    lines.append(json.dumps(told["intervals_of_the_first"]))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.evaluate", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("name", choices=["handbook"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--bags", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--validation", action="store_true", help="measure on the folds that settings are chosen on")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    try:
        told = handbook(asked)
    except HistoryRefused as refused:
        raise SystemExit(str(refused)) from refused
    print(json.dumps(told) if asked.json else table(told))


if __name__ == "__main__":
    main()
