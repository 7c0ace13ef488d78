"""Prometheus metrics of the audit service."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

AUDIT_RECORDS = Counter("fraud_audit_records_total", "Records stored in the audit log", ["kind"])
AUDIT_BATCH_SECONDS = Histogram(
    "fraud_audit_batch_seconds",
    "Time that storing a batch in the audit log takes",
    buckets=[0.004, 0.016, 0.064, 0.128, 0.256, 0.512, 1, 2, 4, 16],
)
AUDIT_REFUSES = Gauge("fraud_audit_refuses", "1 where the audit service signs and stores nothing, else 0")
AUDIT_WITNESS_AGE = Gauge("fraud_audit_witness_age_seconds", "Age of the last witness statement about the audit log")
AUDIT_FOREIGN = Gauge("fraud_audit_foreign_records", "Records on anchors.v1 and witness.v1 that nobody trusted signed")
AUDIT_ANCHORED = Gauge("fraud_audit_anchored_records", "Tree size of the last signed head", ["partition"])
