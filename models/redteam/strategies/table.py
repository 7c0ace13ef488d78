"""All attacks, in the order of reports."""

from __future__ import annotations

from typing import Final

from models.redteam.strategies.amounts import BOUNDARY, NEAR_LIMITS, SHIFTED
from models.redteam.strategies.breaker import DILUTE_BREAKER, TRIP_BREAKER
from models.redteam.strategies.patience import DORMANT, HONEST_LABELS, POISONING, WARM_UP
from models.redteam.strategies.spreading import (
    CARD_TESTING,
    FAN_IN,
    SPLIT_ACCOUNTS,
    SPLIT_CLAIMS,
    SPLIT_PAYEES,
    SPLIT_TIME,
)
from models.redteam.strategies.strategy import Strategy

STRATEGIES: Final[tuple[Strategy, ...]] = (
    NEAR_LIMITS,
    SPLIT_TIME,
    SPLIT_CLAIMS,
    SPLIT_ACCOUNTS,
    SPLIT_PAYEES,
    WARM_UP,
    DORMANT,
    POISONING,
    HONEST_LABELS,
    CARD_TESTING,
    FAN_IN,
    BOUNDARY,
    SHIFTED,
    TRIP_BREAKER,
    DILUTE_BREAKER,
)
BY_NAME: Final = {strategy.name: strategy for strategy in STRATEGIES}
