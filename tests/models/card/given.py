"""A small model, payments that it is measured on, and the facts of its card, for tests."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from models.artefact.files import tables_json
from models.artefact.scoring import Calibration, Model, Scores, Term, score
from models.artefact.strict import Json
from models.card.cards import facts_at_training
from models.card.facts import Approval, CardFacts, Check, Occasion
from models.card.measuring.measured import Attributes, Measured, numbered
from pipeline.domain.features import COLUMN, FEATURES, NONE, Matrix

SEEN = ("amount_gbp_minor", "is_new_beneficiary", "beneficiary_age_hours", "local_minute_of_day")
"""The last has no table of its own."""
HOSTILE = "<script>alert(1)</script>\"'|`x`\n# [a](javascript:b) \u202e ![i](http://e) &lt; </style>"


def integers(*values: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.array(values, dtype=np.int64)


def small_model(version: str = "small-1") -> Model:
    terms = (
        Term(
            ("amount_gbp_minor",), (integers(0, 5_000, 40_000, 90_000),), integers(0, -900_000, 0, 900_000, 3_000_000)
        ),
        Term(("is_new_beneficiary",), (integers(0, 1),), integers(0, -400_000, 1_500_000)),
        Term(("beneficiary_age_hours",), (integers(0, 24, 700),), integers(50_000, 1_100_000, 0, -800_000)),
        Term(
            ("amount_gbp_minor", "is_new_beneficiary"),
            (integers(0, 40_000), integers(0, 1)),
            integers(0, 0, 0, 0, -200_000, 100_000, 0, 150_000, 700_000).reshape(3, 3),
        ),
    )  # fmt: skip
    calibration = Calibration(
        integers(-2_000_000, 0, 1_500_000, 2_500_000), integers(100, 20_000, 150_000, 500_000, 900_000)
    )
    return Model(version, bytes(32), -2_000_000, terms, calibration, dict.fromkeys(SEEN, 0))


def payments(count: int = 6_000, seed: int = 7) -> Matrix:
    rng = np.random.default_rng(seed)
    features = np.full((count, len(FEATURES)), NONE, dtype=np.int64)
    features[:, COLUMN["amount_gbp_minor"]] = rng.integers(100, 200_000, count)
    features[:, COLUMN["is_new_beneficiary"]] = rng.integers(0, 2, count)
    features[:, COLUMN["beneficiary_age_hours"]] = np.where(
        rng.random(count) < 0.1, NONE, rng.integers(0, 4_000, count)
    )
    return features


def measured_of(scores: Scores, features: Matrix, said: list[Attributes], seed: int = 7) -> Measured:
    """Payments of which each is a fraud with the probability that the model says; they say `said` in turn."""
    rng = np.random.default_rng(seed)
    count = len(features)
    fraud = rng.random(count) < scores.fraud_probability_ppm / 1e6
    column = np.fromiter((said[row % len(said)] for row in range(count if said else 0)), np.object_)
    amounts = features[:, COLUMN["amount_gbp_minor"]]
    times_ms = np.arange(count, dtype=np.int64) * 60_000 + 1_782_864_000_000
    return Measured(scores.score_micro, scores.fraud_probability_ppm, fraud, amounts, times_ms, *numbered(column))


USUAL = [
    Attributes(channel, kind, (("age_band", age), ("postcode_area", area)))
    for channel, kind, age, area in (
        ("CARD", "push_payment", "18-24", "SW"),
        ("FASTER_PAYMENT", "account_takeover", "25-34", "N"),
        ("CARD", "card_testing", "65+", "AB"),
    )
]


def facts(
    said: list[Attributes] | None = None,
    version: str = "small-1",
    source: str = "A test",
    features: Matrix | None = None,
) -> CardFacts:
    model, matrix = small_model(version), payments() if features is None else features
    scores = score(model, matrix)
    measured = measured_of(scores, matrix, USUAL if said is None else said)
    manifest: dict[str, Json] = {
        "training": {
            "source": source,
            "payments": 5,
            "frauds": 1,
            "seed": 3,
            "from_ms": 1,
            "until_ms": 10**12,
            "sha256": "ab",
        },
        "metrics": {"average_precision_ppm": 123_456, "payments": len(matrix)},
        "features": list(SEEN),
    }
    return facts_at_training(
        model, manifest, ("is_new_beneficiary",), "Nothing is known of its limits.", matrix, scores, measured
    )


def with_registry(given: CardFacts) -> CardFacts:
    """The same facts as a registry adds to them: a check that passed, one that failed, two approvals."""
    return replace(
        given,
        digest=hashlib.sha256(tables_json(small_model())).hexdigest(),
        checks=(
            Check("bias", True, 1_790_000_000_000, (), {"ratio_ppm": 912_345}),
            Check(
                "red-team", False, 1_790_000_100_000, ("card testing got through",), {"attacks": [{"cost_minor": 1234}]}
            ),
        ),
        approvals=(
            Approval("RISK", "Ada", "2026-11-01", "on no evidence"),
            Approval("ENGINEERING", "Bo", "2026-11-02", "on the evidence of now"),
        ),
        approval_faults=("nobody has approved it as COMPLIANCE",),
        signature="signed by a key that counts",
        occasion=Occasion.REGISTRY,
    )  # fmt: skip
