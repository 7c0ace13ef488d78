"""Challengers, and decisions for them to look at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from models.artefact.scoring import Model
from pipeline.shadow.challenger import GlassBox, Statistical
from pipeline.shadow.comparing import Placed
from tests.archive import CLOSED, Archive, payment, stored
from tests.records import NOON_MS, small_model

DEAR_MINOR = 150_000
"""With a new beneficiary, the small model takes it for likelier fraud."""


def strict_model(version: str = "strict-1") -> Model:
    """As the small model, but that it takes every payment of 1,000 pounds and more for fraud."""
    model = small_model(version)
    amounts = model.terms[1]._replace(table=np.array([[-500_000, 500_000], [8_000_000, 9_000_000]], dtype=np.int64))
    return replace(model, hash=bytes(range(1, 33)), terms=(model.terms[0], amounts))


def strict() -> GlassBox:
    return GlassBox(strict_model())


def constant(probability: float, version: str = "constant-1", digest: bytes = b"\7" * 32) -> Statistical:
    """Says the same of every payment."""

    def probabilities(rows):
        return np.full(len(rows), probability, dtype=np.float32)

    return Statistical(version, digest, ("amount_gbp_minor", "ip_fraud_reports"), probabilities)


def placed(archive: Archive, amounts, modes=None, first=0, at_ms=NOON_MS, **state) -> list[Placed]:
    payments = [payment(first + number, amount_minor=amount) for number, amount in enumerate(amounts)]
    values = archive.values(payments, modes or [CLOSED] * len(payments), **state)
    return [Placed(stored(value), 0, first + place, at_ms + place) for place, value in enumerate(values)]
