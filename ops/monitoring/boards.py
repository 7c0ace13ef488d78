"""The boards: for on-call, for Risk, and for the board of directors. Grafana's files are made from these tables.

Kept as Python and not as JSON: a board is a title, a query and a unit a panel, and a test runs every query against a
Prometheus that has scraped the pipeline. `python -m ops.monitoring` writes the files.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class Kind(StrEnum):
    """The kinds of panels, as Grafana names them."""

    TIME_SERIES = "timeseries"
    NUMBER = "stat"
    BARS = "bargauge"
    TABLE = "table"


class Unit(StrEnum):
    """Units, as Grafana names them. Amounts are in minor units: currencies differ in how many make a whole one."""

    NONE = "none"
    SHARE = "percentunit"
    SECONDS = "s"
    PER_SECOND = "cps"
    MINOR = "locale"
    TIMES = "suffix: ×"


class Line(NamedTuple):
    """A query, and the legend of what it yields, in which {{label}} stands for a label's value."""

    query: str
    legend: str


class Panel(NamedTuple):
    title: str
    says: str
    kind: Kind
    unit: Unit
    lines: tuple[Line, ...]


class Board(NamedTuple):
    name: str  # of the file, and of the address
    title: str
    panels: tuple[Panel, ...]


_T, _N, _B = Kind.TIME_SERIES, Kind.NUMBER, Kind.BARS

ON_CALL: Final = Board(
    "on-call",
    "Fraud decisions: on call",
    (
        Panel(
            "Alerts firing",
            "By Prometheus' own rules; ALERTING_ALIVE always fires. Alerts of the pipeline itself are on alerts.v1.",
            Kind.TABLE,
            Unit.NONE,
            (Line('sum by (alertname, severity) (ALERTS{alertstate="firing"})', "{{alertname}} {{severity}}"),),
        ),
        Panel(
            "Budgets burning",
            "1: the month's budget is used up in exactly a month. Paging begins at 14.4 over an hour.",
            _T,
            Unit.TIMES,
            (
                Line("fraud:decisions_slow:ratio_rate1h / 0.01", "decision within 200 ms"),
                Line("fraud:unavailable:ratio_avg1h / 0.001", "available"),
                Line("fraud:unaccounted:ratio_rate1h / 0.00001", "complete"),
                Line("fraud:escalations:burn_rate1h", "escalations, of what reviewers can handle"),
            ),
        ),
        Panel(
            "Decisions",
            "Committed, by route. FALLBACK: the model is out of the loop, or wasn't asked.",
            _T,
            Unit.PER_SECOND,
            (Line("sum by (route) (rate(fraud_decisions_total[5m]))", "{{route}}"),),
        ),
        Panel(
            "Age of decisions",
            "From the broker's timestamp to the commit, of every record.",
            _T,
            Unit.SECONDS,
            (
                Line("histogram_quantile(0.5, sum by (le) (rate(fraud_decision_age_seconds_bucket[5m])))", "p50"),
                Line("histogram_quantile(0.99, sum by (le) (rate(fraud_decision_age_seconds_bucket[5m])))", "p99"),
                Line("histogram_quantile(0.999, sum by (le) (rate(fraud_decision_age_seconds_bucket[5m])))", "p99.9"),
            ),
        ),
        Panel(
            "Stages of a batch",
            "p99: up to its judgement, and its commit.",
            _T,
            Unit.SECONDS,
            (Line("histogram_quantile(0.99, sum by (le, stage) (rate(fraud_stage_seconds_bucket[5m])))", "{{stage}}"),),
        ),
        Panel(
            "Processes ready",
            "1 while a process does its work. A standby worker has no partition, and so isn't ready.",
            _T,
            Unit.NONE,
            (Line("fraud_ready", "{{job}} {{instance}}"),),
        ),
        Panel(
            "Partitions without a ready worker",
            "The share of transactions.v1 that nobody decides.",
            _T,
            Unit.SHARE,
            (Line("fraud:unavailable:ratio", "unavailable"),),
        ),
        Panel(
            "Breaker",
            "1 for the state that each scope is in; anything but CLOSED takes the model out, or halfway.",
            Kind.TABLE,
            Unit.NONE,
            (Line("max by (scope, state) (fraud_breaker_state)", "{{scope}} {{state}}"),),
        ),
        Panel(
            "Fallback's share",
            "Of the decisions that no hard guardrail made.",
            _T,
            Unit.SHARE,
            (Line("fraud:fallback:ratio_rate15m", "fallback"),),
        ),
        Panel(
            "Waits for the state",
            "Times that a batch waited for Redis, by why; 'context' is a comparison after each new connection.",
            _T,
            Unit.PER_SECOND,
            (Line("sum by (why) (rate(fraud_state_holds_total[5m]))", "{{why}}"),),
        ),
        Panel(
            "Outcomes not yet taken in",
            "Records of executions.v1 that a worker has not followed; above some hundreds it decides more strictly.",
            _T,
            Unit.NONE,
            (Line("max by (partition) (fraud_outcomes_lag_records)", "partition {{partition}}"),),
        ),
        Panel(
            "Dead letters",
            "Records that became no decision, by code.",
            _T,
            Unit.PER_SECOND,
            (Line("sum by (code) (rate(fraud_dead_letters_total[5m]))", "{{code}}"),),
        ),
        Panel(
            "Holds of services",
            "Times that a service waited for PostgreSQL or the broker and began again.",
            _T,
            Unit.PER_SECOND,
            (
                Line("sum by (service, why) (rate(fraud_service_holds_total[5m]))", "{{service}} {{why}}"),
                Line("sum(up) - sum(up)", "none"),
            ),
        ),
        Panel(
            "Stages of the executor",
            "p99 of a batch.",
            _T,
            Unit.SECONDS,
            (
                Line(
                    "histogram_quantile(0.99, sum by (le, stage) (rate(fraud_execution_stage_seconds_bucket[5m])))",
                    "{{stage}}",
                ),
            ),
        ),
        Panel(
            "Rail",
            "Requests to the payment rail, by how they ended.",
            _T,
            Unit.PER_SECOND,
            (Line("sum by (end) (rate(fraud_rail_requests_total[5m]))", "{{end}}"),),
        ),
        Panel(
            "Payments in doubt, or waiting for the audit log",
            "In doubt: the rail doesn't say. Waiting: nothing is executed before it is audited.",
            _T,
            Unit.NONE,
            (
                Line("sum(fraud_execution_in_doubt)", "in doubt"),
                Line("sum(fraud_execution_unaudited)", "unaudited"),
            ),
        ),
        Panel(
            "Storing in the audit log",
            "p99 of a batch.",
            _T,
            Unit.SECONDS,
            (Line("histogram_quantile(0.99, sum by (le) (rate(fraud_audit_batch_seconds_bucket[5m])))", "p99"),),
        ),
        Panel(
            "Audit log",
            "Refuses: the audit service signs and stores nothing. Behind: more rows wait to be chained than a turn"
            " takes.",
            _T,
            Unit.NONE,
            (
                Line("max(fraud_audit_refuses)", "refuses"),
                Line("max(fraud_audit_tables_behind)", "tables behind"),
                Line("max(fraud_witness_refused_partitions)", "partitions that the witness refuses"),
            ),
        ),
        Panel(
            "Age of the last witness statement",
            "Nothing outside has seen what the audit log holds since then.",
            _T,
            Unit.SECONDS,
            (Line("time() - max(fraud_witness_statement_timestamp_seconds)", "statement"),),
        ),
        Panel(
            "Gaps found",
            "Records that reconciliation missed, by kind, in the last day.",
            _B,
            Unit.NONE,
            (Line("sum by (kind) (increase(fraud_unaccounted_records_total[1d]))", "{{kind}}"),),
        ),
        Panel(
            "Since the last reconciliation",
            "Time since a stretch of the intake was closed.",
            _N,
            Unit.SECONDS,
            (Line("time() - max(fraud_reconciliation_last_unixtime)", "since"),),
        ),
        Panel(
            "Months of partitions ahead",
            "Below 2 the job that makes them doesn't run.",
            _N,
            Unit.NONE,
            (Line("min(fraud_partition_months_ahead)", "months"),),
        ),
    ),
)

RISK: Final = Board(
    "risk",
    "Fraud decisions: Risk",
    (
        Panel(
            "Decisions by outcome",
            "Payments a second.",
            _T,
            Unit.PER_SECOND,
            (Line("sum by (outcome) (rate(fraud_decisions_total[5m]))", "{{outcome}}"),),
        ),
        Panel(
            "Share escalated, and blocked",
            "Of all decisions.",
            _T,
            Unit.SHARE,
            (
                Line(
                    'sum(rate(fraud_decisions_total{outcome="ESCALATE"}[1h])) / sum(rate(fraud_decisions_total[1h]))',
                    "escalated",
                ),
                Line(
                    'sum(rate(fraud_decisions_total{outcome="BLOCK"}[1h])) / sum(rate(fraud_decisions_total[1h]))',
                    "blocked",
                ),
            ),
        ),
        Panel(
            "Amounts by outcome and currency",
            "In minor units a second; currencies without a rate in the policy are counted, not added up.",
            _T,
            Unit.MINOR,
            (
                Line(
                    "sum by (outcome, currency) (rate(fraud_decided_amount_minor_total[1h])) > 0",
                    "{{outcome}} {{currency}}",
                ),
            ),
        ),
        Panel(
            "Payments by currency",
            "In the last day.",
            _B,
            Unit.NONE,
            (Line("sum by (currency) (increase(fraud_decided_payments_total[1d])) > 0", "{{currency}}"),),
        ),
        Panel(
            "Rules that spoke",
            "The ten most frequent, in the last hour.",
            _B,
            Unit.NONE,
            (Line("topk(10, sum by (code) (increase(fraud_rules_triggered_total[1h])))", "{{code}}"),),
        ),
        Panel(
            "Escalations against capacity",
            "1: as many as reviewers can handle, by the policy. Above it the queue grows.",
            _T,
            Unit.TIMES,
            (
                Line("fraud:escalations:burn_rate1h", "1 hour"),
                Line("fraud:escalations:burn_rate6h", "6 hours"),
                Line("fraud:escalations:burn_rate3d", "3 days"),
            ),
        ),
        Panel(
            "Open cases",
            "Waiting for a person, and decided but not yet published.",
            _T,
            Unit.NONE,
            (Line("max by (state) (fraud_review_cases)", "{{state}}"),),
        ),
        Panel(
            "Oldest open case",
            "Its age.",
            _N,
            Unit.SECONDS,
            (Line("(time() - max(fraud_review_oldest_case_timestamp_seconds > 0)) or vector(0)", "age"),),
        ),
        Panel(
            "Time to review",
            "From a case's opening to a person's outcome.",
            _T,
            Unit.SECONDS,
            (
                Line(
                    'histogram_quantile(0.5, sum by (le) (rate(fraud_review_seconds_bucket{by="person"}[6h])))', "p50"
                ),
                Line(
                    'histogram_quantile(0.9, sum by (le) (rate(fraud_review_seconds_bucket{by="person"}[6h])))', "p90"
                ),
            ),
        ),
        Panel(
            "Ends of cases",
            "In the last day, by outcome and by who gave it. A person's ALLOW is an escalation in vain.",
            _B,
            Unit.NONE,
            (Line("sum by (outcome, by) (increase(fraud_review_seconds_count[1d]))", "{{outcome}} by {{by}}"),),
        ),
        Panel(
            "Fraud caught and missed, honest payments stopped",
            "Labels of the last day, by what they make of the decision on their payment.",
            _B,
            Unit.NONE,
            (Line("sum by (verdict) (increase(fraud_labels_total[1d]))", "{{verdict}}"),),
        ),
        Panel(
            "Recall and precision by labels",
            "Recall: fraud caught of all fraud labelled. Precision: fraud of all labelled payments that were stopped.",
            _T,
            Unit.SHARE,
            (
                Line(
                    'sum(increase(fraud_labels_total{verdict="CAUGHT"}[7d]))'
                    ' / sum(increase(fraud_labels_total{verdict=~"CAUGHT|MISSED"}[7d]))',
                    "recall",
                ),
                Line(
                    'sum(increase(fraud_labels_total{verdict="CAUGHT"}[7d]))'
                    ' / sum(increase(fraud_labels_total{verdict=~"CAUGHT|FALSE_POSITIVE"}[7d]))',
                    "precision",
                ),
            ),
        ),
        Panel(
            "Amounts of labelled payments",
            "In minor units, in the last 7 days. MISSED is fraud that was let go.",
            _B,
            Unit.MINOR,
            (
                Line(
                    "sum by (verdict, currency) (increase(fraud_labelled_amount_minor_total[7d]))",
                    "{{verdict}} {{currency}}",
                ),
            ),
        ),
        Panel(
            "Where the model would have differed",
            "Decisions of the fallback, a second.",
            _T,
            Unit.PER_SECOND,
            (
                Line("sum(rate(fraud_shadow_disagreements_total[5m]))", "differs"),
                Line("sum(rate(fraud_model_unasked_total[5m]))", "not asked, as something is unknown"),
            ),
        ),
        Panel(
            "Policy and model in force",
            "On each worker; two at once are a roll-out under way.",
            Kind.TABLE,
            Unit.NONE,
            (Line("count by (policy, model) (fraud_in_force)", "{{policy}} {{model}}"),),
        ),
    ),
)

DIRECTORS: Final = Board(
    "directors",
    "Fraud decisions: board of directors",
    (
        Panel(
            "Decisions within 200 ms",
            "In the last 30 days. Objective: 99 %.",
            _N,
            Unit.SHARE,
            (
                Line(
                    'sum(increase(fraud_decision_age_seconds_bucket{le="0.2"}[30d]))'
                    " / sum(increase(fraud_decision_age_seconds_count[30d]))",
                    "within 200 ms",
                ),
            ),
        ),
        Panel(
            "Available",
            "In the last 30 days. Objective: 99.9 %.",
            _N,
            Unit.SHARE,
            (Line("1 - avg_over_time(fraud:unavailable:ratio[30d])", "available"),),
        ),
        Panel(
            "Accounted for",
            "Records found in audit log and ledger, in the last 30 days. Objective: 99.999 %.",
            _N,
            Unit.SHARE,
            (
                Line(
                    "sum(increase(fraud_reconciled_records_total[30d]))"
                    " / (sum(increase(fraud_reconciled_records_total[30d]))"
                    " + sum(increase(fraud_unaccounted_records_total[30d])))",
                    "accounted for",
                ),
            ),
        ),
        Panel(
            "Payments decided",
            "In the last 30 days, by outcome.",
            _B,
            Unit.NONE,
            (Line("sum by (outcome) (increase(fraud_decisions_total[30d]))", "{{outcome}}"),),
        ),
        Panel(
            "Amounts decided",
            "In the last 30 days, in minor units.",
            _B,
            Unit.MINOR,
            (
                Line(
                    "sum by (outcome, currency) (increase(fraud_decided_amount_minor_total[30d])) > 0",
                    "{{outcome}} {{currency}}",
                ),
            ),
        ),
        Panel(
            "Payments that succeed",
            "Of those that were to be made, in the last 30 days. The others lacked funds, or the rail refused them.",
            _N,
            Unit.SHARE,
            (
                Line(
                    'sum(increase(fraud_execution_steps_total{step="COMPLETE"}[30d]))'
                    ' / sum(increase(fraud_execution_steps_total{step=~"COMPLETE|DENY|REJECT"}[30d]))',
                    "made",
                ),
            ),
        ),
        Panel(
            "Money paid",
            "In the last 30 days, in minor units.",
            _B,
            Unit.MINOR,
            (Line('sum by (currency) (increase(fraud_money_moved_minor_total{step="CREDIT"}[30d]))', "{{currency}}"),),
        ),
        Panel(
            "Money held",
            "Set aside until a person decides, in minor units.",
            _B,
            Unit.MINOR,
            (Line("max by (currency) (fraud_money_held_minor)", "{{currency}}"),),
        ),
        Panel(
            "Money recovered",
            "Taken back from beneficiaries in the last 30 days, in minor units; what the rail refused to take back is"
            " left out.",
            _B,
            Unit.MINOR,
            (
                Line(
                    'sum by (currency) (increase(fraud_money_moved_minor_total{step=~"RECALL|RECALL_PART"}[30d]))'
                    " - sum by (currency)"
                    ' (increase(fraud_money_moved_minor_total{step=~"GIVE_BACK|GIVE_BACK_PART"}[30d]))',
                    "{{currency}}",
                ),
            ),
        ),
        Panel(
            "Money lost",
            "In the last 30 days, in minor units: fraud that was let go, by labels, and what reversals could not bring"
            " back.",
            _B,
            Unit.MINOR,
            (
                Line(
                    'sum by (currency) (increase(fraud_labelled_amount_minor_total{verdict="MISSED"}[30d]))',
                    "fraud let go, {{currency}}",
                ),
                Line(
                    "sum by (currency) (increase(fraud_money_missing_minor_total[30d]))",
                    "not brought back, {{currency}}",
                ),
            ),
        ),
        Panel(
            "Open recovery cases",
            "Money that is still to be had back, in minor units.",
            _B,
            Unit.MINOR,
            (Line("max by (currency) (fraud_recovery_open_minor)", "{{currency}}"),),
        ),
        Panel(
            "Fraud caught",
            "Of the fraud that labels of the last 30 days tell of.",
            _N,
            Unit.SHARE,
            (
                Line(
                    'sum(increase(fraud_labels_total{verdict="CAUGHT"}[30d]))'
                    ' / sum(increase(fraud_labels_total{verdict=~"CAUGHT|MISSED"}[30d]))',
                    "caught",
                ),
            ),
        ),
        Panel(
            "Honest customers troubled",
            "Of the honest payments that labels of the last 30 days tell of: blocked, or held for a person.",
            _N,
            Unit.SHARE,
            (
                Line(
                    'sum(increase(fraud_labels_total{verdict="FALSE_POSITIVE"}[30d]))'
                    ' / sum(increase(fraud_labels_total{verdict=~"FALSE_POSITIVE|RIGHTLY_ALLOWED"}[30d]))',
                    "troubled",
                ),
            ),
        ),
    ),
)

BOARDS: Final = (ON_CALL, RISK, DIRECTORS)
