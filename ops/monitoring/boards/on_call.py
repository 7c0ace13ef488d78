"""On-call's board: whether the objectives hold, and where to look when one doesn't."""

from __future__ import annotations

from typing import Final

from ops.monitoring.boards.panel import Board, Kind, Line, Panel, Unit

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
            "Age of feeds",
            "Exchange rates and sanctions, the oldest on any worker, and from when on the policy calls them too old.",
            _T,
            Unit.SECONDS,
            (
                Line("time() - min by (kind) (fraud_feed_as_of_timestamp_seconds)", "{{kind}}"),
                Line("min by (kind) (fraud_feed_too_old_seconds)", "{{kind}} too old"),
            ),
        ),
        Panel(
            "Feeds refused",
            "Files of exchange rates or sanctions that a worker would not take, in the last hour.",
            _B,
            Unit.NONE,
            (Line("sum by (kind) (increase(fraud_feed_refused_total[1h]))", "{{kind}}"),),
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
            (Line("sum by (service, why) (rate(fraud_service_holds_total[5m]))", "{{service}} {{why}}"),),
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
            objective=2,
        ),
    ),
)
