"""What the monitor of bias and drift counts."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge

from pipeline.bias.watching import Measure

COUNTED: Final = Counter("fraud_bias_payments_total", "Decisions that the bias monitor counted")
UNCOUNTED: Final = Counter(
    "fraud_bias_uncounted_total", "Decisions that it left out: further ones of an account, of new accounts, of nothing"
)
KNOWN: Final = Counter(
    "fraud_bias_known_total", "Payments that became known as honest or as fraud, by the word", ["by"]
)
UNMATCHED: Final = Counter("fraud_bias_unmatched_total", "Labels and reviews of payments that no decision is known of")
GAPS: Final = Gauge("fraud_bias_open_gaps", "Gaps between a segment and the rest that are open", ["measure"])
EVIDENCE: Final = Gauge(
    "fraud_bias_evidence_ratio", "Greatest evidence of a gap, as a part of what an alert needs", ["measure"]
)
STATE_AT: Final = Gauge("fraud_bias_state_timestamp_seconds", "When the monitor last stored how the evidence stands")
DRIFTED: Final = Gauge(
    "fraud_drift_features", "Features, and scores, that had drifted at the last look, over all models"
)

for _by in ("LABEL", "REVIEW"):
    KNOWN.labels(_by)
for _measure in Measure:
    GAPS.labels(_measure.name)
    EVIDENCE.labels(_measure.name)
