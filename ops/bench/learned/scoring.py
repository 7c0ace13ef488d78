"""What a score with its exact reasons costs: microseconds a payment, in batches of 500 and alone.

Two models are asked: the shipped champion, and one as large as a model of 1,024 bins gets, made from a seed: every
feature that a model may see with 1,024 bins, and pairs of 64 bins each. Measured are the score with its contributions
(`models.artefact.scoring.score`), and the same with every answer checked, as the worker asks
(`models.artefact.asking.ask`). The figure is the best of several rounds, as what else the machine does only adds; the
median stands beside it. One round goes to each in turn, so that a slow minute is every case's.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import combinations, islice
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from models.artefact.asking import ask
from models.artefact.files import load_champion
from models.artefact.scoring import Calibration, Model, Term, score
from models.train.learn import MODEL_FEATURES
from pipeline.domain.features import FEATURES, NONE, Matrix

REGISTRY: Final = Path("models/registry")
SEED: Final = 15
BINS: Final = 1_024
PAIR_BINS: Final = 64
PAIRS: Final = 15
STEPS: Final = 200
"""Steps of the large model's calibration."""
VALUE_MAX: Final = 1_000_000
ROWS: Final = 500
ROUNDS: Final = 500
QUICK_ROUNDS: Final = 50
ALONE: Final = 10
"""Payments that are scored one by one in a round: so few that some rounds pass without another process's turn."""
GOAL_BATCH_US: Final = 3.0
GOAL_ALONE_US: Final = 60.0

Ask = Callable[[Model, Matrix], object]


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    assert folder, "the bench writes nothing there"
    rows = payments(ROWS)
    models = {"champion": load_champion(REGISTRY), "largest": largest()}
    asks: dict[str, Ask] = {"score": score, "ask": ask}
    cases = {f"{name}_{how}": (model, asked) for name, model in models.items() for how, asked in asks.items()}
    batch: dict[str, list[float]] = {case: [] for case in cases}
    alone: dict[str, list[float]] = {case: [] for case in cases}
    for _ in range(QUICK_ROUNDS if is_quick else ROUNDS):
        for case, (model, asked) in cases.items():
            batch[case].append(_batch_us(asked, model, rows))
            alone[case].append(_alone_us(asked, model, rows))
    figures: dict[str, object] = {}
    for case, (model, _) in cases.items():
        figures[case] = {
            "terms": len(model.terms),
            "entries": sum(term.table.size for term in model.terms),
            "batch_us": round(min(batch[case]), 2),
            "batch_us_median": round(median(batch[case]), 2),
            "alone_us": round(min(alone[case]), 1),
            "alone_us_median": round(median(alone[case]), 1),
        }
        say(f"{case}: {figures[case]}")
    is_reached = all(min(batch[case]) <= GOAL_BATCH_US and min(alone[case]) <= GOAL_ALONE_US for case in cases)
    goal = {"batch_us_max": GOAL_BATCH_US, "alone_us_max": GOAL_ALONE_US}
    return {"rows": ROWS, **figures, "goal": goal, "reached": is_reached, "ok": is_quick or is_reached}


def payments(count: int) -> Matrix:
    """Return rows in which every seventh value is missing."""
    rng = np.random.default_rng(SEED)
    rows: Matrix = rng.integers(0, VALUE_MAX, (count, len(FEATURES)))
    rows[rng.random(rows.shape) < 1 / 7] = NONE
    return rows


def largest() -> Model:
    """Return a model of the largest size that training makes, with tables that mean nothing."""
    rng = np.random.default_rng(SEED)

    def edges(bins: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        found = np.sort(rng.choice(VALUE_MAX - 1, bins - 2, replace=False)).astype(np.int64) + 1
        return np.concatenate([np.zeros(1, dtype=np.int64), found])

    terms = []
    own = {name: edges(BINS) for name in MODEL_FEATURES}
    for name, axis in own.items():
        terms.append(Term((name,), (axis,), rng.integers(-(10**6), 10**6, BINS)))
    coarse = {name: edges(PAIR_BINS) for name in MODEL_FEATURES}
    for pair in islice(combinations(MODEL_FEATURES, 2), PAIRS):
        axes = tuple(coarse[name] for name in pair)
        terms.append(Term(pair, axes, rng.integers(-(10**5), 10**5, (PAIR_BINS, PAIR_BINS))))
    steps = np.sort(rng.choice(10**6, STEPS + 1, replace=False)).astype(np.int64)
    calibration = Calibration(np.sort(rng.choice(10**7, STEPS, replace=False)).astype(np.int64), steps)
    return Model("largest", bytes(32), -3_000_000, tuple(terms), calibration, dict.fromkeys(MODEL_FEATURES, 0))


def _batch_us(asked: Ask, model: Model, rows: Matrix) -> float:
    begun = time.perf_counter_ns()
    asked(model, rows)
    return (time.perf_counter_ns() - begun) / 1_000 / len(rows)


def _alone_us(asked: Ask, model: Model, rows: Matrix) -> float:
    singles = [rows[row : row + 1] for row in range(ALONE)]
    begun = time.perf_counter_ns()
    for single in singles:
        asked(model, single)
    return (time.perf_counter_ns() - begun) / 1_000 / ALONE
