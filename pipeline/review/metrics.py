"""Prometheus metrics of the review service. No label holds an id (I10)."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

REVIEW_CASES: Final = Gauge("fraud_review_cases", "Cases that are open, and outcomes not yet read back", ["state"])
REVIEW_EVENTS: Final = Counter("fraud_review_events_total", "Events that the service appended to cases", ["kind"])
REVIEW_PUBLISHED: Final = Counter("fraud_review_published_total", "Outcomes that the broker acknowledged")
REVIEW_FOREIGN: Final = Counter("fraud_review_foreign_total", "Outcomes on the topic that were not decided here")
