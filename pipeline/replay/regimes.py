"""The regime that a stored decision was made under, as a value, or why it can't be had."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from pipeline.decide.feeds.feed import OF_THE_POLICY, FeedName
from pipeline.decide.verdict import Regime

NO_MODEL: Final = "none"
"""The model version of a decision that no model could have answered."""


class Missing(NamedTuple):
    """Why a regime can't be restored: one sentence."""

    why: str


class RegimeKey(NamedTuple):
    """The versions that a decision names; the model's hash counts only where its version isn't NO_MODEL."""

    policy_hash: bytes
    model_version: str
    model_hash: bytes
    exchange_rates: FeedName = OF_THE_POLICY
    sanctions: FeedName = OF_THE_POLICY


RegimeOf = Callable[[RegimeKey], Regime | Missing]
"""An archive's answer: the same for the same key, byte for byte what the decision was made under."""

FeedsFault = Callable[[RegimeKey, int], str | None]
"""Why a feed that a decision names is not proved to be its publisher's, given the time at which it was decided, in
milliseconds; None where both are, or where nobody asks for a proof."""


def feeds_unasked(_key: RegimeKey, _decided_at_ms: int) -> str | None:
    """Return None: no feed needs a proof."""
    return None
