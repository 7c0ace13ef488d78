"""Prometheus metrics of reconciliation. No label holds an id (I10)."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

RECONCILED: Final = Counter("fraud_reconciled_records_total", "Records of the intake that were accounted for")
GAPS: Final = Counter("fraud_reconciliation_gaps_total", "Gaps that were found", ["kind"])
GAPS_CLOSED: Final = Counter("fraud_reconciliation_gaps_closed_total", "Gaps that were filled since", ["kind"])
LAST_CLOSED: Final = Gauge("fraud_reconciliation_last_unixtime", "When the last stretch was closed")
