"""Who defrauds: gangs with addresses, devices and mule accounts that many victims share, until they are burnt."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from models.simulator.population import CARRIER_ADDRESSES, DAY_MS, HOUR_MS, carrier_ip
from models.simulator.records import Beneficiary
from pipeline.domain.payment import Channel

LIFETIME_DAYS_MIN: Final = 4
LIFETIME_DAYS_MAX: Final = 18
MULES: Final = 6
ADDRESSES: Final = 5
DEVICES: Final = 4


@dataclass(frozen=True, slots=True)
class Gang:
    until_ms: int
    addresses: tuple[str, ...]
    devices: tuple[str, ...]
    mules: tuple[Beneficiary, ...]


class Underworld:
    """A fixed number of gangs; each is replaced when its time is over."""

    def __init__(self, rng: Random, accounts: int) -> None:
        self._rng = rng
        self._made = 0
        self._gangs: list[Gang | None] = [None] * max(3, accounts // 700)

    def gang(self, when_ms: int) -> Gang:
        place = self._rng.randrange(len(self._gangs))
        gang = self._gangs[place]
        if gang is None or gang.until_ms < when_ms:
            gang = self._gangs[place] = self._recruit(when_ms)
        return gang

    def _recruit(self, when_ms: int) -> Gang:
        rng = self._rng
        self._made += 1
        number = self._made
        addresses = [f"185.{number // 250 % 250}.{number % 250}.{rng.randint(1, 250)}" for _ in range(ADDRESSES)]
        addresses[-1] = carrier_ip(rng.randrange(CARRIER_ADDRESSES))
        return Gang(
            until_ms=when_ms + rng.randint(LIFETIME_DAYS_MIN * DAY_MS, LIFETIME_DAYS_MAX * DAY_MS),
            addresses=tuple(addresses),
            devices=tuple(f"dev-{rng.getrandbits(40):010x}" for _ in range(DEVICES)),
            mules=tuple(self._mule(number, place, when_ms) for place in range(MULES)),
        )

    def _mule(self, gang: int, place: int, when_ms: int) -> Beneficiary:
        """Two in three are opened for the purpose, the others are bought."""
        rng = self._rng
        age_ms = rng.randint(HOUR_MS, 6 * DAY_MS) if rng.random() < 0.67 else rng.randint(30 * DAY_MS, 2000 * DAY_MS)
        name = f"{rng.choice(('Reed', 'Stone', 'Vale', 'Wood', 'Yew'))} {rng.choice(('Holdings', 'Smith', 'Trading'))}"
        return Beneficiary(f"GB82-Q{gang:06d}{place:02d}", name, "GB", when_ms - age_ms, Channel.FASTER_PAYMENT)
