"""Prometheus metrics of the worker. No label holds an id of a customer or payment (I10)."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from pipeline.decide.batch import Judged

DECISIONS = Counter("fraud_decisions_total", "Decisions committed", ["outcome", "route"])
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
DECISION_AGE_SECONDS = Histogram(
    "fraud_decision_age_seconds",
    "From a record's broker timestamp to its committed decision, a sample a batch",
    buckets=[0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 60, 600],
)
BREAKER_STATE = Gauge("fraud_breaker_state", "1 for the state that the scope is in", ["scope", "state"])
BREAKER_WARNINGS = Gauge("fraud_breaker_warnings", "Scopes that near a condition, though chance may do as much")
STATE_HOLDS = Counter("fraud_state_holds_total", "Times a batch waited for the state store", ["why"])
STATE_FAULTS = Counter("fraud_state_faults_total", "Times that a script of the state store failed on a request of ours")
REBUILT_RECORDS = Counter("fraud_rebuilt_records_total", "Records observed again to rebuild state")
OUTCOMES = Counter("fraud_outcomes_total", "Outcomes of payments that the state has taken in, or refused", ["kind"])
OUTCOMES_LAG = Gauge("fraud_outcomes_lag_records", "Records of outcomes not taken in, where followed", ["partition"])
POLICY_REFUSED = Counter("fraud_policy_refused_total", "Times a changed policy file was refused")
IN_FORCE = Gauge("fraud_in_force", "1 for the policy and model in force", ["policy", "model"])
SHADOW_DISAGREEMENTS = Counter(
    "fraud_shadow_disagreements_total", "Decisions of the fallback where the model would have differed"
)
MODEL_FAULTS = Counter("fraud_model_faults_total", "Payments that the model failed on", ["error"])
MODEL_UNASKED = Counter("fraud_model_unasked_total", "Decisions whose model was not asked because something is unknown")
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


def count_batch(judged: Judged, records: int, age_ms: int) -> None:
    """Count a committed batch; `age_ms` is its oldest record's age, from its broker timestamp to now."""
    BATCHES.labels("committed").inc()
    BATCH_RECORDS.observe(records)
    RECORDS.inc(records)
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
    DECISION_AGE_SECONDS.observe(max(age_ms, 0) / 1000)
