"""Prometheus metrics of the execution service. No label holds an id (I10)."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

EXECUTION_RECORDS: Final = Counter(
    "fraud_execution_records_total", "Records of decisions.v1 by what came of them", ["end"]
)
EXECUTION_STEPS: Final = Counter("fraud_execution_steps_total", "Saga steps stored", ["step"])
EXECUTION_TURNS: Final = Counter("fraud_execution_turns_total", "Sagas turned from their aim", ["reason"])
EXECUTION_IN_DOUBT: Final = Gauge("fraud_execution_in_doubt", "Payments whose outcome the rail has not said")
EXECUTION_UNAUDITED: Final = Gauge("fraud_execution_unaudited", "Records that were read and wait for the audit log")
EXECUTION_STAGE_SECONDS: Final = Histogram(
    "fraud_execution_stage_seconds",
    "Time a batch spends in a stage",
    ["stage"],
    buckets=[0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30],
)
RAIL_REQUESTS: Final = Counter("fraud_rail_requests_total", "Requests to the rail by how they ended", ["path", "end"])
