"""What became of one account's payments: the plain reference (ADR 0012).

Invariants
1. What is kept depends on the account's outcomes in their order alone, and on no payment that was or wasn't counted.
   So payments and outcomes may be taken in in any interleaving, and either of them again without the other.
2. What is forgotten or left out makes a payee less known, a volume larger and a normal month smaller, never the other
   way round. So a payment that is taken out leaves every block in which it may have been counted: a payment that is
   dated back counts at the account's latest time, which outcomes don't know, but not after its own place in the log.
3. Each count is strict in its own direction. A withdrawn payment leaves the volume and the normal month. One that was
   set aside (held, reversed, or in a state of a later release) leaves the month only: it may still be made, so it stays
   volume, but it is no measure of what the account normally does.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import IntEnum
from typing import Final, NamedTuple

from pipeline.domain.features import PAYEE_KNOWN_AFTER_MS, UNKNOWN
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from pipeline.domain.payment import AMOUNT_MINOR_MAX
from pipeline.domain.refusals import EVENT_TIME_MS_MAX, EVENT_TIME_MS_MIN, FUTURE_TOLERANCE_MS
from pipeline.state.periods import ACCOUNT_BENEFICIARIES_MAX, BLOCK_MS, BLOCK_SUM_MINOR_MAX, DAY_MS, NORMAL_MONTH_BLOCKS

WITHDRAWN_KEPT_MS: Final = 30 * DAY_MS
"""The longest window of volume; an older withdrawn payment has left it. One that was set aside is remembered as long,
so that it comes back into the normal month if it is made after all; later it stays out."""
WITHDRAWN_MAX: Final = 1_024
"""Most withdrawn payments of an account in 30 days, and as many that are set aside. Older ones beyond count as
attempted, and stay out of the month. So many take 15 KB in Redis, and an account that has 1,024 payments blocked in a
month needs no larger volume."""
BLOCKS_KEPT: Final = NORMAL_MONTH_BLOCKS + 2
"""Blocks of which the sums that were taken out are kept: the three of a normal month, the account's own, and the one
after it. That one is needed because a payment is taken out up to the log's time, of which an account's may be behind by
LATE_HOURS. Where it is behind by a whole block and more, the payment is late, and its month is UNKNOWN."""
PAYEE_PAYMENTS_MAX: Final = 2
"""Payments that are remembered as what made a payee known. A reversed one takes the knowledge back where no other gave
it; where both are reversed, a third that wasn't remembered gives nothing."""


PAYEES_SEARCHED_MAX: Final = 2_048
"""Payees of an account among which a payment is looked for of which it isn't known who was paid. An account that has
more knows none of them any more, which is strict, and quick."""


TO_ANYONE: Final = 16
"""Added to an effect, for the store's script, where the outcome doesn't say who was paid."""
DOUBTFUL: Final = 32
"""Added to an effect, for the store's script, where the outcome is doubtful."""


class Effect(IntEnum):
    """What an outcome changes, as the store's script is told it."""

    WITHDRAW = 1  # takes the payment out of volume and month, and takes back what made the payee known
    MAKE = 2  # puts the payment back, and makes the payee known
    ALLOW = 3  # puts the payment back, and makes no payee known
    HOLD = 4  # takes the payment out of the month only, and takes back what made the payee known
    UNMAKE = 5  # takes back what made the payee known
    UNSETTLE = 6  # that, and a withdrawn payment is volume again


def effect_of(outcome: PaymentOutcome) -> Effect:
    """Return what the outcome changes.

    A payment of nothing makes no payee known, nor does one of which it isn't known when it settled. A payment that
    never counted, or of which it isn't known when or for how much, is taken out of nothing; see `is_doubtful`.
    """
    amount, is_made = outcome.amount_gbp_minor, outcome.kind is OutcomeKind.MADE
    if is_made:
        makes_known = 0 < amount <= AMOUNT_MINOR_MAX and _is_time(outcome.made_at_ms)
        return Effect.MAKE if makes_known else Effect.ALLOW
    was_counted = 0 <= amount <= AMOUNT_MINOR_MAX and _is_time(outcome.payment_time_ms)
    if outcome.kind is OutcomeKind.WITHDRAWN:
        return Effect.WITHDRAW if was_counted else Effect.UNMAKE
    return Effect.HOLD if was_counted else Effect.UNSETTLE


def is_doubtful(outcome: PaymentOutcome) -> bool:
    """Return whether a payment that wasn't made has counted, but it isn't known when and for how much.

    No sum is right without it, so the normal month is UNKNOWN as far as the payment may have counted.
    """
    is_made, is_timed = outcome.kind is OutcomeKind.MADE, _is_time(outcome.payment_time_ms)
    return not is_made and not is_timed and _is_time(outcome.counted_until_ms)


def counted_until_ms(outcome: PaymentOutcome) -> int:
    """Return the latest effective time that its payment may have been counted at; its account's latest time may lie
    ahead of the log's by the tolerance."""
    payment_ms, logged_ms = outcome.payment_time_ms, outcome.counted_until_ms
    return max(payment_ms, logged_ms + FUTURE_TOLERANCE_MS) if _is_time(logged_ms) else payment_ms


class _TakenOut(NamedTuple):
    time_ms: int
    amount: int
    name: bytes


class AccountOutcomes:
    __slots__ = ("block", "block_sums", "latest_ms", "made", "set_aside", "withdrawn")

    def __init__(self) -> None:
        self.made: dict[str, list[tuple[bytes, int]]] = {}  # payee → name and settling time of payments
        # Both by time of payment, then as they came. No payment is in both.
        self.withdrawn: list[_TakenOut] = []
        self.set_aside: list[_TakenOut] = []
        self.latest_ms = self.block = 0
        self.block_sums = [0] * BLOCKS_KEPT  # taken out of the latest block first

    def apply(self, outcome: PaymentOutcome) -> None:
        """Take in an outcome; the same again changes nothing while it is remembered."""
        payee, name = outcome.beneficiary_account_id, outcome.name
        effect = effect_of(outcome)
        if effect in (Effect.MAKE, Effect.ALLOW):
            self._put_back(name)
        else:
            self._unmake(payee, name)
        payment = _TakenOut(outcome.payment_time_ms, outcome.amount_gbp_minor, name)
        match effect:
            case Effect.MAKE:
                self._make(payee, name, outcome.made_at_ms)
            case Effect.WITHDRAW:
                self._take_out(payment, counted_until_ms(outcome), self.set_aside, self.withdrawn)
            case Effect.HOLD:
                self._take_out(payment, counted_until_ms(outcome), self.withdrawn, self.set_aside)
            case Effect.UNSETTLE if (held := _taken(self.withdrawn, name)) is not None:
                self._keep(held, self.set_aside)
        if is_doubtful(outcome):
            self._take_out_of_blocks(0, counted_until_ms(outcome), BLOCK_SUM_MINOR_MAX)

    def is_paid(self, payee: str, now_ms: int) -> bool:
        """Return whether a payment to the payee was made long enough before `now_ms`."""
        return any(made_at_ms <= now_ms - PAYEE_KNOWN_AFTER_MS for _, made_at_ms in self.made.get(payee, ()))

    def withdrawn_within(self, after_ms: int, until_ms: int) -> tuple[int, int]:
        """Return the count and sum of withdrawn payments in (after_ms, until_ms]."""
        inside = self.withdrawn[_place_after(self.withdrawn, after_ms) : _place_after(self.withdrawn, until_ms)]
        return len(inside), sum(each.amount for each in inside)

    def taken_out_of_block(self, block: int) -> int:
        """Return the sum that doesn't belong to a normal month; UNKNOWN where it isn't known or not kept any more."""
        back = self.block - block
        if back < 0:
            return 0
        taken = self.block_sums[back] if back < BLOCKS_KEPT else BLOCK_SUM_MINOR_MAX
        return UNKNOWN if taken == BLOCK_SUM_MINOR_MAX else taken

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

    def _take_out(self, payment: _TakenOut, until_ms: int, others: list[_TakenOut], kept: list[_TakenOut]) -> None:
        """Enter the payment into `kept`, from `others` where it is there: then the blocks are without it already."""
        if any(each.name == payment.name for each in kept):
            return
        held = _taken(others, payment.name)
        if held is None:
            self.latest_ms = max(self.latest_ms, payment.time_ms)
            self._take_out_of_blocks(payment.time_ms, until_ms, payment.amount)
        self._keep(held or payment, kept)

    def _keep(self, payment: _TakenOut, kept: list[_TakenOut]) -> None:
        kept.insert(_place_after(kept, payment.time_ms), payment)
        gone = max(_place_after(kept, self.latest_ms - WITHDRAWN_KEPT_MS), len(kept) - WITHDRAWN_MAX)
        del kept[:gone]

    def _put_back(self, name: bytes) -> None:
        held = _taken(self.withdrawn, name) or _taken(self.set_aside, name)
        if held is not None:
            self._add_to_block(held.time_ms // BLOCK_MS, -held.amount)

    def _take_out_of_blocks(self, time_ms: int, until_ms: int, amount: int) -> None:
        last = until_ms // BLOCK_MS
        for block in range(max(time_ms // BLOCK_MS, last - BLOCKS_KEPT + 1), last + 1):
            self._add_to_block(block, amount)

    def _add_to_block(self, block: int, amount: int) -> None:
        """Add to a block's sum, which stays where it has come to BLOCK_SUM_MINOR_MAX: what was added isn't known."""
        sums = self.block_sums
        if block > self.block:
            passed = min(block - self.block, len(sums))
            self.block_sums = sums = ([0] * passed + sums)[: len(sums)]
            self.block = block
        back = self.block - block
        if back < len(sums) and sums[back] < BLOCK_SUM_MINOR_MAX:
            sums[back] = min(max(sums[back] + amount, 0), BLOCK_SUM_MINOR_MAX)


def _taken(payments: list[_TakenOut], name: bytes) -> _TakenOut | None:
    """Take the payment of this name out of the list; return None where there is none."""
    for place, each in enumerate(payments):
        if each.name == name:
            return payments.pop(place)
    return None


def _place_after(payments: list[_TakenOut], time_ms: int) -> int:
    return bisect_right(payments, time_ms, key=_time_of)


def _time_of(payment: _TakenOut) -> int:
    return payment.time_ms


def _is_time(time_ms: int) -> bool:
    return EVENT_TIME_MS_MIN <= time_ms < EVENT_TIME_MS_MAX
