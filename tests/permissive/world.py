"""What happens in the world, in the order in which it is heard: payments, what became of them, and context.

A world is a function of its seed. It spans some months, so that normal months, 30-day windows and what the log no
longer holds all matter; it is small, so that a hundred fit into a minute.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from pipeline.domain.context import Account, Label, RiskSignal, RiskSignalKind
from pipeline.domain.outcome import OutcomeKind, PaymentOutcome
from pipeline.domain.payment import Transaction
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.state.context.facts import LogPlace
from tests.records import PAYMENT

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
START_MS: Final = 1_764_072_000_000  # noon, as in tests.records
PARTITIONING: Final = Partitioning(Partitioner.CRC32, 2)
START_DAY: Final = START_MS // DAY_MS
OPENED_DAY: Final = {
    "GB29-0001": 17_000,
    "GB29-0002": 17_000,
    "GB29-0003": START_DAY - 3,
    "GB29-0004": START_DAY + 40,  # it pays from then on
}
CLAIMED_NEW: Final = 0.2
"""Share of payments that claim an opening date of today for their account, whenever it was opened."""
PAYEES: Final = ("GB47-0001", "GB47-0002", "GB47-0003", "GB47-0004", "GB47-0005")
ADDRESSES: Final = ("192.0.2.1", "192.0.2.2", None)
DEVICES: Final = ("device-1", "device-2", None)
AMOUNTS: Final = (0, 1_000, 9_900, 25_000, 90_000, 199_900, 500_000, 900_000, 4_600_000, 6_000_000)
AMOUNT_WEIGHTS: Final = (3, 25, 20, 15, 10, 8, 8, 8, 2, 1)
GAPS_MS: Final = (1_000, 60_000, 1_200_000, 6 * HOUR_MS, 30 * HOUR_MS, 9 * DAY_MS)
PAYMENTS: Final = 44


@dataclass(frozen=True, slots=True)
class Paid:
    transaction: Transaction
    log_time_ms: int

    @property
    def partition(self) -> int:
        return PARTITIONING.of(self.transaction.account_id.encode())


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a payment, as its outcomes' topic says."""

    outcome: PaymentOutcome
    log_time_ms: int

    @property
    def partition(self) -> int:
        return PARTITIONING.of(self.outcome.account_id.encode())


@dataclass(frozen=True, slots=True)
class Stated:
    """A context record; `place` is its place among those of its topic."""

    record: Account | RiskSignal | Label
    place: LogPlace


Item = Paid | Told | Stated


def world_of(seed: int) -> list[Item]:
    """The world, by log time."""
    pick = Random(seed)
    items: list[tuple[int, int, Item]] = []
    now_ms = START_MS

    def add(at_ms: int, item: Item) -> None:
        items.append((at_ms, len(items), item))

    for number in range(PAYMENTS):
        now_ms += pick.choice(GAPS_MS)
        payment = _payment(pick, number, now_ms)
        add(now_ms + 200, Paid(payment, now_ms + 200))
        for at_ms, outcome in _outcomes(pick, payment):
            add(at_ms, Told(outcome, at_ms))
        if pick.random() < 0.3:
            add(now_ms + pick.choice((1, 30)) * HOUR_MS, Stated(_label(pick, payment, now_ms), LogPlace(0, 0)))
        if pick.random() < 0.2:
            add(now_ms + 5_000, Stated(_signal(pick, now_ms), LogPlace(0, 0)))
        if pick.random() < 0.15:
            month = pick.choice((None, 0, 1, 50_000, 3_000_000, 9_000_000))
            add(now_ms + 7_000, Stated(Account(payment.account_id, now_ms, month), LogPlace(0, 0)))
    items.sort(key=lambda each: each[:2])
    return [_placed(item, LogPlace(at_ms, place)) for place, (at_ms, _, item) in enumerate(items)]


def _payment(pick: Random, number: int, now_ms: int) -> Transaction:
    payee = pick.choice(PAYEES)
    account = pick.choice([name for name, day in OPENED_DAY.items() if day * DAY_MS <= now_ms])
    return PAYMENT._replace(
        transaction_id=f"tx-{number:04d}",
        account_id=account,
        amount_minor=pick.choices(AMOUNTS, AMOUNT_WEIGHTS)[0],
        currency=pick.choices(("GBP", "EUR", "XXX"), (90, 9, 1))[0],
        event_time_ms=now_ms,
        beneficiary_account_id=payee,
        beneficiary_country=pick.choices(("GB", "KP"), (98, 2))[0],
        reference=pick.choices(("invoice", None), (98, 2))[0],
        ip_address=pick.choice(ADDRESSES),
        device_id=pick.choice(DEVICES),
        beneficiary_opened_at_ms=pick.choice(
            (None, now_ms - 900 * DAY_MS, now_ms - 900 * DAY_MS, now_ms - 20 * HOUR_MS)
        ),
        account_opened_epoch_day=now_ms // DAY_MS if pick.random() < CLAIMED_NEW else OPENED_DAY[account],
    )


def outcome_name(payment: Transaction) -> bytes:
    """Return what an outcome calls its payment."""
    return payment.transaction_id.encode().ljust(16, b"\0")


def _outcomes(pick: Random, payment: Transaction) -> list[tuple[int, PaymentOutcome]]:
    """Most payments settle; some are refused, some are reversed later, of some nothing is heard."""
    made_ms = payment.event_time_ms + pick.choice((2_000, HOUR_MS))
    kind = pick.choices((OutcomeKind.MADE, OutcomeKind.WITHDRAWN, None), (60, 30, 10))[0]
    if kind is None:
        return []
    name = outcome_name(payment)
    ids = payment.account_id, payment.beneficiary_account_id

    def outcome(what: OutcomeKind, at_ms: int, order: int) -> PaymentOutcome:
        return PaymentOutcome(*ids, what, payment.event_time_ms, at_ms, payment.amount_minor, name, order=order)

    told = [(made_ms, outcome(kind, made_ms if kind is OutcomeKind.MADE else -1, 0))]
    if kind is OutcomeKind.MADE and pick.random() < 0.1:
        told.append((made_ms + 2 * DAY_MS, outcome(OutcomeKind.UNMADE, -1, 1)))
    return told


def _label(pick: Random, payment: Transaction, now_ms: int) -> Label:
    ids = payment.transaction_id, payment.account_id, payment.beneficiary_account_id
    return Label(*ids, payment.event_time_ms, pick.random() < 0.4, now_ms, "analyst")


def _signal(pick: Random, now_ms: int) -> RiskSignal:
    kind = pick.choice(list(RiskSignalKind))
    entities = ADDRESSES if kind is RiskSignalKind.IP_ADDRESS else DEVICES
    entity = pick.choice([each for each in entities if each is not None])
    return RiskSignal(kind, entity, pick.choice((0, 0, 1, 3)), now_ms)


def _placed(item: Item, place: LogPlace) -> Item:
    return Stated(item.record, place) if isinstance(item, Stated) else item
