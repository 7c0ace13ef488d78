"""Seeded, realistic payment traffic with labelled fraud, for training, demonstration and load."""

from ops.traffic.records import (
    AccountProfile,
    Label,
    LabelledTransaction,
    RiskSignal,
    Scenario,
    TrafficEvent,
    TrafficSettings,
)
from ops.traffic.stream import events, transactions

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
