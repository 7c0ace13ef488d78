"""The board of directors' board: objectives, money, and whom it protects or troubles."""

from __future__ import annotations

from typing import Final

from ops.monitoring.boards.panel import Board, Kind, Line, Panel, Unit, in_whole_units

_N, _B = Kind.NUMBER, Kind.BARS

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
            objective=0.99,
        ),
        Panel(
            "Available",
            "In the last 30 days. Objective: 99.9 %.",
            _N,
            Unit.SHARE,
            (Line("1 - avg_over_time(fraud:unavailable:ratio[30d])", "available"),),
            objective=0.999,
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
                    ' + sum(increase(fraud_unaccounted_records_total{kind!="UNPROVED"}[30d])))',
                    "accounted for",
                ),
            ),
            objective=0.99999,
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
            "In the last 30 days, each currency by itself.",
            _B,
            Unit.MONEY,
            (
                Line(
                    in_whole_units(
                        "sum by (outcome, currency) (increase(fraud_decided_amount_minor_total{CURRENCY}[30d])) > 0"
                    ),
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
            "In the last 30 days, each currency by itself.",
            _B,
            Unit.MONEY,
            (
                Line(
                    in_whole_units(
                        'sum by (currency) (increase(fraud_money_moved_minor_total{step="CREDIT",CURRENCY}[30d]))'
                    ),
                    "{{currency}}",
                ),
            ),
        ),
        Panel(
            "Money held",
            "Set aside until a person decides, each currency by itself.",
            _B,
            Unit.MONEY,
            (Line(in_whole_units("max by (currency) (fraud_money_held_minor{CURRENCY})"), "{{currency}}"),),
        ),
        Panel(
            "Money recovered",
            "Taken back from beneficiaries in the last 30 days, each currency by itself; what the rail refused to take"
            " back is left out.",
            _B,
            Unit.MONEY,
            (
                Line(
                    in_whole_units(
                        "sum by (currency)"
                        ' (increase(fraud_money_moved_minor_total{step=~"RECALL|RECALL_PART",CURRENCY}[30d]))'
                        " - sum by (currency)"
                        ' (increase(fraud_money_moved_minor_total{step=~"GIVE_BACK|GIVE_BACK_PART",CURRENCY}[30d]))'
                    ),
                    "{{currency}}",
                ),
            ),
        ),
        Panel(
            "Money lost",
            "In the last 30 days, each currency by itself: fraud that was let go, by labels, and what reversals could"
            " not bring back.",
            _B,
            Unit.MONEY,
            (
                Line(
                    in_whole_units(
                        "sum by (currency)"
                        ' (increase(fraud_labelled_amount_minor_total{verdict="MISSED",CURRENCY}[30d]))'
                    ),
                    "fraud let go, {{currency}}",
                ),
                Line(
                    in_whole_units("sum by (currency) (increase(fraud_money_missing_minor_total{CURRENCY}[30d]))"),
                    "not brought back, {{currency}}",
                ),
            ),
        ),
        Panel(
            "Open recovery cases",
            "Money that is still to be had back, each currency by itself.",
            _B,
            Unit.MONEY,
            (Line(in_whole_units("max by (currency) (fraud_recovery_open_minor{CURRENCY})"), "{{currency}}"),),
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
