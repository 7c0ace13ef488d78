"""What a model was taught on, in short: for each of its features, and for its scores, how many values lay where.

Invariants
1. A value has exactly one bin: UNKNOWN, NONE, or one between edges; a bin holds the values above its lower edge up to
   its upper one. The last has no upper edge: it holds what is above all that was taught, and the first of them what is
   below. So a feature that was always the same, or a category that is new, is seen to change.
2. A reference that parses has as many counts as bins, none below 0, and edges that grow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.artefact.strict import Json
from pipeline.domain.features import COLUMN, NONE, UNKNOWN

Column = NDArray[np.int64]
PARTS: Final = 10
"""Deciles. More bins see smaller shifts only where there are samples to match."""
EDGES_MAX: Final = PARTS + 1
"""One below all that was taught, and the upper one of each decile."""
FEATURES_MAX: Final = 200
COUNT_MAX: Final = 2**53
MISSING_BINS: Final = 2
"""UNKNOWN and NONE come first."""


class Histogram(NamedTuple):
    """Counts by bin: UNKNOWN, NONE, then one more than there are edges."""

    edges: tuple[int, ...]
    counts: tuple[int, ...]


class Reference(NamedTuple):
    payments: int
    features: Mapping[str, Histogram]
    score_ppm: Histogram  # of the fraud probability


def edges_of(values: Column) -> tuple[int, ...]:
    """Return the edges of ten bins of as many known values each, between the least and the greatest of them; fewer
    where values repeat."""
    known = np.sort(values[values >= 0])
    if not len(known):
        return ()
    places = (np.arange(1, PARTS) * len(known)) // PARTS
    below = [known[0] - 1] if known[0] else []
    return tuple(sorted({int(each) for each in (*below, *known[places], known[-1])}))


def counts_of(edges: Sequence[int], values: Column) -> Column:
    """Return how many values lie in each bin."""
    places = np.searchsorted(np.array(edges, np.int64), values, side="left") + MISSING_BINS
    places = np.where(values == UNKNOWN, 0, np.where(values == NONE, 1, places))
    counted: Column = np.bincount(places, minlength=len(edges) + 1 + MISSING_BINS).astype(np.int64)
    return counted


def histogram_of(values: Column) -> Histogram:
    edges = edges_of(values)
    return Histogram(edges, tuple(counts_of(edges, values).tolist()))


def reference_json(reference: Reference) -> dict[str, Json]:
    features: dict[str, Json] = {name: _json(each) for name, each in reference.features.items()}
    return {"payments": reference.payments, "features": features, "score_ppm": _json(reference.score_ppm)}


def reference_in(training: Json) -> Reference | None:
    """Return the reference of a manifest's `training` object; None where it has none. Raises ValueError."""
    if not isinstance(training, dict) or "reference" not in training:
        return None
    stored = training["reference"]
    if not isinstance(stored, dict) or stored.keys() != {"payments", "features", "score_ppm"}:
        raise ValueError("the reference has not the keys payments, features and score_ppm")
    features, payments = stored["features"], stored["payments"]
    if not isinstance(features, dict) or not 1 <= len(features) <= FEATURES_MAX:
        raise ValueError("the reference's features are no object of 1 to 200")
    if unknown := sorted(features.keys() - COLUMN.keys()):
        raise ValueError(f"the reference speaks of the unknown feature '{unknown[0]}'")
    named = {name: _histogram(each, name) for name, each in features.items()}
    return Reference(_count(payments, "payments"), named, _histogram(stored["score_ppm"], "score_ppm"))


def _json(histogram: Histogram) -> dict[str, Json]:
    return {"edges": list(histogram.edges), "counts": list(histogram.counts)}


def _histogram(stored: Json, name: str) -> Histogram:
    if not isinstance(stored, dict) or stored.keys() != {"edges", "counts"}:
        raise ValueError(f"the reference of {name} has not the keys edges and counts")
    edges, counts = stored["edges"], stored["counts"]
    if not isinstance(edges, list) or not isinstance(counts, list):
        raise ValueError(f"the reference of {name} has no lists")
    bounds = tuple([_count(each, name) for each in edges])
    if list(bounds) != sorted(set(bounds)) or len(bounds) > EDGES_MAX:
        raise ValueError(f"the edges of {name} don't grow, or are too many")
    if len(counts) != len(bounds) + 1 + MISSING_BINS:
        raise ValueError(f"{name} has {len(counts)} counts for {len(bounds)} edges")
    return Histogram(bounds, tuple([_count(each, name) for each in counts]))


def _count(value: Json, name: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= COUNT_MAX:
        raise ValueError(f"the reference of {name} holds what is no count")
    return value
