"""Prometheus metrics of reconciliation. No label holds an id (I10)."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from prometheus_client import Counter, Gauge

from pipeline.domain.decision import Outcome
from pipeline.reconcile.gaps import Gap, GapKind
from pipeline.reconcile.labelled import LabelVerdict

NO_OUTCOME: Final = "none"


class PassedOver(StrEnum):
    """Why a label counts for nobody."""

    UNPROVED = "UNPROVED"
    UNREADABLE = "UNREADABLE"


RECONCILED: Final = Counter("fraud_reconciled_records_total", "Records of the intake that were accounted for")
GAPS: Final = Counter("fraud_reconciliation_gaps_total", "Gaps that were found", ["kind"])
UNACCOUNTED: Final = Counter(
    "fraud_unaccounted_records_total", "Records in the gaps that were found, filled since or not", ["kind"]
)
GAPS_CLOSED: Final = Counter("fraud_reconciliation_gaps_closed_total", "Gaps that were filled since", ["kind"])
LAST_CLOSED: Final = Gauge("fraud_reconciliation_last_unixtime", "When the last stretch was closed")
LABELS: Final = Counter(
    "fraud_labels_total", "Labels, by what they make of the first decision on their payment", ["verdict", "outcome"]
)
LABELS_PASSED_OVER: Final = Counter(
    "fraud_labels_passed_over_total",
    "Labels that nobody takes in: nobody proves to have written them, or they can't be read",
    ["cause"],
)
LABELLED_AMOUNT: Final = Counter(
    "fraud_labelled_amount_minor_total",
    "Amounts of labelled payments, in the currency's minor unit; MISSED is fraud that was let go",
    ["verdict", "currency"],
)


def _begin() -> None:
    """Have each series begin at 0: Prometheus sees no rise in one that is first seen with what happened once."""
    for kind in GapKind:
        for counter in (GAPS, UNACCOUNTED, GAPS_CLOSED):
            counter.labels(kind)
    for verdict in LabelVerdict:
        for outcome in (*Outcome, NO_OUTCOME):
            LABELS.labels(verdict, outcome)
    for cause in PassedOver:
        LABELS_PASSED_OVER.labels(cause)


def count_gap(gap: Gap) -> None:
    GAPS.labels(gap.kind).inc()
    UNACCOUNTED.labels(gap.kind).inc(gap.records)


def count_label(verdict: LabelVerdict, outcome: Outcome | None, currency: str | None, amount_minor: int | None) -> None:
    """Count a label. outcome: None where no decision is known. currency, amount_minor: None where not summed up."""
    LABELS.labels(verdict, NO_OUTCOME if outcome is None else outcome).inc()
    if currency is None or amount_minor is None:
        return
    for each in LabelVerdict:
        LABELLED_AMOUNT.labels(each, currency)
    LABELLED_AMOUNT.labels(verdict, currency).inc(amount_minor)


_begin()
