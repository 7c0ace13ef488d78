"""Which facts are one fact: what a decision has said in one wording it does not say in another.

Invariants
1. Two features are of one family where the one follows from the other for most payments, or both are the same number of
   two counts. Of a family the strongest is told, once.
2. One measure over two windows is one fact where both hold the same payments: two frauds of two in 7 days are those of
   30 days, if these hold no more payments. And so is a run of as many frauds as there were payments.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from pipeline.domain.features import COLUMN, FEATURES

_SAME: Final = (
    ("account_sum_minor_24h", "account_volume_minor_24h", "account_average_minor_24h"),
    (
        "account_sum_minor_30d",
        "account_volume_minor_30d",
        "account_average_minor_30d",
        "account_volume_percent_of_normal_month",
        "account_normal_month_minor",
    ),
    ("account_sum_minor_7d", "account_average_minor_7d"),
    ("account_count_30d", "account_volume_count_30d"),
    (
        "amount_percent_of_average_30d",
        "amount_percent_of_earlier_average_30d",
        "amount_percent_of_earlier_average_ever",
    ),
    ("beneficiary_fraud_run_30d", "beneficiary_fraud_run_hours_30d"),
    ("is_new_beneficiary", "is_unpaid_beneficiary"),
    ("beneficiary_frauds_1d", "beneficiary_risk_ppm_1d", "beneficiary_labelled_1d"),
    ("beneficiary_frauds_7d", "beneficiary_risk_ppm_7d", "beneficiary_labelled_7d"),
    ("beneficiary_frauds_30d", "beneficiary_risk_ppm_30d", "beneficiary_labelled_30d"),
)
CONFIDENCE: Final = "confidence_bp"


def _bits() -> dict[str, int]:
    """A bit a family; a feature without relations is one of its own. There are fewer than 63."""
    bits: dict[str, int] = {}
    for name in (*FEATURES, CONFIDENCE):
        if name not in bits:
            family = next((names for names in _SAME if name in names), (name,))
            bits |= dict.fromkeys(family, 1 << len(set(bits.values())))
    return bits


FAMILY: Final = _bits()
"""The family of each feature, as a bit."""
_HELD_BY: Final = {
    "account_count_": "account_count_",
    "account_sum_minor_": "account_count_",
    "account_average_minor_": "account_count_",
    "beneficiary_count_": "beneficiary_count_",
    "beneficiary_senders_": "beneficiary_count_",
    "beneficiary_labelled_": "beneficiary_labelled_",
    "beneficiary_frauds_": "beneficiary_labelled_",
    "beneficiary_risk_ppm_": "beneficiary_labelled_",
}
"""A measure over a window, and what counts the payments of that window."""
_SPAN: Final = re.compile(r"[0-9]+[hd]", re.ASCII)


_RUN: Final = "beneficiary_fraud_run_30d"
_RUN_OVER: Final = "beneficiary_labelled_30d"
"""The payments of which a run of frauds is the end."""


class Windows(NamedTuple):
    """counted: the column that counts the payments that a feature is of. others: of each other window of its measure,
    and of what else may be of the same payments, the family, and the column that counts its payments."""

    counted: int
    others: tuple[tuple[int, int], ...]


def windows_of(feature: str) -> Windows | None:
    """None where it is over no window, or there is no count of the window's payments."""
    if FAMILY[feature] == FAMILY[_RUN]:
        return Windows(COLUMN[_RUN], ((FAMILY[_RUN_OVER], COLUMN[_RUN_OVER]),))
    for measure, count in _HELD_BY.items():
        span = feature.removeprefix(measure)
        if span != feature and _SPAN.fullmatch(span):
            spans = [name.removeprefix(measure) for name in FEATURES if name.startswith(measure) and name != feature]
            others = [(FAMILY[f"{measure}{each}"], COLUMN[f"{count}{each}"]) for each in spans if _SPAN.fullmatch(each)]
            run = [(FAMILY[_RUN], COLUMN[_RUN])] if f"{count}{span}" == _RUN_OVER else []
            return Windows(COLUMN[f"{count}{span}"], (*others, *run))
    return None


MINUTES_OF_DAY: Final = frozenset({"local_minute_of_day", "logged_minute_of_day"})


def is_measured(feature: str) -> bool:
    """Whether it has more and less, so that a limit and a difference mean something: no yes or no, no time of day."""
    return not feature.startswith("is_") and feature not in MINUTES_OF_DAY


MONEY: Final = frozenset(
    name for name in FEATURES if name.startswith(("account_sum_", "account_volume_minor_", "account_average_minor_"))
)
"""Sums and averages that hold the payment itself; where one is the payment's own amount, it says nothing else."""
OF_SEVERAL: Final = MONEY | {
    "account_volume_percent_of_normal_month",
    "amount_percent_of_average_30d",
    "amount_percent_of_earlier_average_30d",
}
"""Those that say nothing of an account whose only payment in 30 days is this one."""
