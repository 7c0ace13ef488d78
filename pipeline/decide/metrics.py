"""Prometheus metrics of the worker. No label holds an id of a customer or payment (I10)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import numpy as np
from prometheus_client import Counter, Gauge, Histogram

from pipeline.decide.batch import Judged
from pipeline.decide.feeds.feed import FeedKind
from pipeline.decide.policy import Policy
from pipeline.decide.verdict import Regime
from pipeline.domain.decision import Outcome, Route
from pipeline.domain.log import Record
from pipeline.domain.refusals import RefusalCode
from pipeline.io.kafka.transaction_log import TransactionLog
from pipeline.io.metrics.batch_histogram import BatchHistogram
from pipeline.io.metrics.exposition import tell_readiness

OTHER_CURRENCY: Final = "other"
"""Stands for every currency without a rate: publishers name currencies, and each label is a series."""

DECISIONS = Counter("fraud_decisions_total", "Decisions committed", ["outcome", "route"])
DECIDED_CURRENCY = Counter(
    "fraud_decided_payments_total",
    "Decisions committed by the payment's currency; 'other' is every currency without a rate",
    ["outcome", "currency"],
)
DECIDED_AMOUNT = Counter(
    "fraud_decided_amount_minor_total",
    "Amounts of decided payments, in the minor unit of a currency that there is a rate for",
    ["outcome", "currency"],
)
DEAD_LETTERS = Counter("fraud_dead_letters_total", "Records committed as dead letters", ["code"])
DUPLICATES = Counter("fraud_duplicates_total", "Records committed as duplicates")
RULES = Counter("fraud_rules_triggered_total", "Decisions by triggered rule", ["code"])
RECORDS = Counter("fraud_records_total", "Records of transactions.v1 whose offsets were committed")
BATCHES = Counter("fraud_batches_total", "Batches by how they ended", ["end"])
BATCH_RECORDS = Histogram("fraud_batch_records", "Records a batch", buckets=[1, 4, 16, 64, 256, 1024, 4096])
STAGE_SECONDS = Histogram(
    "fraud_stage_seconds",
    "Time a batch spends in a stage",
    ["stage"],
    buckets=[0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1, 2, 4],
)
DECISION_AGE_SECONDS = BatchHistogram(
    "fraud_decision_age_seconds",
    "From a record's broker timestamp to the commit of what it came to, of every record",
    [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600],
)
PARTITIONS = Gauge("fraud_intake_partitions", "Partitions of transactions.v1")
ASSIGNED_PARTITIONS = Gauge("fraud_assigned_partitions", "Partitions of transactions.v1 that are this worker's")
REVIEW_CAPACITY = Gauge(
    "fraud_review_capacity_cases_per_second",
    "Escalations that reviewers can handle, by the policy in force; 0 where it doesn't say",
)
BREAKER_STATE = Gauge("fraud_breaker_state", "1 for the state that the scope is in", ["scope", "state"])
BREAKER_WARNINGS = Gauge("fraud_breaker_warnings", "Scopes that near a condition, though chance may do as much")
BREAKER_NEW_UNCOUNTED = Counter(
    "fraud_breaker_new_accounts_uncounted_total",
    "Payments of accounts new to us that the breaker didn't count, because others had taken the share of such",
)
STATE_HOLDS = Counter("fraud_state_holds_total", "Times a batch waited for the state store", ["why"])
STATE_FAULTS = Counter("fraud_state_faults_total", "Times that a script of the state store failed on a request of ours")
REBUILT_RECORDS = Counter("fraud_rebuilt_records_total", "Records observed again to rebuild state")
OUTCOMES = Counter("fraud_outcomes_total", "Outcomes of payments that the state has taken in, or refused", ["kind"])
OUTCOMES_LAG = Gauge("fraud_outcomes_lag_records", "Records of outcomes not taken in, where followed", ["partition"])
FEED_REFUSED = Counter("fraud_feed_refused_total", "Times a changed feed was refused", ["kind"])
FEED_AS_OF = Gauge("fraud_feed_as_of_timestamp_seconds", "The moment that the feed in force holds for", ["kind"])
FEED_TOO_OLD = Gauge(
    "fraud_feed_too_old_seconds", "The age from which a feed is too old, by the policy in force", ["kind"]
)
POLICY_REFUSED = Counter("fraud_policy_refused_total", "Times a changed policy file was refused")
IN_FORCE = Gauge("fraud_in_force", "1 for the policy and each model in force", ["policy", "model"])
CANDIDATE_SHARE = Gauge(
    "fraud_candidate_share_ratio", "Share of payments that a model which is being rolled out decides; 0 where none is"
)
SHADOW_DISAGREEMENTS = Counter(
    "fraud_shadow_disagreements_total", "Decisions of the fallback where the model would have differed"
)
MODEL_FAULTS = Counter("fraud_model_faults_total", "Payments that the model failed on", ["error"])
MODEL_UNASKED = Counter("fraud_model_unasked_total", "Decisions whose model was not asked because something is unknown")


def count_batch(judged: Judged, records: Sequence[Record], now_ms: int, currencies: AbstractSet[str]) -> None:
    """Count a committed batch. currencies: those that there is a rate for."""
    BATCHES.labels("committed").inc()
    BATCH_RECORDS.observe(len(records))
    RECORDS.inc(len(records))
    DUPLICATES.inc(judged.duplicates)
    for code, count in judged.dead_letters.items():
        DEAD_LETTERS.labels(code).inc(count)
    SHADOW_DISAGREEMENTS.inc(judged.shadow_disagreements)
    MODEL_UNASKED.inc(judged.unasked)
    for error, count in judged.model_faults.items():
        MODEL_FAULTS.labels(error).inc(count)
    for (outcome, route), count in judged.outcomes.items():
        DECISIONS.labels(outcome, route).inc(count)
    for code, count in judged.rules.items():
        RULES.labels(code).inc(count)
    _count_worth(judged, currencies)
    stamps_ms = np.fromiter((record.source.timestamp_ms for record in records), np.int64, len(records))
    DECISION_AGE_SECONDS.observe(np.maximum(now_ms - stamps_ms, 0) / 1000)


def tell_review_capacity(policy: Policy) -> None:
    """Where the policy names no figure, reviewers are taken to handle nothing, so that somebody asks."""
    an_hour = 0 if policy.reviewing is None else policy.reviewing.escalations_an_hour
    REVIEW_CAPACITY.set(an_hour / 3600)


def tell_feeds(in_force: Regime) -> None:
    """A feed that there isn't holds for 1970, so that it is too old whatever the policy says."""
    for kind in FeedKind:
        feed = None if in_force.feeds is None else in_force.feeds.of(kind)
        FEED_AS_OF.labels(kind).set(0 if feed is None else feed.as_of_ms / 1000)
        FEED_TOO_OLD.labels(kind).set((in_force.policy.too_old_hours(kind) or 0) * 3600)


def begin_currencies(in_force: Regime) -> None:
    """Have each currency's series begin at 0: Prometheus sees no rise in one that is first seen above it."""
    for outcome in Outcome:
        DECIDED_CURRENCY.labels(outcome, OTHER_CURRENCY)
        for currency in in_force.currencies:
            DECIDED_CURRENCY.labels(outcome, currency)
            DECIDED_AMOUNT.labels(outcome, currency)


def tell_worker(partitions: int, transactions: TransactionLog, not_ready: Callable[[], str | None]) -> None:
    """Have every scrape see how many partitions there are, how many are this worker's then, and whether it is ready."""
    tell_readiness(not_ready)
    PARTITIONS.set(partitions)
    ASSIGNED_PARTITIONS.set_function(lambda: float(len(transactions.assigned_partitions)))


def _count_worth(judged: Judged, currencies: AbstractSet[str]) -> None:
    """A sum over currencies that nobody knows the worth of would say nothing, so those are counted only."""
    for (outcome, currency), count in judged.currencies.items():
        is_known = currency in currencies
        DECIDED_CURRENCY.labels(outcome, currency if is_known else OTHER_CURRENCY).inc(count)
        if is_known:
            DECIDED_AMOUNT.labels(outcome, currency).inc(judged.amounts_minor[outcome, currency])


for _outcome in Outcome:
    for _route in Route:
        DECISIONS.labels(_outcome, _route)
for _code in RefusalCode:
    DEAD_LETTERS.labels(_code)
for _kind in FeedKind:
    FEED_REFUSED.labels(_kind)
for _why in ("unavailable", "lost", "refused", "failing", "context"):
    STATE_HOLDS.labels(_why)
