"""Payments that are made to hurt: each attack fills windows, lets time pass, and lets them empty at once.

Event times are the traffic's own, which begins at START_MS and moves by whole days between the phases of an attack, so
that a week passes in no time. Within a phase they coincide to the millisecond.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Final, NamedTuple

from ops.bench.bad_input.bad_records import cases
from ops.bench.rig.payments import START_MS, outbound, paid
from ops.bench.rig.topics_io import Outbound
from pipeline.domain.context import RiskSignal, RiskSignalKind
from pipeline.domain.payment import Channel, Transaction
from pipeline.io.avro.wire import WireFormat

DAY_MS: Final = 86_400_000
STRIKE_DAYS: Final = (1, 8, 16, 46, 130)
"""When a day, a week, the label delay, everything, and a normal month's blocks lie behind what came on day 0."""
ENTITIES: Final = 3
"""Accounts or beneficiaries whose windows an attack fills, so that several large ones empty in one batch."""
HOUR_MS: Final = 3_600_000
BATCH: Final = 5_000
"""Payments that come to one beneficiary before its day passes: more than a worker takes up at once."""
OPENED_DAY: Final = 17_000
_WIRE: Final = WireFormat()


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large each attack is, and at which rates it is offered."""

    payroll: int = 100_000  # payees of each of ENTITIES accounts
    senders: int = 100_000  # to each of ENTITIES beneficiaries
    dormant: int = 50_000  # payments of each of ENTITIES accounts that wake
    made_up: int = 1_000_000  # payees that nobody has heard of
    burst: int = 8_100  # payments to each of ENTITIES beneficiaries, of one event time
    large_burst: int = 81_000
    one_beneficiary: int = 50_000  # payments, whole batches of them to one beneficiary
    junk: int = 50_000
    rate: int = 5_000  # payments of an attack a second
    ordinary_rate: int = 500

    def changed(self, changes: dict[str, int]) -> Sizes:
        """Raises ValueError for a name that is no size, or a size below 1."""
        known = {each.name for each in fields(self)}
        for name, size in changes.items():
            if name not in known or size < 1:
                raise ValueError(f"'{name}={size}' is no size of an attack; the names are {', '.join(sorted(known))}")
        return replace(self, **changes)


QUICK: Final = Sizes(
    payroll=1_500,
    senders=1_000,
    dormant=1_500,
    made_up=5_000,
    burst=1_000,
    large_burst=8_100,  # as few as Lua has once taken no more of at once
    one_beneficiary=5_001,
    junk=2_000,
    rate=4_000,
    ordinary_rate=200,
)


class Phase(NamedTuple):
    """Payments offered one after another. is_at_once: as fast as they can be written, else at the attack's rate.

    `topic` is without its prefix: an attack may also come by a topic of context.
    """

    day: int
    payments: int
    payment: Callable[[int, int], Outbound]  # of a number and the phase's event time
    is_at_once: bool = False
    topic: str = "transactions.v1"


def phases_of(name: str, sizes: Sizes) -> list[Phase]:
    return _ATTACKS[name](sizes)


def _payroll(sizes: Sizes) -> list[Phase]:
    def pay(number: int, at_ms: int) -> Outbound:
        return _paid(f"payroll-{at_ms}-{number}", at_ms, f"evil-payroll-{number % ENTITIES}", f"employee-{number}")

    return [Phase(0, sizes.payroll * ENTITIES, pay), *_strikes(pay)]


def _senders(sizes: Sizes) -> list[Phase]:
    def pay(number: int, at_ms: int) -> Outbound:
        sender = f"evil-sender-{number // ENTITIES}"
        return _paid(f"senders-{at_ms}-{number}", at_ms, sender, f"mule-{number % ENTITIES}")

    return [Phase(0, sizes.senders * ENTITIES, pay), *_strikes(pay)]


def _dormant(sizes: Sizes) -> list[Phase]:
    def pay(number: int, at_ms: int) -> Outbound:
        account = f"evil-dormant-{number % ENTITIES}"
        return _paid(f"dormant-{at_ms}-{number}", at_ms, account, f"shop-{number // ENTITIES % 10}")

    return [Phase(0, sizes.dormant * ENTITIES, pay), *_strikes(pay)]


def _made_up(sizes: Sizes) -> list[Phase]:
    def pay(number: int, at_ms: int) -> Outbound:
        return _paid(f"made-up-{at_ms}-{number}", at_ms, f"evil-{number % 1000}", f"made-up-{number}")

    return [Phase(0, sizes.made_up, pay)]


def _burst_of(count: int, *, is_at_once: bool) -> list[Phase]:
    def pay(number: int, at_ms: int) -> Outbound:
        sender, target = f"evil-{number // ENTITIES % 1000}", f"target-{number % ENTITIES}"
        return _paid(f"burst-{at_ms}-{number}", at_ms, sender, target, amount_minor=0)

    return [Phase(0, count * ENTITIES, pay, is_at_once), *_strikes(pay)]


def _one_beneficiary(sizes: Sizes) -> list[Phase]:
    """A day passes behind every BATCH payments, so that each of their successors' first empties a day of BATCH."""

    def pay(number: int, at_ms: int) -> Outbound:
        at_ms += number // BATCH * DAY_MS
        return _paid(f"batch-{at_ms}-{number}", at_ms, f"evil-{number % 1000}", "target")

    return [Phase(0, sizes.one_beneficiary, pay), *_strikes(pay, after=sizes.one_beneficiary // BATCH)]


def _junk(sizes: Sizes) -> list[Phase]:
    known = [Outbound(case.key or b"", case.value or b"", START_MS) for case in cases()]

    def pay(number: int, at_ms: int) -> Outbound:
        if number < len(known):
            return known[number]._replace(timestamp_ms=at_ms)
        return _spoilt(number, at_ms)

    return [Phase(0, sizes.junk, pay)]


def _junk_context(sizes: Sizes) -> list[Phase]:
    """Fraud reports that can't be used: no bytes of a report, a key of another, a time in microseconds."""

    def report(number: int, at_ms: int) -> Outbound:
        address = f"2001:db8::{number % 65_536:x}"
        signal = RiskSignal(RiskSignalKind.IP_ADDRESS, address, 9, at_ms * 1000 if number % 2 else at_ms)
        value = b"\xc3\x01 is no report" if number % 3 == 0 else _WIRE.encode(signal)
        return Outbound(signal.key.encode() if number % 2 else b"another", value, at_ms)

    return [Phase(0, sizes.junk, report, topic="risk_signals.v1")]


def _ordinary_burst(sizes: Sizes) -> list[Phase]:
    """Bursts at once are compared with this: as many sound payments of many accounts to many beneficiaries."""
    stream = ordinary()

    def pay(number: int, at_ms: int) -> Outbound:
        return restamped(next(stream), f"peaceful-{number}", at_ms)

    return [Phase(0, sizes.large_burst, pay, is_at_once=True)]


ORDINARY_BURST: Final = "ordinary-burst"
_ATTACKS: Final[dict[str, Callable[[Sizes], list[Phase]]]] = {
    ORDINARY_BURST: _ordinary_burst,
    "payroll": _payroll,
    "senders": _senders,
    "dormant": _dormant,
    "made-up-payees": _made_up,
    "burst": lambda sizes: _burst_of(sizes.burst, is_at_once=False),
    "large-burst": lambda sizes: _burst_of(sizes.large_burst, is_at_once=False),
    "burst-at-once": lambda sizes: _burst_of(sizes.burst, is_at_once=True),
    "large-burst-at-once": lambda sizes: _burst_of(sizes.large_burst, is_at_once=True),
    "one-beneficiary": _one_beneficiary,
    "junk": _junk,
    "junk-context": _junk_context,
}
ATTACKS: Final = tuple(_ATTACKS)


def ordinary() -> Iterator[Transaction]:
    """The traffic beside the attacks, without an end that a bench would reach."""
    return paid(10_000_000)


def restamped(transaction: Transaction, transaction_id: str, at_ms: int) -> Outbound:
    opened_at_ms = transaction.beneficiary_opened_at_ms
    moved = transaction._replace(
        transaction_id=transaction_id,
        event_time_ms=at_ms,
        beneficiary_opened_at_ms=None if opened_at_ms is None else min(opened_at_ms, at_ms),
        account_opened_epoch_day=min(transaction.account_opened_epoch_day, at_ms // DAY_MS),
    )
    return outbound(_WIRE, moved)


def _strikes(pay: Callable[[int, int], Outbound], *, after: int = 0) -> list[Phase]:
    """One payment to each of the entities that were filled, in one batch, when their windows have become too old.

    The first has one an hour before, so that its window empties but for that one; those of the others empty wholly.
    It alone is struck on the first day.
    """

    def strike(number: int, at_ms: int) -> Outbound:
        return pay(0, at_ms - HOUR_MS) if number == 0 else pay(number - 1, at_ms)

    return [Phase(after + day, 2 if day == STRIKE_DAYS[0] else 1 + ENTITIES, strike) for day in STRIKE_DAYS]


def _paid(transaction_id: str, at_ms: int, account_id: str, payee: str, *, amount_minor: int = 100) -> Outbound:
    return outbound(
        _WIRE,
        _TEMPLATE._replace(
            transaction_id=transaction_id,
            account_id=account_id,
            amount_minor=amount_minor,
            event_time_ms=at_ms,
            beneficiary_account_id=payee,
        ),
    )


_TEMPLATE: Final = Transaction(
    transaction_id="",
    account_id="",
    amount_minor=100,
    currency="GBP",
    event_time_ms=0,
    beneficiary_account_id="",
    beneficiary_name="A. Nobody",
    beneficiary_country="GB",
    beneficiary_opened_at_ms=None,
    reference="as agreed",
    channel=Channel.FASTER_PAYMENT,
    ip_address="192.0.2.66",
    device_id="device-of-evil",
    account_opened_epoch_day=OPENED_DAY,
    account_time_zone="Europe/London",
    segments={"postcode_area": "SW"},
)


def _spoilt(number: int, at_ms: int) -> Outbound:
    """A payment with junk in one of its free fields, never the same twice, so that nothing can remember it."""
    spoil = _SPOILERS[number % len(_SPOILERS)]
    transaction = _TEMPLATE._replace(
        transaction_id=f"junk-{number}",
        account_id=f"evil-{number % 1000}",
        event_time_ms=at_ms,
        beneficiary_account_id=f"target-{number % 10}",
    )
    return outbound(_WIRE, transaction._replace(**spoil(number)))._replace(timestamp_ms=at_ms)


_LONG: Final = 15_000
_SPOILERS: Final[tuple[Callable[[int], dict[str, Any]], ...]] = (
    lambda n: {"ip_address": f"{n}:{'9' * _LONG}"},
    lambda n: {"ip_address": f"2001:db8::{n % 65_536:x}:{n // 65_536:x}"},
    lambda n: {"ip_address": f"::ffff:10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"},
    lambda n: {"device_id": f"device-{n}-{'x' * 40}"},
    lambda n: {"device_id": f"{n}{'d' * _LONG}"},
    lambda n: {"account_time_zone": f"Nowhere/Town_{n}"},
    lambda n: {"account_time_zone": f"{n}{'/' * _LONG}"},
    lambda n: {"segments": {f"s{n}": f"v{n}"}},
    lambda n: {"segments": {f"s{part}": f"{n} {part}" for part in range(8)}},
    lambda n: {"segments": {f"s{part}": "x" for part in range(n % 1_000 + 9)}},
    lambda n: {"segments": {"postcode_area": f"{n}{'x' * _LONG}"}},
    lambda n: {"reference": f"\u202e{n}\u200b"},
    lambda n: {"reference": "\u200b" * (n % 140)},
    lambda n: {"reference": f"{n}" + "\U0001f600" * 100},
    lambda n: {"beneficiary_name": f"{n}" + "e\u0301" * 60},
    lambda n: {"beneficiary_name": " " * (n % 140)},
    lambda n: {"beneficiary_account_id": f"GB29 {n}"},
    lambda n: {"beneficiary_account_id": f"x{n}{'y' * 50}"},
    lambda n: {"beneficiary_country": f"{chr(65 + n % 26)}{chr(65 + n // 26 % 26)}"},
    lambda n: {"currency": f"X{chr(65 + n % 26)}{chr(65 + n // 26 % 26)}"},
    lambda n: {"amount_minor": n * 10**12},
    lambda n: {"amount_minor": -n},
    lambda n: {"event_time_ms": n},
    lambda n: {"event_time_ms": (START_MS + n) * 1000},
    lambda n: {"beneficiary_opened_at_ms": -n * 10**9},
    lambda n: {"account_opened_epoch_day": n % 2**31},
)
