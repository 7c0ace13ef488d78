"""Measures of a score's quality, as whole numbers, so that a manifest holds no floats."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score  # type: ignore[import-untyped]

from models.artefact.scoring import Scores

ALERTED_PER_MILLE: Final = 5
"""Share of the payments that a bank's reviewers can look at: 0.5 %."""
PPM: Final = 1_000_000


class Metrics(NamedTuple):
    """Measures on payments that are later than any that the model was learned or calibrated from."""

    payments: int
    frauds: int
    average_precision_ppm: int
    auc_ppm: int
    recall_ppm_at_5_per_mille: int  # share of all frauds that are among the highest-scored 0.5 % of the payments
    precision_ppm_at_5_per_mille: int
    brier_ppm: int  # mean squared error of the probability
    calibration_error_ppm: int  # mean distance of probability and share of fraud, over ten bins of probability
    blocked_ppm: int  # share of all payments that have a probability of at least 80 %
    blocked_honest_ppm: int  # share of these that are honest


def measure(scores: Scores, fraud: NDArray[np.bool_]) -> Metrics:
    probability = scores.fraud_probability_ppm / PPM
    score_micro = scores.score_micro
    alerted = np.argsort(-score_micro, kind="stable")[: max(1, len(fraud) * ALERTED_PER_MILLE // 1000)]
    found = int(fraud[alerted].sum())
    blocked = scores.fraud_probability_ppm >= 800_000
    return Metrics(
        payments=len(fraud),
        frauds=int(fraud.sum()),
        average_precision_ppm=_ppm(average_precision_score(fraud, score_micro)),
        auc_ppm=_ppm(roc_auc_score(fraud, score_micro)),
        recall_ppm_at_5_per_mille=_ppm(found / int(fraud.sum())),
        precision_ppm_at_5_per_mille=_ppm(found / len(alerted)),
        brier_ppm=_ppm(np.mean((probability - fraud) ** 2)),
        calibration_error_ppm=_ppm(_calibration_error(probability, fraud)),
        blocked_ppm=_ppm(np.mean(blocked)),
        blocked_honest_ppm=_ppm(np.mean(~fraud[blocked]) if blocked.any() else 0.0),
    )


def _calibration_error(probability: NDArray[np.float64], fraud: NDArray[np.bool_]) -> float:
    bins = np.minimum((probability * 10).astype(np.int64), 9)
    counts = np.bincount(bins, minlength=10)
    gaps = np.bincount(bins, weights=probability, minlength=10) - np.bincount(bins, weights=fraud, minlength=10)
    return float(np.abs(gaps).sum() / counts.sum())


def _ppm(share: float | np.floating) -> int:
    return round(float(share) * PPM)
