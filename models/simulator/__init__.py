"""Seeded, realistic payment traffic with labelled fraud, for training, demonstration and load."""

from models.simulator.records import (
    LabelledTransaction,
    Scenario,
    TrafficEvent,
    TrafficSettings,
)
from models.simulator.stream import events, transactions

__all__ = [
    "LabelledTransaction",
    "Scenario",
    "TrafficEvent",
    "TrafficSettings",
    "events",
    "transactions",
]
