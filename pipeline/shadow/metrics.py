"""Prometheus metrics of the shadow. No label holds an id or a version (I10)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from prometheus_client import Counter, Gauge

from pipeline.domain.trials.shadow_answer import ShadowAnswer, ShadowStanding

SHADOW_ANSWERS: Final = Counter(
    "fraud_shadow_answers_total", "Decisions that the challenger looked at, by what came of it", ["standing"]
)
SHADOW_DISAGREEMENTS: Final = Counter(
    "fraud_shadow_disagreements_total", "Compared payments on which challenger and champion disagree"
)
SHADOW_LAST: Final = Gauge(
    "fraud_shadow_last_decision_timestamp_seconds",
    "The broker's time of the latest decision that the challenger has taken in, or when there was none to take in",
)
SHADOW_REFUSED: Final = Gauge(
    "fraud_shadow_challenger_refused", "1 while a challenger is named and can't be loaded, so that none answers"
)
for _standing in ShadowStanding:
    SHADOW_ANSWERS.labels(_standing)
MILLISECONDS: Final = 1000


def count(answers: Iterable[ShadowAnswer]) -> None:
    """Count what was stored."""
    last_ms = 0
    for each in answers:
        SHADOW_ANSWERS.labels(each.standing).inc()
        SHADOW_DISAGREEMENTS.inc(each.is_disagreement)
        last_ms = max(last_ms, each.decided_at_ms)
    if last_ms:
        SHADOW_LAST.set(last_ms / MILLISECONDS)
