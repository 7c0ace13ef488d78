"""A model's answers about a batch of payments, and which payments it failed on.

Invariants
1. An answer is whole or not given: integers of the right shapes, contributions that sum to the score, and the
   probability that follows from it, within its bounds. A model that raises or says anything else has failed on the
   payment, and nothing more.
2. A payment that the model fails on costs the others of its batch nothing, until FAILED_ALONE_MAX have failed alone:
   then the model is taken to be broken, and the rest of the batch counts as failed too.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.artefact.scoring import PROBABILITY_PPM_MAX, Model, Scores, probability_ppm, score
from pipeline.domain.features import Matrix

FAILED_ALONE_MAX: Final = 8
"""Payments of a batch that may fail alone. To find each takes two scorings for every halving, of 35 µs and more: about
6 ms for eight of 2,048 payments. A model that is broken altogether costs that for each batch, and not one a payment."""
NONSENSE: Final = "Nonsense"
"""Stands for an error's class where the model returned something that is no answer."""
NOT_TRIED: Final = "NotTried"
"""Stands for it where too many other payments of the batch had failed already."""


class Asked(NamedTuple):
    """The rows that were answered, in order, with their scores; and each other row with its error's class."""

    rows: NDArray[np.intp]
    scores: Scores
    failed: dict[int, str]


def ask(model: Model, features: Matrix) -> Asked:
    """Ask the model about a batch; `features` is (n, len(FEATURES)). Never raises for what the model does."""
    answered: list[NDArray[np.intp]] = []
    scores: list[Scores] = []
    failed: dict[int, str] = {}
    failed_alone, parts = 0, [(0, len(features))] if len(features) else []
    while parts:
        begin, end = parts.pop()
        answer = NOT_TRIED if failed_alone >= FAILED_ALONE_MAX else _answer(model, features[begin:end])
        if not isinstance(answer, str):
            is_sound = _are_sound(model, answer)
            answered.append(np.flatnonzero(is_sound) + begin)
            scores.append(answer if is_sound.all() else Scores(*(part[is_sound] for part in answer)))
            failed.update(dict.fromkeys((np.flatnonzero(~is_sound) + begin).tolist(), NONSENSE))
        elif answer == NOT_TRIED or end - begin == 1:
            failed.update(dict.fromkeys(range(begin, end), answer))
            failed_alone += answer != NOT_TRIED
        else:
            middle = (begin + end) // 2
            parts += [(middle, end), (begin, middle)]
    return Asked(*_joined(answered, scores, len(model.terms)), failed)


def _answer(model: Model, features: Matrix) -> Scores | str:
    """The scores, of which each row is still to be looked at, or the class of the error in their place."""
    try:
        scores = score(model, features)
        return scores if _have_shapes(scores, len(features), len(model.terms)) else NONSENSE
    except Exception as error:  # whatever an artefact's tables make it raise: it is the model's fault, and told as that
        return type(error).__name__


def _have_shapes(scores: Scores, rows: int, terms: int) -> bool:
    contribution_micro, score_micro, probability_ppm = scores
    shapes = contribution_micro.shape, score_micro.shape, probability_ppm.shape
    return shapes == ((rows, terms), (rows,), (rows,)) and all(part.dtype == np.int64 for part in scores)


def _are_sound(model: Model, scores: Scores) -> NDArray[np.bool_]:
    ppm = scores.fraud_probability_ppm
    is_sum = scores.contribution_micro.sum(axis=1) + model.intercept_micro == scores.score_micro
    is_calibrated = ppm == probability_ppm(model.calibration, scores.score_micro)
    is_sound: NDArray[np.bool_] = is_sum & is_calibrated & (ppm >= 0) & (ppm <= PROBABILITY_PPM_MAX)
    return is_sound


def _joined(rows: list[NDArray[np.intp]], scores: list[Scores], terms: int) -> tuple[NDArray[np.intp], Scores]:
    if len(scores) == 1:
        return rows[0], scores[0]
    if not scores:
        nothing = np.zeros(0, dtype=np.int64)
        return np.zeros(0, dtype=np.intp), Scores(np.zeros((0, terms), dtype=np.int64), nothing, nothing)
    parts = zip(*scores, strict=True)
    return np.concatenate(rows), Scores(*(np.concatenate(part) for part in parts))
