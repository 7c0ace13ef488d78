"""Payments one by one, where it matters whose they are: one account with any number, and made-up accounts."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from pipeline.bias.counting import scopes_of
from pipeline.bias.gathering import MINUTE_MS, Gatherer
from pipeline.bias.settings import BiasSettings
from pipeline.bias.watching import Gap, Standing, begun, step
from pipeline.domain.decision import BreakerState, Decision, InputSnapshot, Outcome, Route
from pipeline.domain.features import COLUMN, FEATURES
from pipeline.domain.identities import DecisionId
from pipeline.domain.payment import Channel, Transaction

POSTCODES: Final = tuple(f"P{place}" for place in range(25))
SUSPECT: Final = POSTCODES[0]
RATE_PER_S: Final = 10
"""Of a fifth of the rate of the counted cases, so that it takes minutes; the suspect has 4 % of the traffic."""
ACCOUNTS: Final = 60_000
BLOCKED: Final = 0.02
FAULT: Final = 0.4
HEAVY_PER_MINUTE: Final = 3_000
FLOOD_PER_MINUTE: Final = 3_000
WARM_MINUTES: Final = 150
"""Half an hour longer than it takes until something is known of what is usual."""
START_MINUTE: Final = 29_000_000


class Found(NamedTuple):
    """heavy_alerts: gaps told where one account has any number of blocked payments. The minutes are those to the alert
    where 40 % of a postcode are blocked, beside an account with any number of allowed payments there, and beside
    made-up accounts whose payments are all blocked elsewhere. scopes_made: by payments that name any segment."""

    heavy_alerts: int
    beside_heavy_minutes: int
    beside_flood_minutes: int
    scopes_made: int


class _Lane:
    def __init__(self, settings: BiasSettings, seed: int) -> None:
        self._settings, self._random = settings, np.random.default_rng(seed)
        self.scopes = scopes_of({"postcode_area": POSTCODES})
        self.standing: Standing = begun(self.scopes, START_MINUTE)
        self.gatherer = Gatherer(self.scopes, b"a salt of the run", START_MINUTE)
        self._postcode_of = self._random.integers(0, len(POSTCODES), ACCOUNTS)

    def minute(self, fault: float = 0.0, more: list[Decision] | None = None) -> list[Gap]:
        minute = self.standing.minute + 1
        honest = [self._payment(fault) for _ in range(int(self._random.poisson(RATE_PER_S * 60)))]
        every = [*honest, *(more or [])]
        order = self._random.permutation(len(every))
        at_ms = minute * MINUTE_MS
        self.gatherer.decided([(every[place], at_ms + 60 * at) for at, place in enumerate(order.tolist())])
        opened: list[Gap] = []
        for judged, counts in self.gatherer.take(minute):
            opened += step(self.standing, judged, counts, self._settings).opened
        return opened

    def _payment(self, fault: float) -> Decision:
        account = int(self._random.integers(ACCOUNTS))
        postcode = POSTCODES[self._postcode_of[account]]
        chance = BLOCKED + (fault if postcode == SUSPECT else 0.0)
        return decision(f"A{account}", postcode, is_blocked=bool(self._random.random() < chance))


def crowded(settings: BiasSettings, *, is_quick: bool) -> Found:
    minutes = 30 if is_quick else 240
    heavy = _Lane(settings, 1)
    blocked = [decision("HEAVY", SUSPECT, is_blocked=True)] * HEAVY_PER_MINUTE
    alerts = sum(len(heavy.minute(more=blocked)) for _ in range(minutes))
    allowed = [decision("HEAVY", SUSPECT, is_blocked=False)] * HEAVY_PER_MINUTE
    beside_heavy = _minutes_to_alert(_warmed(settings, 2), allowed)
    flooded = _warmed(settings, 3)
    beside_flood, made = 60, 0
    for minute in range(1, 61):
        flood = [
            decision(f"MADE-UP-{minute}-{each}", f"X{each}", is_blocked=True, is_known=False)
            for each in range(FLOOD_PER_MINUTE)
        ]
        if any(SUSPECT in gap.scope for gap in flooded.minute(FAULT, flood)):
            beside_flood = minute
            break
    made = len(flooded.gatherer.scopes) - len(flooded.scopes)
    return Found(alerts, beside_heavy, beside_flood, made)


def _warmed(settings: BiasSettings, seed: int) -> _Lane:
    lane = _Lane(settings, seed)
    for _ in range(WARM_MINUTES):
        lane.minute()
    return lane


def _minutes_to_alert(lane: _Lane, more: list[Decision]) -> int:
    for minute in range(1, 61):
        if any(SUSPECT in gap.scope for gap in lane.minute(FAULT, more)):
            return minute
    return 60


def decision(account: str, postcode: str, *, is_blocked: bool, is_known: bool = True) -> Decision:
    """Make a decision with what the monitor reads of one."""
    outcome = Outcome.BLOCK if is_blocked else Outcome.ALLOW
    features = [0] * len(FEATURES)
    features[COLUMN["account_count_30d"]] = 20 if is_known else 1
    features[COLUMN["account_count_24h"]] = 1
    payment = _PAYMENT._replace(account_id=account, segments={"postcode_area": postcode})
    return _DECISION._replace(
        account_id=account, outcome=outcome, snapshot=InputSnapshot(payment, tuple(features)), reasons=()
    )


_PAYMENT: Final = Transaction(
    transaction_id="T",
    account_id="A",
    amount_minor=1_000,
    currency="GBP",
    event_time_ms=START_MINUTE * MINUTE_MS,
    beneficiary_account_id="B",
    beneficiary_name="N",
    beneficiary_country="GB",
    beneficiary_opened_at_ms=None,
    reference="R",
    channel=Channel.FASTER_PAYMENT,
    ip_address=None,
    device_id=None,
    account_opened_epoch_day=10_000,
    account_time_zone="Europe/London",
    segments={},
)
_DECISION: Final = Decision(
    decision_id=DecisionId("00000000-0000-5000-8000-000000000000"),
    transaction_id="T",
    account_id="A",
    decided_at_ms=START_MINUTE * MINUTE_MS,
    agent_id="bench",
    source_partition=0,
    source_offset=0,
    source_timestamp_ms=START_MINUTE * MINUTE_MS,
    outcome=Outcome.ALLOW,
    route=Route.MODEL,
    breaker_state=BreakerState.CLOSED,
    breaker_scope="all",
    confidence_bp=9_900,
    fraud_probability_ppm=10_000,
    score_micro=0,
    summary="",
    reasons=(),
    rules_triggered=(),
    model_version="m1",
    model_hash=bytes(32),
    policy_version="p1",
    policy_hash=bytes(32),
    phrase_book_version="v1",
    exchange_rates_version="",
    exchange_rates_hash=b"",
    sanctions_version="",
    sanctions_hash=b"",
    input_hash=bytes(32),
    snapshot=InputSnapshot(_PAYMENT, (0,) * len(FEATURES)),
)
