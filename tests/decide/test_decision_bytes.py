"""Decisions' bytes do not change by accident: a hash of 4,000 of them, kept from one release to the next.

A change that means to change decisions changes the hash, and the changelog says which decisions and why. What the
hash leaves out is versions and hashes of policy and feeds, so that a file may say the same in other words, and the
schema's fingerprint, so that the other records of decision.v1 may change.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models.artefact.files import load_version
from ops.bench.rig.payments import payments
from pipeline.decide.decision_encoder import DecisionEncoder, with_position
from pipeline.decide.event_features import EventRows
from pipeline.decide.feeds.feed import NO_FEEDS, FeedKind, Feeds, parse_new_feed
from pipeline.decide.feeds.feed_files import shipped_as_of
from pipeline.decide.phrase_books.money import foreign_money
from pipeline.decide.verdict import Mode, decide, regime
from pipeline.domain.decision import BreakerState
from pipeline.domain.features import EVENT, NONE, STATE, STATE_SLICE, UNKNOWN, feature_matrix
from pipeline.domain.log import Source
from pipeline.domain.payment import Decoded, Transaction
from pipeline.io.avro.wire import WireFormat
from tests.records import decoded_of, features, policy

WIRE = WireFormat()
MODEL = load_version(Path("models/registry"), "glass-2026-11-30")
PAYMENTS = 2_000
NOW_MS = 1_767_300_000_000
MODES = [
    *[Mode(BreakerState.CLOSED, "all", True)] * 4,
    Mode(BreakerState.OPEN, "segment:postcode_area=SW", False),
    Mode(BreakerState.HALF_OPEN, "all", True),
    Mode(BreakerState.UNKNOWN, "all", False),
]
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
UNNAMED = {"version": "any", "sha256": bytes(32)}
DELAYS_MS = (*[200] * 40, 30 * HOUR_MS, 7 * DAY_MS - 1, 7 * DAY_MS)
"""By which payments reach the log: most at once, some when they are all but late, some late."""
AMOUNTS = (4_000, 30_000, 90_000, 160_000)
CHANGES: list[dict[str, object]] = [
    {"amount_minor": 10_000_000_000},
    {"amount_minor": 499_999},
    {"amount_minor": 500_000},
    {"currency": "XXX"},
    {"reference": None},
    {"reference": "\u200b"},
    {"beneficiary_name": " "},
    {"beneficiary_country": "KP"},
    {"beneficiary_country": "ZZ"},
    {"beneficiary_opened_at_ms": None},
]
STATES = {
    "account_count_1h": (NONE, UNKNOWN, 1, 4, 7, 8),
    "account_sum_minor_24h": (NONE, 20_000_000, 20_000_001),
    "account_sum_minor_7d": (NONE, 20_000_000, 20_000_001),
    "account_volume_minor_24h": (NONE, UNKNOWN, 20_000_000, 20_000_001),
    "account_volume_minor_30d": (NONE, 150_000, 2_000_000),
    "account_volume_count_30d": (NONE, 1, 30),
    "account_count_30d": (NONE, 1, 30),
    "account_sum_minor_30d": (NONE, 150_000, 2_000_000),
    "account_normal_month_minor": (NONE, 1, 160_000, 500_000),
    "account_ms_since_last": (NONE, 1_000, 60_000),
    "account_distinct_beneficiaries_24h": (NONE, 1, 7, 8),
    "account_near_limit_count_24h": (NONE, 0, 1, 2),
    "is_new_beneficiary": (NONE, 0, 1),
    "is_unpaid_beneficiary": (NONE, UNKNOWN, 0, 1),
    "account_count_ever": (NONE, UNKNOWN, 1, 2, 400),
    "account_sum_minor_ever": (NONE, 40_000, 4_000_000),
    "account_percent_of_earlier_average_max_7d": (NONE, 0, 150, 900),
    "beneficiary_fraud_run_30d": (NONE, 0, 1, 5),
    "beneficiary_fraud_run_hours_30d": (NONE, 170, 600),
    "beneficiary_confirmed_frauds": (NONE, 0, 1, 2),
    "beneficiary_frauds_30d": (NONE, 0, 1, 2),
    "beneficiary_labelled_30d": (NONE, 0, 50),
    "ip_fraud_reports": (NONE, UNKNOWN, 0, 1, 3),
    "device_fraud_reports": (NONE, 0, 1, 3),
}
"""What each is now and then; otherwise a quiet account's, so that most payments meet few rules."""

GOLDEN = "426b68939841c1784a4812862180a93c2498903765123194eea9c997196faac3"


def paid(pick: random.Random) -> Iterator[Transaction]:
    """The generator's payments, every third changed so that it meets a guardrail or just doesn't."""
    for number, published in enumerate(payments(WIRE, PAYMENTS)):
        decoded = WIRE.decode_transaction(published.value)
        assert isinstance(decoded, Decoded)
        transaction = decoded.transaction
        if number % 3 == 0:
            transaction = transaction._replace(**pick.choice(CHANGES))
        if number % 9 == 0:
            opened_day = transaction.event_time_ms // DAY_MS - pick.choice((0, 29, 30))
            transaction = transaction._replace(account_opened_epoch_day=opened_day)
        if number % 10 == 1:
            opened_ms = transaction.event_time_ms - pick.choice((0, 48, 49)) * HOUR_MS
            transaction = transaction._replace(beneficiary_opened_at_ms=opened_ms, amount_minor=pick.choice(AMOUNTS))
        yield transaction


def state_row(pick: random.Random) -> list[int]:
    row = features()[0, STATE_SLICE].tolist()
    for name, values in STATES.items():
        if pick.random() < 0.2:
            row[STATE.index(name)] = pick.choice(values)
    if row[STATE.index("account_percent_of_earlier_average_max_7d")] >= 900:
        row[STATE.index("account_count_ever")], row[STATE.index("account_sum_minor_ever")] = 400, 4_000_000
    return row


def feeds_of(at_ms: int) -> Feeds:
    """Of a day before the first payment: what is handed in a week later is too late for them."""
    found = NO_FEEDS
    for kind in FeedKind:
        feed = parse_new_feed(shipped_as_of(kind, at_ms))
        found = found.with_feed(feed.model_copy(update=UNNAMED))
    return found


def test_decisions_are_the_bytes_that_they_were():
    pick = random.Random(5)
    unnamed = policy().model_copy(update=UNNAMED)
    transactions = list(paid(pick))
    unnamed_feeds = feeds_of(min(each.event_time_ms for each in transactions) - DAY_MS)
    rows = EventRows(unnamed, unnamed_feeds)
    event = np.array(
        [rows.row(each, each.event_time_ms + pick.choice(DELAYS_MS)) for each in transactions], dtype=np.int64
    ).reshape(-1, len(EVENT))
    state = np.array([state_row(pick) for _ in transactions], dtype=np.int64)
    matrix, modes = feature_matrix(event, state), [pick.choice(MODES) for _ in transactions]
    payload = [decoded_of(each) for each in transactions]
    sources = [Source(number % 4, number, NOW_MS) for number in range(len(transactions))]
    sha256, codes, header = hashlib.sha256(), Counter[str](), WIRE.header("decision.v1")
    for model in (MODEL, None):
        in_force = regime(unnamed, model, unnamed_feeds)
        verdicts = decide(matrix, modes, in_force, own=[foreign_money(each) for each in transactions])
        encoder = DecisionEncoder(header, in_force, "decide/test")
        for value in encoder.encode(payload, sources, with_position(matrix, -1), verdicts, [NOW_MS] * len(verdicts)):
            sha256.update(value.removeprefix(header))
        codes.update(code for verdict in verdicts for code in verdict.rules_triggered)
    every = (*unnamed.hard.rules, *unnamed.soft.rules, *unnamed.fallback.rules)
    assert {rule.code for rule in every} == set(codes), "every rule of the policy is met by some payment"
    assert sha256.hexdigest() == GOLDEN


def test_a_decision_has_the_same_bytes_whatever_was_decided_before_it(monkeypatch):
    pick = random.Random(7)
    transactions = list(paid(pick))[:300]
    in_force = regime(policy(), MODEL, feeds_of(min(each.event_time_ms for each in transactions) - DAY_MS))
    rows = EventRows(in_force.policy, in_force.feeds)
    event = np.array([rows.row(each, each.event_time_ms) for each in transactions], dtype=np.int64)
    matrix = feature_matrix(event, np.array([state_row(pick) for _ in transactions], dtype=np.int64))
    verdicts = decide(matrix, [pick.choice(MODES) for _ in transactions], in_force)
    payload, observed = [decoded_of(each) for each in transactions], with_position(matrix, -1)

    def encoded(encoder: DecisionEncoder, place: int) -> bytes:
        own = slice(place, place + 1)
        [value] = encoder.encode(payload[own], [Source(0, place, NOW_MS)], observed[own], verdicts[own], [NOW_MS])
        return value

    def encoder() -> DecisionEncoder:
        return DecisionEncoder(WIRE.header("decision.v1"), in_force, "decide/test")

    alone = [encoded(encoder(), place) for place in range(len(verdicts))]
    for remembered in (1, 7, 32_768):
        monkeypatch.setattr("pipeline.decide.decision_encoder._REASONS_REMEMBERED", remembered)
        of_all = encoder()
        assert [encoded(of_all, place) for place in range(len(verdicts))] == alone
        assert len(of_all._reasons) <= remembered
