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
4. An outcome that is told again after a later one of its payment changes nothing. Where it isn't remembered whether
   there was a later one, it makes nobody known and takes nothing out of the volume.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import IntEnum
from typing import Final, NamedTuple

from pipeline.domain.features import NONE, PAYEE_KNOWN_AFTER_MS, UNKNOWN
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from pipeline.domain.payment import AMOUNT_MINOR_MAX
from pipeline.domain.refusals import EVENT_TIME_MS_MAX, EVENT_TIME_MS_MIN, FUTURE_TOLERANCE_MS
from pipeline.state.periods import ACCOUNT_BENEFICIARIES_MAX, BLOCK_MS, BLOCK_SUM_MINOR_MAX, DAY_MS, NORMAL_MONTH_BLOCKS
from pipeline.state.state_event import payee_of

WITHDRAWN_KEPT_MS: Final = 30 * DAY_MS
"""The longest window of volume; an older withdrawn payment has left it. One that was set aside is remembered as long,
so that it comes back into the normal month if it is made after all; later it stays out."""
WITHDRAWN_MAX: Final = 1_024
"""Most withdrawn payments of an account in 30 days, and as many others that weren't made at first. Older ones beyond
count as attempted, and stay out of the month. So many take 21 KB in Redis, and an account that has 1,024 payments
blocked in a month needs no larger volume."""
ORDER_MAX: Final = 2**47
"""The highest order of an outcome; Redis keeps it in 6 bytes."""
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
    at_ms, logged_ms = payment_ms(outcome), outcome.counted_until_ms
    return max(at_ms, logged_ms + FUTURE_TOLERANCE_MS) if _is_time(logged_ms) else at_ms


def tombstone_ms(outcome: PaymentOutcome) -> int:
    """Return the time by which an outcome is remembered that takes nothing out; NONE where no time of it is known."""
    if _is_time(outcome.payment_time_ms):
        return outcome.payment_time_ms
    return counted_until_ms(outcome) if _is_time(outcome.counted_until_ms) else NONE


def payment_ms(outcome: PaymentOutcome) -> int:
    """Return the payment's time; NONE where it isn't known."""
    return outcome.payment_time_ms if _is_time(outcome.payment_time_ms) else NONE


class _Remembered(NamedTuple):
    time_ms: int
    amount: int
    name: bytes
    order: int  # of the latest outcome
    is_in_blocks: bool = False  # it stands as made, or never counted: only its order is remembered


class AccountOutcomes:
    __slots__ = ("block", "block_sums", "forgotten_ms", "latest_ms", "made", "others", "withdrawn")

    def __init__(self) -> None:
        self.made: dict[str, list[tuple[bytes, int]]] = {}  # payee → name and settling time of payments
        # Both by time of payment, then as they came. No payment is in both. The others were set aside, or are
        # remembered for their order only.
        self.withdrawn: list[_Remembered] = []
        self.others: list[_Remembered] = []
        self.latest_ms = self.block = 0
        self.forgotten_ms = 0  # the latest time of a payment that isn't remembered any more
        self.block_sums = [0] * BLOCKS_KEPT  # taken out of the latest block first

    def apply(self, outcome: PaymentOutcome, *, whole_since_ms: int = NONE) -> None:
        """Take in an outcome, unless one as late or later of its payment is remembered.

        An order of NONE is later than all. whole_since_ms: where older outcomes are missing, the log time since which
        none is; what settled before may have been taken back.
        """
        payee, name, effect = payee_of(outcome.beneficiary_account_id), outcome.name, effect_of(outcome)
        held = _found(self.withdrawn, name) or _found(self.others, name)
        if held is not None and NONE != outcome.order <= held.order:
            return
        is_forgotten = held is None and 0 < self.forgotten_ms >= payment_ms(outcome)
        if effect in (Effect.MAKE, Effect.ALLOW):
            if held is not None:
                self._put_back(held, outcome.order)
            if effect is Effect.MAKE and not is_forgotten and outcome.made_at_ms >= whole_since_ms:
                self._make(payee, name, outcome.made_at_ms)
            return
        self._unmake(payee, name)
        if effect in (Effect.WITHDRAW, Effect.HOLD):
            kept = self.withdrawn if effect is Effect.WITHDRAW else self.others
            self._take_out(outcome, held, kept, is_forgotten=is_forgotten)
        else:
            self._remember(outcome, held, is_settled=effect is Effect.UNMAKE)
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

    def _take_out(
        self, outcome: PaymentOutcome, held: _Remembered | None, kept: list[_Remembered], *, is_forgotten: bool
    ) -> None:
        """Enter the payment into `kept`; the blocks may be without it already.

        One of which a later outcome may be forgotten leaves the blocks only.
        """
        if held is None or held.is_in_blocks:
            self._take_out_of_blocks(outcome.payment_time_ms, counted_until_ms(outcome), outcome.amount_gbp_minor)
            told = outcome.payment_time_ms, outcome.amount_gbp_minor
        else:
            told = held.time_ms, held.amount
        if not is_forgotten:
            self._replace(held, _Remembered(*told, outcome.name, outcome.order), kept)

    def _remember(self, outcome: PaymentOutcome, held: _Remembered | None, *, is_settled: bool) -> None:
        """Remember an outcome that takes nothing out; where it isn't settled, a withdrawn payment is volume again."""
        if held is not None:
            is_withdrawn = is_settled and _found(self.withdrawn, outcome.name) is not None
            self._replace(held, held._replace(order=outcome.order), self.withdrawn if is_withdrawn else self.others)
        elif (time_ms := tombstone_ms(outcome)) != NONE:
            self._keep(_Remembered(time_ms, 0, outcome.name, outcome.order, is_in_blocks=True), self.others)

    def _put_back(self, held: _Remembered, order: int) -> None:
        if not held.is_in_blocks:
            self._add_to_block(held.time_ms // BLOCK_MS, -held.amount)
        self._replace(held, held._replace(order=order, is_in_blocks=True), self.others)

    def _replace(self, held: _Remembered | None, payment: _Remembered, kept: list[_Remembered]) -> None:
        for payments in (self.withdrawn, self.others):
            if held in payments:
                payments.remove(held)
        self._keep(payment, kept)

    def _keep(self, payment: _Remembered, kept: list[_Remembered]) -> None:
        self.latest_ms = max(self.latest_ms, payment.time_ms)
        kept.insert(_place_after(kept, payment.time_ms), payment)
        gone = max(_place_after(kept, self.latest_ms - WITHDRAWN_KEPT_MS), len(kept) - WITHDRAWN_MAX)
        if gone > 0:
            self.forgotten_ms = max(self.forgotten_ms, kept[gone - 1].time_ms)
            del kept[:gone]

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


def _found(payments: list[_Remembered], name: bytes) -> _Remembered | None:
    return next((each for each in payments if each.name == name), None)


def _place_after(payments: list[_Remembered], time_ms: int) -> int:
    return bisect_right(payments, time_ms, key=_time_of)


def _time_of(payment: _Remembered) -> int:
    return payment.time_ms


def _is_time(time_ms: int) -> bool:
    return EVENT_TIME_MS_MIN <= time_ms < EVENT_TIME_MS_MAX
