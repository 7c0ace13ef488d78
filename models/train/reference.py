"""The reference that a model's inputs and scores are compared with while it serves (pipeline/bias/drift)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from models.artefact.strict import Json
from pipeline.bias.drift.reference import Reference, histogram_of, reference_json
from pipeline.domain.features import COLUMN, Matrix


def with_reference(
    training: Mapping[str, Json], features: Matrix, names: Sequence[str], probability_ppm: Matrix
) -> dict[str, Json]:
    """Return a manifest's `training` with the reference of payments that were scored.

    features: all features of the payments. names: those that the model reads.
    """
    histograms = {name: histogram_of(features[:, COLUMN[name]]) for name in names}
    scores = histogram_of(np.asarray(probability_ppm, np.int64))
    return {**training, "reference": reference_json(Reference(len(features), histograms, scores))}
