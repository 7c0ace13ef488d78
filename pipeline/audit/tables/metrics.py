"""Metrics of following the tables."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

ROWS = Counter("fraud_audit_table_rows_total", "Rows of ledger, reviews and control that were chained")
FOLLOWED_AT = Gauge("fraud_audit_tables_followed_timestamp_seconds", "Time of the last turn of following the tables")
BEHIND = Gauge("fraud_audit_tables_behind", "1 where more rows wait to be chained than a turn takes, else 0")
