"""Metrics of the witness."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

STATEMENTS = Counter("fraud_witness_statements_total", "Statements that the witness has made")
STATEMENT_TIME = Gauge("fraud_witness_statement_timestamp_seconds", "Time of the witness's last statement")
REFUSED = Gauge("fraud_witness_refused_partitions", "Partitions whose heads no longer continue what was seen")
FOREIGN = Counter("fraud_witness_foreign_records_total", "Records on anchors.v1 that nobody trusted signed")
TIMESTAMPS_MISSING = Counter("fraud_witness_timestamps_missing_total", "Statements without the timestamp asked for")
