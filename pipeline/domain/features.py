"""The features of a decision: their names, order, units, and those that follow from others.

Invariants
1. A feature is an integer: at least 0 where it is known, else NONE (-1) or UNKNOWN (-2).
2. Order is the order of FEATURES; a snapshot, the decision schema and a model artefact all use it.
3. Windows are (t - w, t] on effective event time and hold the current payment.

A batch is an int64 matrix of shape (records, len(FEATURES)): EVENT columns come from payment, policy and feeds,
STATE columns from the state store, DERIVED columns from those.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.domain.payment import AMOUNT_MINOR_MAX

NONE: Final = -1
"""The value of a feature that is known to be absent: no payment yet, no device given. A policy says what it means."""
UNKNOWN: Final = -2
"""The value of a feature that was lost or can't be had. It is met by every condition that doesn't say otherwise, and no
model is asked about it (I4). Decisions made before there were two values have NONE for both, under policies that say
the same of both (ADR 0010)."""

EVENT: Final = (
    "amount_gbp_minor",  # NONE where there is no rate for the currency
    # 0 or 1, from event to log time; NONE where the list knows no such country, UNKNOWN where there is no list
    "is_beneficiary_country_sanctioned",
    "is_reference_missing",  # 0 or 1; made of invisible characters, or a word for nothing, is missing
    "is_beneficiary_name_missing",  # 0 or 1
    "account_age_days",  # UNKNOWN where the opening day is one that stands for none
    "beneficiary_age_hours",
    "local_minute_of_day",  # 0 to 1439 in the account's time zone
    "is_weekend",  # 0 or 1 in the account's time zone
    "event_age_hours",  # by which the event time lies before the log's; a week and more is late
    "logged_minute_of_day",  # local_minute_of_day of the log's time; NONE within PROMPT_MS of the event's
    # By which the moment that a feed holds for lies before the log's time; UNKNOWN where there is no feed, or no rate.
    "exchange_rate_age_hours",  # NONE where the payment needs no rate
    "sanctions_list_age_hours",
)
ACCOUNT_STATE: Final = (
    "account_count_1h",
    "account_sum_minor_1h",
    "account_count_24h",
    "account_sum_minor_24h",
    "account_count_7d",
    "account_sum_minor_7d",
    "account_count_30d",
    "account_sum_minor_30d",
    "account_ms_since_last",  # NONE for the first payment
    "account_distinct_beneficiaries_24h",
    "account_near_limit_count_24h",
    "account_normal_month_minor",  # declared by accounts.v1, else the mean of up to 3 past blocks of 30 days
    "is_new_beneficiary",  # 1 for the account's first attempt to pay this beneficiary
    "account_volume_minor_24h",  # volume: attempted, and not blocked, refused or rejected as far as is known
    "account_volume_count_30d",
    "account_volume_minor_30d",
    "is_unpaid_beneficiary",  # 1 where no payment to this beneficiary was made at least PAYEE_KNOWN_AFTER_MS before
    # Attempted payments since the account's first, kept for ever, and this one. In the sum each earlier one weighs at
    # most WEIGHT_PERCENT_MAX of the average before it (`weight_minor`), so it isn't what was attempted in all.
    "account_count_ever",
    "account_sum_minor_ever",
    # The greatest amount_percent_of_earlier_average_ever that an earlier payment in (t - 7 d, t] had when it was made;
    # 0 where none had one.
    "account_percent_of_earlier_average_max_7d",
)
SHARED_STATE: Final = (
    "beneficiary_count_24h",
    "beneficiary_count_7d",
    "beneficiary_senders_24h",
    "beneficiary_senders_7d",
    "beneficiary_labelled_1d",  # payments in (t - delay - w, t - delay]
    "beneficiary_frauds_1d",  # of these, labelled fraud
    "beneficiary_labelled_7d",
    "beneficiary_frauds_7d",
    "beneficiary_labelled_30d",
    "beneficiary_frauds_30d",
    "ip_fraud_reports",
    "device_fraud_reports",
    "beneficiary_confirmed_frauds",  # known by now of the payments of 30 days and the label delay
    # How many of the latest usual payments in (t - delay - 30 d, t - delay] were all labelled fraud, and the time since
    # that run began (pipeline/state/unusual/fraud_run.py); NONE where there is no run.
    "beneficiary_fraud_run_30d",
    "beneficiary_fraud_run_hours_30d",
)
STATE: Final = ACCOUNT_STATE + SHARED_STATE
DERIVED: Final = (
    "account_average_minor_24h",  # sum over count, rounded half up
    "account_average_minor_7d",
    "account_average_minor_30d",
    "amount_percent_of_average_30d",
    "account_volume_percent_of_normal_month",
    "beneficiary_risk_ppm_1d",  # frauds over labelled, in millionths
    "beneficiary_risk_ppm_7d",
    "beneficiary_risk_ppm_30d",
    "amount_percent_of_earlier_average_30d",  # against the volume before this payment; NONE where there is none
    "amount_percent_of_earlier_average_ever",  # against all payments attempted before; NONE where there is none
)
FEATURES: Final = EVENT + STATE + DERIVED
COLUMN: Final = {name: index for index, name in enumerate(FEATURES)}
ALWAYS_KNOWN: Final = frozenset(EVENT) - {
    "account_age_days",
    "amount_gbp_minor",
    "beneficiary_age_hours",
    "is_beneficiary_country_sanctioned",
    "logged_minute_of_day",
    "exchange_rate_age_hours",
    "sanctions_list_age_hours",
}
"""They follow from the payment and its place in the log, and always have a value."""
NEVER_UNKNOWN: Final = frozenset(EVENT) - {
    "account_age_days",
    "is_beneficiary_country_sanctioned",
    "exchange_rate_age_hours",
    "sanctions_list_age_hours",
}
"""A payment may lack a value and loses none. A feed may be lost, and upstream may have lost an opening day."""
STATE_SLICE: Final = slice(len(EVENT), len(EVENT) + len(STATE))

Matrix = NDArray[np.int64]
ACCOUNT_PAYMENTS_MAX: Final = 50_000
"""Most payments of an account in 30 days, 1,667 a day; more push the oldest out. 50,000 payments of the largest amount
still sum below 2^53."""
BENEFICIARY_PAYMENTS_MAX: Final = 100_000
"""Most payments to a beneficiary in 30 days and the label delay; more push the oldest out."""
RATIO_PERCENT_MAX: Final = 1_000_000
"""A ratio of 10,000 to 1 and more is reported as this, so that a tiny divisor can't overflow a table or a sentence."""

RUN_HOURS_MAX: Final = 24 * (30 + 365)
"""A run began at most 30 days and the label delay ago; no delay is as long as a year."""
LIFETIME_SUM_MINOR_MAX: Final = 2**51
"""A sum of payments that has come to this isn't known any more. It is 22 thousand payments of the largest amount, and
doubled it is the largest integer that Lua holds exactly."""
WEIGHT_PERCENT_MAX: Final = 200
"""Most that a payment weighs in its account's average, in percent of the average before it. So whoever wants to double
what is usual of an account must pay, or try to, as often as it ever did, however large the amounts are."""
WEIGHT_FREE_MINOR: Final = 10_000
"""Up to £100 a payment weighs its whole amount. Else a first payment of a penny would keep an account's average small
for hundreds of honest payments."""
LIFETIME_COUNT_MAX: Final = 2**39
"""A count of payments that has come to this isn't known any more: a thousand a second for 17 years."""

GREATEST: Final = {
    "amount_gbp_minor": AMOUNT_MINOR_MAX,
    "local_minute_of_day": 1439,
    "logged_minute_of_day": 1439,
    **{name: ACCOUNT_PAYMENTS_MAX for name in ACCOUNT_STATE if name.startswith("account_count_")},
    **{
        name: ACCOUNT_PAYMENTS_MAX * AMOUNT_MINOR_MAX for name in ACCOUNT_STATE if name.startswith("account_sum_minor_")
    },
    "account_count_ever": LIFETIME_COUNT_MAX,
    "account_sum_minor_ever": LIFETIME_SUM_MINOR_MAX,
    "account_percent_of_earlier_average_max_7d": RATIO_PERCENT_MAX,
    "account_volume_count_30d": ACCOUNT_PAYMENTS_MAX,
    "account_volume_minor_24h": ACCOUNT_PAYMENTS_MAX * AMOUNT_MINOR_MAX,
    "account_volume_minor_30d": ACCOUNT_PAYMENTS_MAX * AMOUNT_MINOR_MAX,
    "account_distinct_beneficiaries_24h": ACCOUNT_PAYMENTS_MAX,
    "account_near_limit_count_24h": ACCOUNT_PAYMENTS_MAX,
    **{name: BENEFICIARY_PAYMENTS_MAX for name in SHARED_STATE if name.startswith("beneficiary_")},
    **{name: AMOUNT_MINOR_MAX for name in DERIVED if name.startswith("account_average_minor_")},
    "amount_percent_of_average_30d": RATIO_PERCENT_MAX,
    "amount_percent_of_earlier_average_30d": RATIO_PERCENT_MAX,
    "amount_percent_of_earlier_average_ever": RATIO_PERCENT_MAX,
    "account_volume_percent_of_normal_month": RATIO_PERCENT_MAX,
    "beneficiary_fraud_run_hours_30d": RUN_HOURS_MAX,
    **{name: 1_000_000 for name in DERIVED if name.startswith("beneficiary_risk_ppm_")},
    **{name: 1 for name in FEATURES if name.startswith("is_")},
}
"""The greatest value of each feature that has one."""

PAYEE_KNOWN_AFTER_MS: Final = 24 * 3_600_000
"""A payment makes its payee known to the account only after this time: whoever has taken an account over could
otherwise prepare the large payment by a small one."""
PROMPT_MS: Final = 5 * 60_000
"""A payment that reaches the log this soon was handed in when it was made, and its log time says nothing more."""
LATE_HOURS: Final = 7 * 24
"""A payment whose event time lies this far before the log's is late: whether it was decided before is not remembered,
and windows have moved on. A policy must decide it strictly."""

_RATIOS: Final = (  # derived, numerator, denominator, scale
    ("account_average_minor_24h", "account_sum_minor_24h", "account_count_24h", 1),
    ("account_average_minor_7d", "account_sum_minor_7d", "account_count_7d", 1),
    ("account_average_minor_30d", "account_sum_minor_30d", "account_count_30d", 1),
    ("account_volume_percent_of_normal_month", "account_volume_minor_30d", "account_normal_month_minor", 100),
    ("beneficiary_risk_ppm_1d", "beneficiary_frauds_1d", "beneficiary_labelled_1d", 1_000_000),
    ("beneficiary_risk_ppm_7d", "beneficiary_frauds_7d", "beneficiary_labelled_7d", 1_000_000),
    ("beneficiary_risk_ppm_30d", "beneficiary_frauds_30d", "beneficiary_labelled_30d", 1_000_000),
)
_RATIOS_OF_RATIOS: Final = (("amount_percent_of_average_30d", "amount_gbp_minor", "account_average_minor_30d", 100),)
_PERCENT_OF_EARLIER: Final = COLUMN["amount_percent_of_earlier_average_30d"]
_PERCENT_OF_MONTH: Final = COLUMN["account_volume_percent_of_normal_month"]
_CAPPED: Final = [COLUMN["amount_percent_of_average_30d"], _PERCENT_OF_MONTH, _PERCENT_OF_EARLIER]
_PERCENT_OF_EVER: Final = COLUMN["amount_percent_of_earlier_average_ever"]
_COUNT_EVER: Final = COLUMN["account_count_ever"]
_SUM_EVER: Final = COLUMN["account_sum_minor_ever"]
_AMOUNT: Final = COLUMN["amount_gbp_minor"]
_MONTH: Final = COLUMN["account_normal_month_minor"]
_VOLUME_30D: Final = COLUMN["account_volume_minor_30d"]
_VOLUME_COUNT_30D: Final = COLUMN["account_volume_count_30d"]


class _Ratios:
    """Columns of ratios that are computed side by side."""

    def __init__(self, ratios: Sequence[tuple[str, str, str, int]]) -> None:
        derived, numerators, denominators, scales = zip(*ratios, strict=True)
        self.derived = [COLUMN[name] for name in derived]
        self.numerators = [COLUMN[name] for name in numerators]
        self.denominators = [COLUMN[name] for name in denominators]
        self.scales = np.array(scales, dtype=np.int64)

    def enter(self, features: Matrix) -> None:
        numerator, denominator = features[:, self.numerators], features[:, self.denominators]
        features[:, self.derived] = _ratio(numerator, denominator, self.scales)


_IN_ORDER: Final = (_Ratios(_RATIOS), _Ratios(_RATIOS_OF_RATIOS))


def feature_matrix(event: Matrix, state: Matrix) -> Matrix:
    """All features of a batch: `event` (n, len(EVENT)) and `state` (n, len(STATE)) with the derived columns added."""
    features = np.empty((event.shape[0], len(FEATURES)), dtype=np.int64)
    features[:, : len(EVENT)] = event
    features[:, STATE_SLICE] = state
    for ratios in _IN_ORDER:
        ratios.enter(features)
    _enter_percent_of_month(features)
    _enter_percent_of_earlier(features)
    _enter_percent_of_ever(features)
    features[:, _CAPPED] = np.minimum(features[:, _CAPPED], RATIO_PERCENT_MAX)
    return features


def _ratio(numerator: Matrix, denominator: Matrix, scale: Matrix) -> Matrix:
    """round-half-up(numerator · scale / denominator); UNKNOWN where one of them is, else NONE where there is no ratio.

    numerator · scale · 2 stays below 2^63: sums are at most 50,000 · 10^11 = 5·10^15, times 200 = 10^18.
    """
    known = (numerator >= 0) & (denominator > 0)
    divisor = np.where(known, denominator, 1)
    missing = np.where((numerator == UNKNOWN) | (denominator == UNKNOWN), UNKNOWN, NONE)
    return np.where(known, (2 * scale * numerator + divisor) // (2 * divisor), missing)


def _enter_percent_of_month(features: Matrix) -> None:
    """A normal month of nothing is known, and any volume is the extreme of it."""
    is_extreme = (features[:, _MONTH] == 0) & (features[:, _VOLUME_30D] > 0)
    features[is_extreme, _PERCENT_OF_MONTH] = RATIO_PERCENT_MAX


def _enter_percent_of_earlier(features: Matrix) -> None:
    """amount · earlier payments · 100 / their sum, rounded half up: at most 2 · 10^18, so below 2^63."""
    amount, volume, count = features[:, _AMOUNT], features[:, _VOLUME_30D], features[:, _VOLUME_COUNT_30D]
    is_unknown = (amount == UNKNOWN) | (volume == UNKNOWN) | (count == UNKNOWN)
    earlier, earlier_sum = count - 1, volume - amount
    has_earlier = (amount >= 0) & (volume >= 0) & (earlier > 0)
    divisor = np.where(has_earlier & (earlier_sum > 0), earlier_sum, 1)
    percent = np.where(
        earlier_sum > 0,
        (200 * amount * earlier + divisor) // (2 * divisor),
        np.where(amount > 0, RATIO_PERCENT_MAX, NONE),  # all earlier ones came to nothing
    )
    features[:, _PERCENT_OF_EARLIER] = np.where(is_unknown, UNKNOWN, np.where(has_earlier, percent, NONE))


def _enter_percent_of_ever(features: Matrix) -> None:
    amount, total, count = features[:, _AMOUNT], features[:, _SUM_EVER], features[:, _COUNT_EVER]
    features[:, _PERCENT_OF_EVER] = percents_of_earlier(amount, total, count)


def percents_of_earlier(amount: Matrix, total: Matrix, count: Matrix) -> Matrix:
    """Amounts in percent of the average of all payments before them, as `percent_of_average` says of one.

    total, count: with the payments themselves. UNKNOWN where one of the three is.
    """
    is_unknown = (amount == UNKNOWN) | (total == UNKNOWN) | (count == UNKNOWN)
    earlier, earlier_sum = count - 1, total - amount
    has_earlier = (amount >= 0) & (total >= 0) & (earlier > 0) & (earlier_sum >= 0)
    number = np.where(has_earlier, earlier, 1)
    average = np.where(has_earlier, (2 * earlier_sum + number) // (2 * number), 0)
    divisor = np.where(average > 0, average, 1)
    percent = np.where(
        average > 0,
        np.minimum((200 * amount + divisor) // (2 * divisor), RATIO_PERCENT_MAX),
        np.where(amount > 0, RATIO_PERCENT_MAX, NONE),
    )
    return np.where(is_unknown, UNKNOWN, np.where(has_earlier, percent, NONE))


def percent_of_average(amount_minor: int, total_minor: int, count: int) -> int:
    """An amount in percent of the average of `count` payments that come to `total_minor`; both are rounded half up.

    NONE where there are none, or where neither they nor the amount come to anything. The average is rounded first, so
    that the state store's scripts compute the same in doubles.
    """
    average = (2 * total_minor + count) // (2 * count) if count else 0
    if average:
        return min((200 * amount_minor + average) // (2 * average), RATIO_PERCENT_MAX)
    return RATIO_PERCENT_MAX if count and amount_minor else NONE


def weight_minor(amount_minor: int, total_minor: int, count: int) -> int:
    """What an amount adds to the `total_minor` of the `count` payments before it, which bounds what is usual.

    A first payment weighs all of it.
    """
    if not count:
        return amount_minor
    average = (2 * total_minor + count) // (2 * count)
    return min(amount_minor, max(average * WEIGHT_PERCENT_MAX // 100, WEIGHT_FREE_MINOR))
