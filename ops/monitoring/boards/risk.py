"""Risk's board: what is decided, what reviewers have before them, and what labels make of it."""

from __future__ import annotations

from typing import Final

from ops.monitoring.boards.panel import Board, Kind, Line, Panel, Unit, in_whole_units

_T, _N, _B = Kind.TIME_SERIES, Kind.NUMBER, Kind.BARS

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
            "An hour, each currency by itself; currencies without a rate in the policy are counted, not added up.",
            _T,
            Unit.MONEY,
            (
                Line(
                    in_whole_units(
                        "sum by (outcome, currency) (increase(fraud_decided_amount_minor_total{CURRENCY}[1h])) > 0"
                    ),
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
            "In the last 7 days, each currency by itself. MISSED is fraud that was let go.",
            _B,
            Unit.MONEY,
            (
                Line(
                    in_whole_units(
                        "sum by (verdict, currency) (increase(fraud_labelled_amount_minor_total{CURRENCY}[7d]))"
                    ),
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
            "The challenger in the shadow",
            "Decisions that it looked at, a second, by what came of it. Only COMPARED counts.",
            _T,
            Unit.PER_SECOND,
            (
                Line("sum by (standing) (rate(fraud_challenger_answers_total[5m]))", "{{standing}}"),
                Line("sum(rate(fraud_challenger_disagreements_total[5m]))", "disagrees"),
            ),
        ),
        Panel(
            "Behind the decisions",
            "Age of the latest decision that the challenger has taken in; its time in the shadow has gaps above a day.",
            _T,
            Unit.SECONDS,
            (Line("time() - max(fraud_challenger_last_decision_timestamp_seconds)", "behind"),),
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
