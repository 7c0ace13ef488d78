"""Golden vectors: rows of features with the exact answers that a model must give. Its manifest holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.artefact.scoring import Model, score
from pipeline.domain.features import COLUMN, FEATURES, NONE, Matrix


class GoldenVector(NamedTuple):
    features: tuple[int, ...]  # in the order of the manifest's feature list
    contribution_micro: tuple[int, ...]  # one for each term
    score_micro: int
    fraud_probability_ppm: int


def golden_matrix(vectors: Sequence[GoldenVector], names: Sequence[str]) -> Matrix:
    """Return the vectors' features as a matrix (vectors, len(FEATURES)).

    A feature that the model does not see is NONE, so a new feature changes no golden vector.
    """
    matrix = np.full((len(vectors), len(FEATURES)), NONE, dtype=np.int64)
    for row, vector in enumerate(vectors):
        matrix[row, [COLUMN[name] for name in names]] = vector.features
    return matrix


def golden_vectors(model: Model, features: Matrix, names: Sequence[str]) -> list[GoldenVector]:
    """Return the model's answers on (n, len(FEATURES)) rows, as every load will check them."""
    columns = features[:, [COLUMN[name] for name in names]].tolist()
    scores = score(model, features)
    answers = zip(
        columns,
        scores.contribution_micro.tolist(),
        scores.score_micro.tolist(),
        scores.fraud_probability_ppm.tolist(),
        strict=True,
    )
    return [GoldenVector(tuple(row), tuple(parts), total, ppm) for row, parts, total, ppm in answers]
