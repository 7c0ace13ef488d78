"""Prometheus metrics of the review service. No label holds an id (I10)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from pipeline.domain.decision import Outcome
from pipeline.review.case_store import CaseFile, OpenMoney
from pipeline.review.cases import EXPIRY
from pipeline.review.recovery_store import Recovery

BY_PERSON: Final = "person"
BY_EXPIRY: Final = "expiry"
_HOUR_S: Final = 3600

REVIEW_CASES: Final = Gauge("fraud_review_cases", "Cases that are open, and outcomes not yet read back", ["state"])
REVIEW_EVENTS: Final = Counter("fraud_review_events_total", "Events that the service appended to cases", ["kind"])
REVIEW_PUBLISHED: Final = Counter("fraud_review_published_total", "Outcomes that the broker acknowledged")
REVIEW_FOREIGN: Final = Counter("fraud_review_foreign_total", "Outcomes on the topic that were not decided here")
REVIEW_SECONDS: Final = Histogram(
    "fraud_review_seconds",
    "From a case's opening to its outcome, of outcomes read back, by who gave it: a person, or the expiry",
    ["outcome", "by"],
    buckets=[60, 300, 900, 1800, _HOUR_S, 2 * _HOUR_S, 4 * _HOUR_S, 8 * _HOUR_S, 24 * _HOUR_S, 72 * _HOUR_S],
)
MONEY_HELD: Final = Gauge("fraud_money_held_minor", "Amounts of open cases, in the currency's minor unit", ["currency"])
OLDEST_CASE: Final = Gauge(
    "fraud_review_oldest_case_timestamp_seconds", "When the oldest open case was opened; 0 where none is open"
)
MONEY_OUT: Final = Gauge(
    "fraud_recovery_open_minor", "Amounts of open recovery cases, in the currency's minor unit", ["currency"]
)


def tell_open_money(held: Iterable[OpenMoney], out: Iterable[Recovery]) -> None:
    """Replace what was told of open cases and open recovery cases. A currency that is no longer there is gone."""
    MONEY_HELD.clear()
    oldest_ms = []
    for each in held:
        MONEY_HELD.labels(each.currency).set(each.amount_minor)
        oldest_ms.append(each.oldest_ms)
    OLDEST_CASE.set(min(oldest_ms, default=0) / 1000)
    MONEY_OUT.clear()
    for recovery in out:
        MONEY_OUT.labels(recovery.currency).inc(recovery.missing_minor)


def count_published(file: CaseFile) -> None:
    """Count a case whose outcome was read back, before its publication is appended."""
    decided = file.standing.last
    assert decided is not None, "its outcome was read back"
    assert decided.outcome is not None, "what decides has an outcome"
    by = BY_EXPIRY if decided.actor == EXPIRY else BY_PERSON
    seconds = max(decided.at_ms - file.case.opened_at_ms, 0) / 1000
    REVIEW_SECONDS.labels(decided.outcome, by).observe(seconds)


# Each series begins at 0: Prometheus sees no rise in one that is first seen with what happened once.
for _outcome, _by in ((Outcome.ALLOW, BY_PERSON), (Outcome.BLOCK, BY_PERSON), (Outcome.BLOCK, BY_EXPIRY)):
    REVIEW_SECONDS.labels(_outcome, _by)
