"""Prometheus metrics of the execution service. No label holds an id (I10)."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Sequence
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from pipeline.execute.ledger_store import NewPosting
from pipeline.execute.postings import MOVEMENTS
from pipeline.execute.saga import RECOVERED_BY_PEOPLE, Reason, Step
from pipeline.execute.work_store import Rows

EXECUTION_RECORDS: Final = Counter(
    "fraud_execution_records_total", "Records of decisions.v1 by what came of them", ["end"]
)
EXECUTION_STEPS: Final = Counter("fraud_execution_steps_total", "Saga steps stored", ["step"])
EXECUTION_TURNS: Final = Counter("fraud_execution_turns_total", "Sagas turned from their aim", ["reason"])
MONEY_MOVED: Final = Counter(
    "fraud_money_moved_minor_total",
    "Amounts posted, by saga step, in the currency's minor unit: CREDIT pays, RECALL and RECALL_PART take back",
    ["step", "currency"],
)
MONEY_MISSING: Final = Counter(
    "fraud_money_missing_minor_total",
    "Amounts that a reversal was to bring back and could not, by why, in the currency's minor unit",
    ["reason", "currency"],
)
EXECUTION_IN_DOUBT: Final = Gauge("fraud_execution_in_doubt", "Payments whose outcome the rail has not said")
EXECUTION_UNAUDITED: Final = Gauge("fraud_execution_unaudited", "Records that were read and wait for the audit log")
EXECUTION_STAGE_SECONDS: Final = Histogram(
    "fraud_execution_stage_seconds",
    "Time a batch spends in a stage",
    ["stage"],
    buckets=[0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30],
)
RAIL_REQUESTS: Final = Counter("fraud_rail_requests_total", "Requests to the rail by how they ended", ["path", "end"])


def count_stored(rows: Rows) -> None:
    """Count what one transaction has appended, once it is committed. Currencies are those of accounts that are open."""
    for step, count in Tally(row.transition.step for row in rows.transitions).items():
        EXECUTION_STEPS.labels(step).inc(count)
    for reason, count in Tally(row.transition.reason for row in rows.transitions).items():
        if reason is not None:
            EXECUTION_TURNS.labels(reason).inc(count)
    for (moved_by, currency), amount_minor in _moved(rows.postings).items():
        _begin_money(currency)
        MONEY_MOVED.labels(moved_by, currency).inc(amount_minor)
    for recovery in rows.recoveries:
        _begin_money(recovery.currency)
        MONEY_MISSING.labels(recovery.reason, recovery.currency).inc(recovery.missing_minor)


def _moved(postings: Sequence[NewPosting]) -> Tally[tuple[str, str]]:
    moved: Tally[tuple[str, str]] = Tally()
    for each in postings:
        moved[each.posting.step, each.posting.currency] += each.posting.amount_minor
    return moved


def _begin_money(currency: str) -> None:
    """Have a currency's series begin at 0: Prometheus sees no rise in one that is first seen above it."""
    for step in MOVEMENTS:
        MONEY_MOVED.labels(step, currency)
    for reason in RECOVERED_BY_PEOPLE:
        MONEY_MISSING.labels(reason, currency)


for _step in Step:
    EXECUTION_STEPS.labels(_step)
for _reason in Reason:
    EXECUTION_TURNS.labels(_reason)
