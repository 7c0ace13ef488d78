"""A scene: the victims, mules and devices that one trial of an attack has, and how it words its payments.

Invariants
1. Equal worlds, names and numbers give equal scenes.
2. No plan takes more out of an account than it is assumed to hold, unless the strategy says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import IntEnum
from random import Random
from typing import Final

from models.redteam.costs import BALANCE_MONTHS, RICH_MONTH_MINOR, Purchase
from models.redteam.deciding import FRESH, FRESH_ADDRESS
from models.redteam.plan import Act, Plan, Role
from models.redteam.world import Dossier, World
from pipeline.domain.payment import Channel, Transaction
from pipeline.state.periods import DAY_MS, HOUR_MS

MINUTE_MS: Final = 60_000
LOGGED_AFTER_MS: Final = 200
"""From a payment's time to its place in the log, where nothing holds it back."""
_HOME_OFFSET_MS: Final = HOUR_MS
"""Local time of the United Kingdom in August, when attacks are set, is an hour ahead of UTC."""


class Origin(IntEnum):
    """The place that a payment is made from."""

    OWN = 0  # the victim's device and address, by remote access
    FRESH = 1  # a device and an address that were bought
    MIXED = 2  # a fresh device behind the victim's own address
    TILL = 3  # neither: a card payment at a till


NOTHING_OTHERWISE: Final[Mapping[str, object]] = {}
_ACCESS: Final = {
    Origin.OWN: Purchase.REMOTE_ACCESS,
    Origin.FRESH: Purchase.DEVICE,
    Origin.MIXED: Purchase.DEVICE,
    Origin.TILL: Purchase.COPIED_CARD,
}


class Mule:
    __slots__ = ("account_id", "opened_at_ms")

    def __init__(self, account_id: str, opened_at_ms: int | None) -> None:
        self.account_id, self.opened_at_ms = account_id, opened_at_ms


class Scene:
    """Builds one plan. Ids are unique within a scene, and meet nobody's in the world."""

    def __init__(self, world: World, attack: str, number: int) -> None:
        self.world, self.attack = world, attack
        self.rng = Random(f"{world.seed} {attack} {number}")  # noqa: S311 - a simulation, seeded on purpose
        self._name = f"{attack}-{number}"
        self._acts: list[Act] = []
        self._bought: Counter[Purchase] = Counter()
        self._taken_minor: Counter[str] = Counter()
        self._mules = self._devices = self._own = 0
        self._controlled: set[str] = set()

    def at(self, day: int, hour: int, minute: int = 0) -> int:
        """Return the time of a victim's local hour, on a day after the world's end."""
        return self.world.end_ms + day * DAY_MS + hour * HOUR_MS + minute * MINUTE_MS - _HOME_OFFSET_MS

    def victim(self, wealth: int) -> Dossier:
        """Return an account of a tenth of all, from the poorest (0) to the richest (9), that is not used yet."""
        dossiers = self.world.dossiers
        tenth = max(len(dossiers) // 10, 1)
        begin = min(wealth, 9) * tenth
        free = [each for each in dossiers[begin : begin + tenth] if each.account_id not in self._controlled]
        return self._taken(
            self.rng.choice(free or [each for each in dossiers if each.account_id not in self._controlled])
        )

    def sleeper(self, rank: int) -> Dossier:
        """Return an account that has not paid for long: rank 0 for the longest."""
        free = [each for each in self.world.dossiers if each.account_id not in self._controlled]
        asleep = sorted(free, key=lambda each: (each.last_paid_ms, each.account_id))
        return self._taken(asleep[min(rank + self.rng.randrange(5), len(asleep) - 1)])

    def own_account(self, age_days: int) -> Dossier:
        """Return an account that the thief opened: no past, no declared month."""
        self._own += 1
        self._bought[Purchase.OWN_ACCOUNT] += 1
        model = self.rng.choice(self.world.dossiers)
        name = f"GB29-OWN-{self._name}-{self._own}"
        latest = model.latest._replace(
            account_id=name, device_id=f"own-{name}", account_opened_epoch_day=self.world.end_ms // DAY_MS - age_days,
            ip_address=f"81.250.{self._own // 250 % 250}.{self._own % 250 + 1}",
        )  # fmt: skip
        return Dossier(name, latest, 0, (), 0)

    def mule(self, age_hours: int | None) -> Mule:
        """Return a fresh payee of the thief's; age None: the payment doesn't say when it was opened."""
        self._mules += 1
        is_aged = age_hours is not None and age_hours >= 24 * 30
        self._bought[Purchase.AGED_MULE if is_aged else Purchase.YOUNG_MULE] += 1
        opened_at_ms = None if age_hours is None else self.world.end_ms - age_hours * HOUR_MS
        return Mule(f"GB82-MULE-{self._name}-{self._mules}", opened_at_ms)

    def shop(self) -> Mule:
        """Return a payee of the background, whose goods can be sold on."""
        place = self.rng.choice(self.world.seen).transaction
        return Mule(place.beneficiary_account_id, place.beneficiary_opened_at_ms)

    def payment(
        self,
        payer: Dossier,
        payee: Mule,
        amount_minor: int,
        at_ms: int,
        origin: Origin = Origin.OWN,
        role: Role = Role.STEAL,
        *,
        is_balance_kept: bool = True,
        device: int = 0,
        logged_after_ms: int = LOGGED_AFTER_MS,
        is_said_honest: bool = False,
        otherwise: Mapping[str, object] = NOTHING_OTHERWISE,
    ) -> None:
        """Add a payment to the plan. `otherwise` are fields of the transaction that are not as usual."""
        if is_balance_kept and payer.month_minor:
            amount_minor = min(amount_minor, BALANCE_MONTHS * payer.month_minor - self._taken_minor[payer.account_id])
            if amount_minor <= 0:
                return
            self._taken_minor[payer.account_id] += amount_minor
        latest = payer.latest
        ip_address, device_id = self._from(payer, origin, device)
        channel = Channel.CARD if origin is Origin.TILL else Channel.FASTER_PAYMENT
        transaction = Transaction(
            f"rt-{self._name}-{len(self._acts)}", payer.account_id, amount_minor, "GBP", at_ms, payee.account_id,
            "R Vale", "GB", payee.opened_at_ms, "Invoice", channel, ip_address, device_id,
            latest.account_opened_epoch_day, latest.account_time_zone, latest.segments,
        )  # fmt: skip
        transaction = transaction._replace(**otherwise)  # type: ignore[arg-type]
        self._acts.append(Act(role, transaction, at_ms + logged_after_ms, is_said_honest))

    def plan(self) -> Plan:
        acts = tuple(sorted(self._acts, key=lambda act: (act.logged_at_ms, act.transaction.transaction_id)))
        return Plan(self.attack, acts, dict(sorted(self._bought.items())))

    def _taken(self, victim: Dossier) -> Dossier:
        self._controlled.add(victim.account_id)
        is_rich = victim.month_minor >= RICH_MONTH_MINOR
        self._bought[Purchase.RICH_ACCOUNT if is_rich else Purchase.ACCOUNT] += 1
        return victim

    def _from(self, payer: Dossier, origin: Origin, device: int) -> tuple[str | None, str | None]:
        latest = payer.latest
        is_own = payer.account_id not in self._controlled
        if is_own and origin is Origin.OWN:
            return latest.ip_address, latest.device_id  # the thief's own account, device and address
        is_of_account = origin in (Origin.OWN, Origin.TILL)
        self._buy_access(f"{origin} {payer.account_id if is_of_account else device}", origin)
        fresh = f"{FRESH}-{self._name}-{device}"
        match origin:
            case Origin.OWN:
                return latest.ip_address, latest.device_id
            case Origin.FRESH:
                return self._fresh_address(device), fresh
            case Origin.MIXED:
                return latest.ip_address, fresh
            case Origin.TILL:
                return None, None

    def _buy_access(self, key: str, origin: Origin) -> None:
        if key not in self._controlled:
            self._controlled.add(key)
            self._bought[_ACCESS[origin]] += 1

    def _fresh_address(self, device: int) -> str:
        place = Random(f"{self._name} {device}")  # noqa: S311 - an address that follows from the scene
        return f"{FRESH_ADDRESS}{place.randrange(256)}.{place.randrange(1, 255)}"
