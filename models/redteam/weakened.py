"""A model that is weakened on purpose: the gate must refuse it, and a red team that doesn't see it is blind."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from enum import StrEnum
from typing import Final

import numpy as np

from models.artefact.scoring import Model

LENIENT_MICRO: Final = 2_500_000
"""Log-odds by which every score of the lenient model is too low: a fraud of 80 % is one of 25 %."""


class Weakness(StrEnum):
    """BLIND: it no longer sees reports, new payees, payees' ages or their risk. LENIENT: every score is too low."""

    BLIND = "blind"
    LENIENT = "lenient"


UNSEEN: Final = ("ip_fraud_reports", "device_fraud_reports", "is_new_beneficiary", "beneficiary_")


def weakened(model: Model, weakness: Weakness) -> Model:
    """Return the model, weakened; its version and hash are others, since it is another model."""
    version = f"{model.version[: 31 - len(weakness)]}-{weakness}"
    digest = hashlib.sha256(model.hash + weakness.encode()).digest()
    if weakness is Weakness.LENIENT:
        return replace(model, version=version, hash=digest, intercept_micro=model.intercept_micro - LENIENT_MICRO)
    terms = tuple(
        term._replace(table=np.zeros_like(term.table)) if any(map(_is_unseen, term.features)) else term
        for term in model.terms
    )
    return replace(model, version=version, hash=digest, terms=terms)


def _is_unseen(feature: str) -> bool:
    return feature.startswith(UNSEEN)
