"""Rows of features that could be a payment's: everything that must hold between facts holds in them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import strategies as st

from pipeline.domain.features import COLUMN, EVENT, FEATURES, NONE, STATE_SLICE, Matrix, feature_matrix

HOUR_MS = 3_600_000
WINDOWS = {"1h": 1, "24h": 24, "7d": 168, "30d": 720}


def whole(**values: int) -> Matrix:
    """A quiet payment of £100 by an account that made ten, but for `values`; (len(FEATURES),)."""
    quiet = dict.fromkeys(FEATURES, 0) | {
        "amount_gbp_minor": 10_000,
        "account_age_days": 3_000,
        "beneficiary_age_hours": 9_000,
        "local_minute_of_day": 720,
        "logged_minute_of_day": NONE,
        **dict(zip([f"account_count_{w}" for w in WINDOWS], (1, 1, 4, 10), strict=True)),
        **dict(zip([f"account_sum_minor_{w}" for w in WINDOWS], (10_000, 10_000, 50_000, 90_000), strict=True)),
        "account_ms_since_last": 40 * HOUR_MS,
        "account_distinct_beneficiaries_24h": 1,
        "account_normal_month_minor": 100_000,
        "account_volume_minor_24h": 10_000,
        "account_volume_count_30d": 9,
        "account_volume_minor_30d": 80_000,
        **dict.fromkeys([f"beneficiary_{kind}_{w}" for kind in ("count", "senders") for w in ("24h", "7d")], 1),
    }
    row = np.array([[(quiet | values)[name] for name in FEATURES]], dtype=np.int64)
    return feature_matrix(row[:, : len(EVENT)], row[:, STATE_SLICE])[0]


def _window(payments: list[tuple[int, int, bool]], hours: int) -> list[tuple[int, int, bool]]:
    return [each for each in payments if each[0] < hours * HOUR_MS]


@st.composite
def rows(draw: st.DrawFn) -> Matrix:
    """Counted from payments that are drawn, so that no relation between facts has to be known here."""
    amount = draw(st.integers(1, 600_000))
    ages = draw(st.lists(st.integers(1, 719 * HOUR_MS), max_size=6))
    earlier = [(age, draw(st.integers(0, 500_000)), draw(st.booleans())) for age in ages]
    payments = [(0, amount, True), *earlier]
    values: dict[str, int] = {"amount_gbp_minor": amount}
    for name, hours in WINDOWS.items():
        values[f"account_count_{name}"] = len(_window(payments, hours))
        values[f"account_sum_minor_{name}"] = sum(each[1] for each in _window(payments, hours))
    standing = [each for each in payments if each[2]]
    values["account_volume_minor_24h"] = sum(each[1] for each in _window(standing, 24))
    values["account_volume_minor_30d"] = sum(each[1] for each in standing)
    values["account_volume_count_30d"] = len(standing)
    values["account_ms_since_last"] = min(ages, default=NONE)
    values["account_distinct_beneficiaries_24h"] = draw(st.integers(1, values["account_count_24h"]))
    values["account_normal_month_minor"] = draw(st.sampled_from([NONE, 0, 1, 30_000, 2_000_000]))
    values["is_new_beneficiary"] = draw(st.integers(0, 1)) if ages else 1
    values["is_unpaid_beneficiary"] = max(values["is_new_beneficiary"], draw(st.integers(0, 1)))
    values |= {name: draw(st.integers(-1, 4)) for name in ("ip_fraud_reports", "device_fraud_reports")}
    values["local_minute_of_day"] = draw(st.integers(0, 1439))
    values |= _labels(draw)
    return whole(**values)


def _labels(draw: st.DrawFn) -> dict[str, int]:
    labelled = sorted(draw(st.lists(st.integers(0, 20), min_size=3, max_size=3)))
    frauds = [0]
    for before, now in pairwise([0, *labelled]):
        frauds.append(frauds[-1] + draw(st.integers(0, now - before)))
    values = {f"beneficiary_labelled_{w}": n for w, n in zip(("1d", "7d", "30d"), labelled, strict=True)}
    values |= {f"beneficiary_frauds_{w}": n for w, n in zip(("1d", "7d", "30d"), frauds[1:], strict=True)}
    return values | {"beneficiary_confirmed_frauds": frauds[-1] + draw(st.integers(0, 2))}


def value(row: Matrix, name: str) -> int:
    return int(row[COLUMN[name]])
