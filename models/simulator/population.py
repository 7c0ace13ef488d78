"""Who pays and who is paid. Everything about an account or a beneficiary follows from the seed and its number."""

from __future__ import annotations

from typing import Final, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from models.simulator.records import Beneficiary, TrafficSettings
from pipeline.domain.payment import Channel

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
FAVOURITES_MAX: Final = 20
BUSINESS_SHARE: Final = 0.004
CARRIER_ADDRESSES: Final = 400
"""Mobile carriers put many customers behind one address, so honest and dishonest share these."""

_CHANNELS: Final = {"GB": Channel.FASTER_PAYMENT, "US": Channel.SWIFT}
"""How a payment to a person is made, by the country that it goes to; SEPA to all others."""

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]


class Home(NamedTuple):
    country: str
    zone: str
    currency: str
    share: float
    units_per_gbp: float


HOMES: Final = (
    Home("GB", "Europe/London", "GBP", 0.86, 1.0),
    Home("IE", "Europe/Dublin", "EUR", 0.04, 1.15),
    Home("DE", "Europe/Berlin", "EUR", 0.03, 1.15),
    Home("FR", "Europe/Paris", "EUR", 0.03, 1.15),
    Home("PL", "Europe/Warsaw", "PLN", 0.02, 4.9),
    Home("US", "America/New_York", "USD", 0.02, 1.31),
)
ZONES: Final = tuple(ZoneInfo(home.zone) for home in HOMES)
POSTCODE_AREAS: Final = ("AB", "B", "BS", "CF", "E", "EH", "G", "L", "LS", "M", "N", "NE", "NG", "S", "SE", "SW")
AGE_BANDS: Final = ("18-24", "25-34", "35-49", "50-64", "65+")

_TRADES: Final = ("Grocer", "Energy", "Cafe", "Pharmacy", "Books", "Garage", "Water", "Travel", "Telecom", "Garden")
_FIRST: Final = (
    "Alder",
    "Birch",
    "Cedar",
    "Damson",
    "Elm",
    "Fir",
    "Gorse",
    "Hazel",
    "Ivy",
    "Juniper",
    "Larch",
    "Maple",
)
_LAST: Final = ("Ash", "Brook", "Cliff", "Dale", "East", "Field", "Green", "Hill", "Lake", "Marsh", "North", "Pool")


class Population:
    """Accounts as columns; O(accounts) memory, about 300 bytes each."""

    def __init__(self, settings: TrafficSettings) -> None:
        rng = np.random.default_rng([settings.seed, 1])
        count = settings.accounts
        self.start_ms = settings.start_ms
        self.home: Integers = np.searchsorted(np.cumsum([h.share for h in HOMES])[:-1], rng.random(count), side="right")
        self.units_per_gbp: Floats = np.array([home.units_per_gbp for home in HOMES])[self.home]
        self.activity: Floats = rng.lognormal(-0.25, 0.7, count)  # payments against the average account; mean 1
        self.activity /= self.activity.mean()
        self.month_gbp: Floats = np.clip(rng.lognormal(7.3, 0.55, count), 250, 40_000)  # median £1,480 a month
        self.is_business = rng.random(count) < BUSINESS_SHARE
        self.month_gbp[self.is_business] *= 25
        self.payments_day: Floats = self.activity * settings.payments_per_account_day
        self.typical_gbp: Floats = 0.55 * self.month_gbp / (30 * self.payments_day)  # the rest goes to bills
        age_days = np.clip(rng.lognormal(7.0, 1.1, count), 4, 14_000).astype(np.int64)
        self.opened_day: Integers = settings.start_ms // DAY_MS - age_days
        self.favourites: Integers = rng.integers(8, FAVOURITES_MAX + 1, count)
        self.bill_day: Integers = rng.integers(1, 29, count)
        self.phone_change_ms: Integers = settings.start_ms + rng.integers(-400, 800, count) * DAY_MS
        self.cumulative_activity: Floats = np.cumsum(self.payments_day)
        self.has_profile = rng.random(count) < settings.profile_share
        postcode, band = rng.integers(0, len(POSTCODE_AREAS), count), rng.integers(0, len(AGE_BANDS), count)
        each = [[{"postcode_area": area, "age_band": age} for age in AGE_BANDS] for area in POSTCODE_AREAS]
        self.segments = [each[p][b] for p, b in zip(postcode.tolist(), band.tolist(), strict=True)]
        self.zones = [HOMES[h].zone for h in self.home.tolist()]
        self.account_ids = [f"{HOMES[h].country}29-{i:010d}" for i, h in enumerate(self.home.tolist())]
        self.merchants = max(150, count // 6)
        self.payees = max(400, count)
        self._beneficiaries: dict[int, Beneficiary] = {}

    def favourite(self, account: Integers, slot: Integers) -> Integers:
        """The beneficiary number of an account's n-th favourite; popular merchants are shared, people are not."""
        share = unit(account * FAVOURITES_MAX + slot, 11)
        merchant = (self.merchants * unit(account * FAVOURITES_MAX + slot, 12) ** 2.2).astype(np.int64)
        person = self.merchants + (self.payees * unit(account * FAVOURITES_MAX + slot, 13)).astype(np.int64)
        return np.where(share < 0.7, merchant, person)

    def beneficiary(self, number: int) -> Beneficiary:
        """A long-standing beneficiary: a merchant below `merchants`, else a person or a firm paid by transfer."""
        found = self._beneficiaries.get(number)
        if found is None:
            found = self._beneficiaries[number] = self._make(number)
        return found

    def home_ip(self, account: int) -> str:
        mixed = mix(account // 2, 21)  # two accounts a household
        return f"81.{mixed % 120}.{mixed // 120 % 250}.{mixed // 30_000 % 250 + 1}"

    def device(self, account: int, when_ms: int) -> str:
        return f"dev-{account:08d}-{int(when_ms >= self.phone_change_ms[account])}"

    def _make(self, number: int) -> Beneficiary:
        mixed = mix(number, 31)
        age_days = 60 + mixed % 6000
        opened_at_ms = self.start_ms - age_days * DAY_MS - mixed // 7 % DAY_MS
        first, last = _FIRST[mixed // 11 % len(_FIRST)], _LAST[mixed // 131 % len(_LAST)]
        country = "GB" if mixed // 17 % 100 < 90 else ("DE", "FR", "US", "NL", "ES")[mixed // 1700 % 5]
        if number < self.merchants:
            name = f"{first} {_TRADES[mixed // 1310 % len(_TRADES)]} Ltd"
            return Beneficiary(f"{country}47-M{number:09d}", name, country, opened_at_ms, Channel.CARD)
        channel = _CHANNELS.get(country, Channel.SEPA)
        return Beneficiary(f"{country}47-P{number:09d}", f"{first} {last}", country, opened_at_ms, channel)


def carrier_ip(number: int) -> str:
    return f"92.40.{number // 250}.{number % 250 + 1}"


def mix(number: int, salt: int) -> int:
    """A fixed 63-bit scramble (the finaliser of SplitMix64), so that a number's properties need no storage."""
    value = (number + salt * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (value ^ value >> 31) >> 1


def unit(numbers: Integers, salt: int) -> Floats:
    """The same scramble for a column, as fractions in [0, 1)."""
    value = numbers.astype(np.uint64) + np.uint64((salt * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
    value = (value ^ value >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ value >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return ((value ^ value >> np.uint64(31)) >> np.uint64(11)).astype(np.float64) / 2.0**53
