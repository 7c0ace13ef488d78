"""The shapes of a compiled model: its tables as facts, and how much each of them moved the measured payments."""

from __future__ import annotations

import numpy as np

from models.artefact.scoring import Model, Scores, Term
from models.card.facts import Shape
from pipeline.domain.features import COLUMN, Matrix


def shapes(model: Model, features: Matrix | None = None, scores: Scores | None = None) -> tuple[Shape, ...]:
    """Return the shapes in the order of the model's terms; without measured payments, how much they move isn't said."""
    means = None if scores is None else np.abs(scores.contribution_micro).mean(axis=0)
    return tuple(
        Shape(
            features=term.features,
            edges=tuple(tuple(edges.tolist()) for edges in term.edges),
            contribution_micro=tuple(term.table.ravel().tolist()),
            mean_micro=None if means is None else round(float(means[number])),
            payments=() if features is None else _payments(term, features),
        )
        for number, term in enumerate(model.terms)
    )


def _payments(term: Term, features: Matrix) -> tuple[int, ...]:
    if len(term.features) == 2:
        return ()
    bins = term.edges[0].searchsorted(features[:, COLUMN[term.features[0]]], side="right")
    return tuple(np.bincount(bins, minlength=len(term.edges[0]) + 1).tolist())
