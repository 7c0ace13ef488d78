"""Seeded, realistic payment traffic with labelled fraud, for training, demonstration and load."""

from models.simulator.records import (
    AccountProfile,
    Label,
    LabelledTransaction,
    RiskSignal,
    Scenario,
    TrafficEvent,
    TrafficSettings,
)
from models.simulator.stream import events, transactions

__all__ = [
    "AccountProfile",
    "Label",
    "LabelledTransaction",
    "RiskSignal",
    "Scenario",
    "TrafficEvent",
    "TrafficSettings",
    "events",
    "transactions",
]
