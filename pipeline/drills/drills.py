"""The drills that there are, and which figures each of them is judged by.

Invariants
1. Every drill has its measures, and a measure that a drill has is judged: one without a figure, or without an
   objective, is not met.
2. A drill that could not be carried out has neither passed nor failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class DrillName(StrEnum):
    """The drills, by the names that people call them by."""

    MODEL_BLOCKS = "model-blocks"
    MODEL_ALLOWS = "model-allows"
    ONE_POSTCODE = "one-postcode"
    SLOW_MODEL = "slow-model"
    FAILING_MODEL = "failing-model"
    DRIFT = "drift"
    REDIS_LOST = "redis-lost"
    BROKER_LOST = "broker-lost"
    RAIL_LOST = "rail-lost"
    POSTGRES_LOST = "postgres-lost"


class Measure(StrEnum):
    """The figures, in the order in which they are told. Seconds count from the fault on; recovery from its end on."""

    DETECT_S = "detect_s"
    TRIP_S = "trip_s"
    PAGE_S = "page_s"
    RECOVER_S = "recover_s"
    LEAKED = "leaked"
    LEAKED_MINOR = "leaked_minor"


class Verdict(StrEnum):
    PASSED = "PASSED"
    FAILED = "FAILED"
    NOT_CARRIED_OUT = "NOT_CARRIED_OUT"


ABOUT: Final[Mapping[DrillName, str]] = MappingProxyType(
    {
        DrillName.MODEL_BLOCKS: "a model that blocks every payment becomes champion",
        DrillName.MODEL_ALLOWS: "a model that allows every payment becomes champion",
        DrillName.ONE_POSTCODE: "a model that blocks the customers of one postcode becomes champion",
        DrillName.SLOW_MODEL: "the model takes longer than the policy's limit of latency",
        DrillName.FAILING_MODEL: "the model raises an error for one payment in five",
        DrillName.DRIFT: "the champion's scores drift, and its answers don't",
        DrillName.REDIS_LOST: "Redis goes away, and comes back without its state",
        DrillName.BROKER_LOST: "the broker goes away, and comes back",
        DrillName.RAIL_LOST: "the payment rail goes away, and comes back",
        DrillName.POSTGRES_LOST: "PostgreSQL goes away, and comes back",
    }
)
_TRIPPING: Final = tuple(Measure)
_OUTAGE: Final = tuple(measure for measure in Measure if measure is not Measure.TRIP_S)
MEASURES: Final[Mapping[DrillName, tuple[Measure, ...]]] = MappingProxyType(
    {
        **dict.fromkeys(DrillName, _TRIPPING),
        # With these the model is sound and stays in the loop, so there is nothing to trip.
        **dict.fromkeys((DrillName.BROKER_LOST, DrillName.RAIL_LOST, DrillName.POSTGRES_LOST), _OUTAGE),
    }
)
