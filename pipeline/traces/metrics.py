"""Metrics of tracing: what was recorded, and what was not because of a bound."""

from __future__ import annotations

from prometheus_client import Counter

TRACED = Counter("fraud_traces_sampled_total", "Payments and records that a process recorded spans of, by why", ["why"])
UNTRACED = Counter(
    "fraud_traces_limited_total", "Payments that were to be traced, and were not because of a limit a second", ["why"]
)
SPANS = Counter(
    "fraud_trace_spans_total",
    "Spans that ended: exported, or dropped because the queue was full, the collector failed or the process ended",
    ["end"],
)
