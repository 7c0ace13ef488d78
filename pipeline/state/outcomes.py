"""What became of one account's payments: the plain reference (ADR 0012).

Invariants
1. What is kept depends on the account's outcomes in their order alone, and on no payment that was or wasn't counted.
   So payments and outcomes may be taken in in any interleaving, and either of them again without the other.
2. What is forgotten or left out makes a payee less known, a volume larger and a normal month smaller, never the other
   way round. So a withdrawn payment leaves every block in which it may have been counted: a payment that is dated back
   counts at the account's latest time, which outcomes don't know, but not after its own place in the log.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import IntEnum
from typing import Final, NamedTuple

from pipeline.domain.features import PAYEE_KNOWN_AFTER_MS
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from pipeline.domain.payment import AMOUNT_MINOR_MAX
from pipeline.domain.refusals import EVENT_TIME_MS_MAX, EVENT_TIME_MS_MIN, FUTURE_TOLERANCE_MS
from pipeline.state.periods import ACCOUNT_BENEFICIARIES_MAX, BLOCK_MS, BLOCK_SUM_MINOR_MAX, DAY_MS, NORMAL_MONTH_BLOCKS

WITHDRAWN_KEPT_MS: Final = 30 * DAY_MS
"""The longest window of volume; an older withdrawn payment has left it."""
WITHDRAWN_MAX: Final = 1_024
"""Most withdrawn payments of an account in 30 days. Older ones beyond count as attempted. They take 15 KB in Redis, and
an account that has 1,024 payments blocked in a month needs no larger volume."""
PAYEE_PAYMENTS_MAX: Final = 2
"""Payments that are remembered as what made a payee known. A reversed one takes the knowledge back where no other gave
it; where both are reversed, a third that wasn't remembered gives nothing."""


PAYEES_SEARCHED_MAX: Final = 2_048
"""Payees of an account among which a payment is looked for of which it isn't known who was paid. An account that has
more knows none of them any more, which is strict, and quick."""


TO_ANYONE: Final = 16
"""Added to an effect, for the store's script, where the outcome doesn't say who was paid."""


class Effect(IntEnum):
    """What an outcome changes, as the store's script is told it."""

    WITHDRAW = 1
    MAKE = 2  # makes the payee known
    ALLOW = 3  # takes a withdrawal back, and makes no payee known
    HOLD = 4  # takes a withdrawal back, and what made the payee known
    UNMAKE = 5  # takes back what made the payee known


def effect_of(outcome: PaymentOutcome) -> Effect:
    """Return what the outcome changes.

    A payment of nothing makes no payee known, nor does one of which it isn't known when it settled. A payment that
    never counted, or of which it isn't known when or for how much, is withdrawn from nothing.
    """
    amount = outcome.amount_gbp_minor
    match outcome.kind:
        case OutcomeKind.MADE:
            makes_known = 0 < amount <= AMOUNT_MINOR_MAX and _is_time(outcome.made_at_ms)
            return Effect.MAKE if makes_known else Effect.ALLOW
        case OutcomeKind.WITHDRAWN:
            was_counted = 0 <= amount <= AMOUNT_MINOR_MAX and _is_time(outcome.payment_time_ms)
            return Effect.WITHDRAW if was_counted else Effect.UNMAKE
        case OutcomeKind.UNMADE:
            return Effect.HOLD


def counted_until_ms(outcome: PaymentOutcome) -> int:
    """Return the latest effective time that its payment may have been counted at; its account's latest time may lie
    ahead of the log's by the tolerance."""
    payment_ms, logged_ms = outcome.payment_time_ms, outcome.counted_until_ms
    return max(payment_ms, logged_ms + FUTURE_TOLERANCE_MS) if _is_time(logged_ms) else payment_ms


class _Withdrawn(NamedTuple):
    time_ms: int
    amount: int
    name: bytes


class AccountOutcomes:
    __slots__ = ("block", "block_sums", "latest_ms", "made", "withdrawn")

    def __init__(self) -> None:
        self.made: dict[str, list[tuple[bytes, int]]] = {}  # payee → name and settling time of payments
        self.withdrawn: list[_Withdrawn] = []  # by time of payment, then as they came
        self.latest_ms = self.block = 0
        self.block_sums = [0] * (NORMAL_MONTH_BLOCKS + 1)  # withdrawn of the latest block first

    def apply(self, outcome: PaymentOutcome) -> None:
        """Take in an outcome; the same again changes nothing while it is remembered."""
        payee, name = outcome.beneficiary_account_id, outcome.name
        match effect_of(outcome):
            case Effect.WITHDRAW:
                self._unmake(payee, name)
                payment = _Withdrawn(outcome.payment_time_ms, outcome.amount_gbp_minor, name)
                self._withdraw(payment, counted_until_ms(outcome))
            case Effect.MAKE:
                self._allow(name)
                self._make(payee, name, outcome.made_at_ms)
            case Effect.ALLOW:
                self._allow(name)
            case Effect.HOLD:
                self._allow(name)
                self._unmake(payee, name)
            case Effect.UNMAKE:
                self._unmake(payee, name)

    def is_paid(self, payee: str, now_ms: int) -> bool:
        """Return whether a payment to the payee was made long enough before `now_ms`."""
        return any(made_at_ms <= now_ms - PAYEE_KNOWN_AFTER_MS for _, made_at_ms in self.made.get(payee, ()))

    def withdrawn_within(self, after_ms: int, until_ms: int) -> tuple[int, int]:
        """Return the count and sum of withdrawn payments in (after_ms, until_ms]."""
        inside = self.withdrawn[self._place_after(after_ms) : self._place_after(until_ms)]
        return len(inside), sum(each.amount for each in inside)

    def withdrawn_of_block(self, block: int) -> int:
        back = self.block - block
        return self.block_sums[back] if 0 <= back < len(self.block_sums) else 0

    def _make(self, payee: str, name: bytes, made_at_ms: int) -> None:
        payments = self.made.get(payee)
        if payments is None:
            if len(self.made) < ACCOUNT_BENEFICIARIES_MAX:
                self.made[payee] = [(name, made_at_ms)]
        elif len(payments) < PAYEE_PAYMENTS_MAX and all(held != name for held, _ in payments):
            payments.append((name, made_at_ms))

    def _unmake(self, payee: str, name: bytes) -> None:
        if payee:
            self._unmake_to(payee, name)
        elif len(self.made) > PAYEES_SEARCHED_MAX:
            self.made.clear()
        else:
            for each in list(self.made):
                self._unmake_to(each, name)

    def _unmake_to(self, payee: str, name: bytes) -> None:
        left = [payment for payment in self.made.get(payee, ()) if payment[0] != name]
        if left:
            self.made[payee] = left
        else:
            self.made.pop(payee, None)

    def _withdraw(self, payment: _Withdrawn, until_ms: int) -> None:
        if any(each.name == payment.name for each in self.withdrawn):
            return
        self.latest_ms = max(self.latest_ms, payment.time_ms)
        last = until_ms // BLOCK_MS
        for block in range(max(payment.time_ms // BLOCK_MS, last - NORMAL_MONTH_BLOCKS), last + 1):
            self._add_to_block(block, payment.amount)
        self.withdrawn.insert(self._place_after(payment.time_ms), payment)
        gone = max(self._place_after(self.latest_ms - WITHDRAWN_KEPT_MS), len(self.withdrawn) - WITHDRAWN_MAX)
        del self.withdrawn[:gone]

    def _allow(self, name: bytes) -> None:
        for place, each in enumerate(self.withdrawn):
            if each.name == name:
                del self.withdrawn[place]
                self._add_to_block(each.time_ms // BLOCK_MS, -each.amount)
                return

    def _add_to_block(self, block: int, amount: int) -> None:
        sums = self.block_sums
        if block > self.block:
            passed = min(block - self.block, len(sums))
            self.block_sums = sums = ([0] * passed + sums)[: len(sums)]
            self.block = block
        back = self.block - block
        if back < len(sums):
            sums[back] = min(max(sums[back] + amount, 0), BLOCK_SUM_MINOR_MAX)

    def _place_after(self, time_ms: int) -> int:
        return bisect_right(self.withdrawn, time_ms, key=_time_of)


def _time_of(payment: _Withdrawn) -> int:
    return payment.time_ms


def _is_time(time_ms: int) -> bool:
    return EVENT_TIME_MS_MIN <= time_ms < EVENT_TIME_MS_MAX
