"""The prices that a thief is assumed to pay, and what is assumed of victims and reviewers.

Nothing here is measured. These are round figures in the order of what is reported of criminal markets; change one here
and every plan's cost follows. They rank plans by their cost; no evasion rate depends on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from pipeline.state.periods import DAY_MS, HOUR_MS


class Purchase(StrEnum):
    """What a plan needs before its first payment."""

    ACCOUNT = "the log-in of a person's account"
    RICH_ACCOUNT = "the log-in of an account that moves RICH_MONTH_MINOR a month or more"
    REMOTE_ACCESS = "remote access to the victim's own device and address"
    DEVICE = "a fresh device and a residential address"
    COPIED_CARD = "a copy of the victim's card"
    YOUNG_MULE = "a mule account opened for the purpose"
    AGED_MULE = "a mule account that was opened years ago"
    OWN_ACCOUNT = "a payer's account opened under a made-up name"


PRICE_MINOR: Final[Mapping[Purchase, int]] = {
    Purchase.ACCOUNT: 5_000,
    Purchase.RICH_ACCOUNT: 50_000,
    Purchase.REMOTE_ACCESS: 10_000,
    Purchase.DEVICE: 500,
    Purchase.COPIED_CARD: 2_000,
    Purchase.YOUNG_MULE: 20_000,
    Purchase.AGED_MULE: 50_000,
    Purchase.OWN_ACCOUNT: 3_000,
}
"""Pence for one of each."""
RICH_MONTH_MINOR: Final = 1_000_000
BALANCE_MONTHS: Final = 2
"""An account is assumed to hold this many of its normal months; no plan steals more of it."""

OUTCOME_AFTER_MS: Final = 10_000
"""A payment is paid, or known to be refused, so long after its decision."""
REVIEWED_AFTER_MS: Final = 4 * HOUR_MS
"""Reviewers refuse a thief's escalated payment after so long; it is labelled fraud then. They are assumed never to be
deceived. Nobody closes an account, since nothing in the pipeline does: that is in the thief's favour."""
REPORTED_AFTER_MS: Final = 5 * HOUR_MS
"""A fresh address or device is reported so long after a theft by it, as in the simulator's median."""
LABELLED_AFTER_MS: Final = 3 * DAY_MS
"""The victim of an allowed payment notices, and it is labelled fraud, so long after."""
SUCCESS_MINOR: Final = 100_000
"""A plan succeeds where it brings in at least £1,000 and more than it cost."""


def cost_minor(purchases: Mapping[Purchase, int]) -> int:
    return sum(PRICE_MINOR[purchase] * count for purchase, count in purchases.items())
