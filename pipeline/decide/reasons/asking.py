"""Which values must be known for a model to be asked about a payment.

Invariants
1. A model is asked about no row in which a value that it reads is UNKNOWN.
2. Nor where another value is UNKNOWN, but for those of LASTING. These become UNKNOWN for ever where a state begins
   after its log, so a model that doesn't read them would never be asked again. All others are known again in time, and
   what was decided while they were not must come out the same when it is decided again.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.artefact.scoring import Model
from pipeline.domain.features import COLUMN, UNKNOWN, Matrix

LASTING: Final = (
    "account_count_ever",
    "account_sum_minor_ever",
    "account_percent_of_earlier_average_max_7d",
    "amount_percent_of_earlier_average_ever",
    "beneficiary_fraud_run_30d",
    "beneficiary_fraud_run_hours_30d",
)
"""What depends on all that an account ever attempted (pipeline/state/unusual)."""


def silencing(features: Matrix, reads: Collection[str] | None) -> NDArray[np.bool_]:
    """Return which values of the rows keep a model from being asked, in the shape of `features`.

    reads: the features that the model reads; None where there is no model, and every UNKNOWN value counts.
    """
    is_unknown = np.asarray(features == UNKNOWN)
    if reads is not None and is_unknown.any():
        is_unknown[:, [COLUMN[name] for name in LASTING if name not in reads]] = False
    return is_unknown


def read_by(model: Model | None) -> frozenset[str] | None:
    """Return the features that a model reads, as `silencing` takes them."""
    return None if model is None else frozenset(name for term in model.terms for name in term.features)
