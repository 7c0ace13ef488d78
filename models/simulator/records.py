"""The settings of traffic, and the records that it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from pipeline.domain.context import Account, Label, RiskSignal
from pipeline.domain.payment import Channel, Transaction


class Scenario(StrEnum):
    """The reason why a payment was made; the first seven are honest."""

    EVERYDAY = "everyday"
    BILL = "bill"
    PAYROLL = "payroll"
    HOUSE_PURCHASE = "house_purchase"
    HOLIDAY = "holiday"
    NEW_TRADER = "new_trader"
    MICRO_PAYMENTS = "micro_payments"
    PUSH_PAYMENT = "push_payment"
    ACCOUNT_TAKEOVER = "account_takeover"
    CARD_TESTING = "card_testing"
    STRUCTURING = "structuring"
    COMPROMISED_MERCHANT = "compromised_merchant"


@dataclass(frozen=True, slots=True)
class TrafficSettings:
    """The settings of a stream of traffic.

    A share `guardrail_share` of everyday payments is made to hit a hard guardrail: a sanctioned country, no reference,
    or a currency without a rate. A share `profile_share` of accounts declare their normal month.

    In the first `quiet_days` of `days`, accounts shop `quiet_share` as often and spend so much more each time that a
    month's money goes in few payments. Nothing but shopping, bills and payrolls happens then. Such a past costs little
    to publish and to count.

    With `is_around_the_clock` the accounts live in 24 time zones, as many in each, and frauds wait for no hour of the
    day: the mix of payments is the same at every hour. It is for whoever lets days pass in minutes, in which a night's
    frauds, or the bills that all leave at six, would be what a model is judged by.
    """

    seed: int
    accounts: int
    start_ms: int  # a whole hour
    days: int
    payments_per_account_day: float = 1.5
    fraud_share: float = 0.007
    lookalike_share: float = 0.008
    guardrail_share: float = 0.0
    profile_share: float = 0.9
    quiet_days: int = 0
    quiet_share: float = 1.0
    is_around_the_clock: bool = False

    def __post_init__(self) -> None:
        if not 100 <= self.accounts <= 10_000_000 or not 1 <= self.days <= 3650:
            raise ValueError("accounts must be 100 to 10,000,000 and days 1 to 3650")
        if self.start_ms % 3_600_000 or self.start_ms < 0:
            raise ValueError("start_ms must be a whole hour since 1970")
        if not 0 < self.payments_per_account_day <= 100:
            raise ValueError("payments_per_account_day must be above 0, up to 100")
        if not all(0 <= share <= 0.2 for share in (self.fraud_share, self.lookalike_share, self.guardrail_share)):
            raise ValueError("every share must be 0 to 0.2")
        if not 0 <= self.profile_share <= 1 or not 0 < self.quiet_share <= 1:
            raise ValueError("profile_share must be 0 to 1, quiet_share above 0, up to 1")
        if not 0 <= self.quiet_days < self.days:
            raise ValueError("quiet_days must be 0 or more and fewer than days")

    @property
    def busy_from_ms(self) -> int:
        """End of the quiet days."""
        return self.start_ms + self.quiet_days * 86_400_000

    def share_at(self, when_ms: int) -> float:
        """Return the share of the usual number of payments that are made at this time."""
        return self.quiet_share if when_ms < self.busy_from_ms else 1.0


class LabelledTransaction(NamedTuple):
    transaction: Transaction
    fraud: bool
    scenario: str  # a Scenario
    log_time_ms: int | None = None  # of its record; None where it was handed in when it was made


TrafficEvent = LabelledTransaction | Account | RiskSignal | Label


class Beneficiary(NamedTuple):
    account_id: str
    name: str
    country: str
    opened_at_ms: int
    channel: Channel


class Planned(NamedTuple):
    """A payment that will be made; `account` indexes the population."""

    event_time_ms: int
    account: int
    amount_minor: int
    currency: str
    beneficiary: Beneficiary
    reference: str | None
    ip_address: str | None
    device_id: str | None
    fraud: bool
    scenario: Scenario
