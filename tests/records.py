"""Records that tests start from."""

from __future__ import annotations

import time
from functools import lru_cache
from pathlib import Path

import numpy as np

from models.artefact.scoring import Calibration, Model, Term
from pipeline.decide.feeds.feed import NO_FEEDS, FeedKind, Feeds, parse_new_feed
from pipeline.decide.feeds.feed_files import shipped_as_of
from pipeline.decide.policy import Policy, parse_policy
from pipeline.domain.features import COLUMN, FEATURES, NONE, Matrix
from pipeline.domain.payment import Decoded, Transaction
from pipeline.io.avro.wire import WireFormat

WIRE = WireFormat()
POLICY_PATH = Path("pipeline/decide/policies/default.toml")
NOON_MS = 1_764_072_000_000  # 2025-11-25T12:00:00Z, a Tuesday

PAYMENT = Transaction(
    transaction_id="tx-000000000001",
    account_id="GB29-0001",
    amount_minor=12_345,
    currency="GBP",
    event_time_ms=NOON_MS,
    beneficiary_account_id="GB29-0002",
    beneficiary_name="Jane Smith",
    beneficiary_country="GB",
    beneficiary_opened_at_ms=NOON_MS - 400 * 86_400_000,
    reference="invoice 1234",
    channel="FASTER_PAYMENT",
    ip_address="192.0.2.17",
    device_id="device-1",
    account_opened_epoch_day=17_000,
    account_time_zone="Europe/London",
    segments={"postcode_area": "SW", "age_band": "30-39"},
)


def decoded_of(payment: Transaction) -> Decoded:
    """The payment as it is read from a record."""
    read = WIRE.decode_transaction(WIRE.encode_transaction(payment))
    assert isinstance(read, Decoded), read
    return read


@lru_cache
def policy() -> Policy:
    return parse_policy(POLICY_PATH.read_bytes())


@lru_cache
def feed_content(kind: FeedKind) -> bytes:
    """The shipped feed as of today: after NOON_MS, and young by the clock."""
    return shipped_as_of(kind, time.time_ns() // 1_000_000)


@lru_cache
def feeds() -> Feeds:
    found = NO_FEEDS
    for kind in FeedKind:
        found = found.with_feed(parse_new_feed(feed_content(kind), kind))
    return found


def features(**values: int) -> Matrix:
    """One row of a quiet payment, but for `values`."""
    quiet = {
        "amount_gbp_minor": 12_345,
        "account_age_days": 3_000,
        "beneficiary_age_hours": 9_600,
        "local_minute_of_day": 720,
        "exchange_rate_age_hours": NONE,
        "account_count_1h": 1,
        "account_count_24h": 1,
        "account_count_7d": 4,
        "account_count_30d": 15,
        "account_sum_minor_24h": 12_345,
        "account_sum_minor_30d": 150_000,
        "account_ms_since_last": 86_400_000,
        "account_normal_month_minor": 160_000,
        "account_volume_minor_24h": 12_345,
        "account_volume_count_30d": 15,
        "account_volume_minor_30d": 150_000,
        "account_volume_percent_of_normal_month": 94,
        "amount_percent_of_average_30d": 123,
        "amount_percent_of_earlier_average_30d": 126,
    }
    row = np.zeros((1, len(FEATURES)), dtype=np.int64)
    for name, value in (quiet | values).items():
        row[0, COLUMN[name]] = value
    return row


def small_model(version: str = "test-1") -> Model:
    """Two tables: reports of the IP address, and amount by new beneficiary. -4 log-odds for a quiet payment."""
    return Model(
        version=version,
        hash=bytes(range(32)),
        intercept_micro=-3_000_000,
        terms=(
            Term(
                ("ip_fraud_reports",),
                (np.array([0, 1, 3], dtype=np.int64),),
                np.array([0, -500_000, 2_000_000, 6_000_000], dtype=np.int64),
            ),
            Term(
                ("amount_gbp_minor", "is_new_beneficiary"),
                (np.array([100_000], dtype=np.int64), np.array([1], dtype=np.int64)),
                np.array([[-500_000, 500_000], [0, 3_000_000]], dtype=np.int64),
            ),
        ),
        calibration=Calibration(
            np.array([-3_500_000, 0, 2_000_000, 4_000_000], dtype=np.int64),
            np.array([10_000, 100_000, 400_000, 850_000, 990_000], dtype=np.int64),
        ),
        typical={"ip_fraud_reports": 0, "amount_gbp_minor": 4_500, "is_new_beneficiary": 0},
    )
