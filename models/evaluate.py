"""Measure the compiled model on somebody else's protocol.

    python -m models.evaluate handbook PATH [--bags N]

PATH is the parquet file of the Fraud Detection Handbook's transactions. Beside it stands `handbook_protocol.py`, which
prescribes features, folds and measures. The book's 15 features are mapped to ours. For each fold a model is learned,
compiled to integers and judged by its integer score.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np

from models.artefact.scoring import Calibration, Column, Model, score
from models.train.compile import compile_terms
from models.train.learn import Learner, fit
from pipeline.domain.features import COLUMN, FEATURES, NONE, Matrix

_DAYS: Final = ((1, "24h", "1d"), (7, "7d", "7d"), (30, "30d", "30d"))
HANDBOOK_FEATURES: Final = (
    "amount_gbp_minor",
    "is_weekend",
    "local_minute_of_day",
    *(f"account_{kind}_{window}" for _, window, _ in _DAYS for kind in ("count", "average_minor")),
    *(f"beneficiary_{kind}_{window}" for _, _, window in _DAYS for kind in ("labelled", "risk_ppm")),
)


def handbook(path: Path, bags: int, jobs: int) -> dict[str, Any]:
    """Measure AUC, average precision and card precision at 100, both in the first fold and as the mean of the four."""
    protocol = _protocol(path.with_name("handbook_protocol.py"))
    payments = protocol.features(protocol.load(path))
    learner = Learner(
        seed=1, features=HANDBOOK_FEATURES, monotone=MappingProxyType({}), pairs=15, outer_bags=bags, bins=256,
        pair_bins=64, samples_in_leaf_min=4, learning_rate=0.015,
    )  # fmt: skip

    def fit_and_score(learned: Any, tested: Any) -> Column:
        print(f"learning from {len(learned):,} payments", file=sys.stderr, flush=True)
        booster = fit(learner, handbook_matrix(learned), learned.TX_FRAUD.to_numpy() == 1, jobs)
        return score(_uncalibrated(booster), handbook_matrix(tested)).score_micro

    folds = protocol.evaluate(fit_and_score, payments)
    measures = ("AUC", "AP", "CP100")
    return {
        "single_split": {name: round(float(folds[name].iloc[0]), 4) for name in measures},
        "mean_of_4_folds": {name: round(float(folds[name].mean()), 4) for name in measures},
        "pairs": learner.pairs,
        "outer_bags": bags,
    }


def handbook_matrix(payments: Any) -> Matrix:
    """Map the book's columns to ours; return (n, len(FEATURES)), in which all other features are NONE."""
    matrix = np.full((len(payments), len(FEATURES)), NONE, dtype=np.int64)
    matrix[:, COLUMN["amount_gbp_minor"]] = np.round(payments.TX_AMOUNT * 100)
    matrix[:, COLUMN["is_weekend"]] = payments.TX_DURING_WEEKEND
    matrix[:, COLUMN["local_minute_of_day"]] = payments.TX_TIME_SECONDS // 60 % 1440
    for days, account_window, beneficiary_window in _DAYS:
        window = f"{days}DAY_WINDOW"
        matrix[:, COLUMN[f"account_count_{account_window}"]] = payments[f"CUSTOMER_ID_NB_TX_{window}"]
        average = payments[f"CUSTOMER_ID_AVG_AMOUNT_{window}"]
        matrix[:, COLUMN[f"account_average_minor_{account_window}"]] = np.floor(average * 100 + 0.5)
        labelled = payments[f"TERMINAL_ID_NB_TX_{window}"]
        risk_ppm = np.round(payments[f"TERMINAL_ID_RISK_{window}"] * 1_000_000)
        matrix[:, COLUMN[f"beneficiary_labelled_{beneficiary_window}"]] = labelled
        matrix[:, COLUMN[f"beneficiary_risk_ppm_{beneficiary_window}"]] = np.where(labelled > 0, risk_ppm, NONE)
    return matrix


def _uncalibrated(booster: Any) -> Model:
    intercept_micro, terms = compile_terms(booster, HANDBOOK_FEATURES)
    flat = Calibration(np.array([], dtype=np.int64), np.array([0], dtype=np.int64))
    return Model("handbook", bytes(32), intercept_micro, terms, flat, {})


def _protocol(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("handbook_protocol", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise SystemExit(f"'{path.name}' must stand beside the parquet file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m models.evaluate", description=__doc__.partition("\n")[0])
    parser.add_argument("name", choices=["handbook"])
    parser.add_argument("path", type=Path)
    parser.add_argument("--bags", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked = parser.parse_args()
    print(json.dumps(handbook(asked.path, asked.bags, asked.jobs)))


if __name__ == "__main__":
    main()
