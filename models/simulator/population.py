"""The payers and the payees. Everything about an account or a beneficiary follows from the seed and its number."""

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
"""Addresses of mobile carriers, which put many customers behind one address, so honest and dishonest share these."""

_CHANNELS: Final = {"GB": Channel.FASTER_PAYMENT, "US": Channel.SWIFT}
"""Channel of a payment to a person by the country that it goes to; SEPA serves all others."""

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
ZONES_AROUND: Final = tuple(f"Etc/GMT{offset:+d}" for offset in range(-12, 12))
"""24 zones in which it is every hour of the day at once, each without summer time."""
BILL_HOUR_UTC: Final = 6
PAYROLL_DAY: Final = 28
PAYROLL_HOURS_UTC: Final = range(7, 19)  # each business has its own hour
BILL_DAYS: Final = 28
"""Bills are due on the days that every month has."""
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
    """Accounts as columns. Memory is O(accounts), at about 300 bytes each."""

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
        self.bill_day: Integers = rng.integers(1, BILL_DAYS + 1, count)
        self.phone_change_ms: Integers = settings.start_ms + rng.integers(-400, 800, count) * DAY_MS
        self.cumulative_activity: Floats = np.cumsum(self.payments_day)
        self.has_profile = rng.random(count) < settings.profile_share
        postcode, band = rng.integers(0, len(POSTCODE_AREAS), count), rng.integers(0, len(AGE_BANDS), count)
        each = [[{"postcode_area": area, "age_band": age} for age in AGE_BANDS] for area in POSTCODE_AREAS]
        self.segments = [each[p][b] for p, b in zip(postcode.tolist(), band.tolist(), strict=True)]
        numbers = np.arange(count)
        self.bill_hour_utc: Integers = np.full(count, BILL_HOUR_UTC)
        self.payroll_day: Integers = np.full(count, PAYROLL_DAY)
        self.payroll_hour_utc: Integers = PAYROLL_HOURS_UTC[0] + numbers % len(PAYROLL_HOURS_UTC)
        self.is_around_the_clock = settings.is_around_the_clock
        self.zone, zones = self.home, tuple(home.zone for home in HOMES)  # self.zone: places among the zones
        if settings.is_around_the_clock:
            self.zone, zones = (unit(numbers, 41) * len(ZONES_AROUND)).astype(np.int64), ZONES_AROUND
            behind_hours = self.zone - len(ZONES_AROUND) // 2
            self.bill_hour_utc = (self.bill_hour_utc + behind_hours) % 24
            self.payroll_hour_utc = (self.payroll_hour_utc + behind_hours) % 24
            self.payroll_day = self.bill_day
        self.zone_rules = tuple(map(ZoneInfo, zones))
        self.zones = [zones[z] for z in self.zone.tolist()]
        self.account_ids = [f"{HOMES[h].country}29-{i:010d}" for i, h in enumerate(self.home.tolist())]
        self.merchants = max(150, count // 6)
        self.payees = max(400, count)
        self._beneficiaries: dict[int, Beneficiary] = {}

    def favourite(self, account: Integers, slot: Integers) -> Integers:
        """Return the number of an account's n-th favourite payee; popular merchants are shared, people are not."""
        share = unit(account * FAVOURITES_MAX + slot, 11)
        merchant = (self.merchants * unit(account * FAVOURITES_MAX + slot, 12) ** 2.2).astype(np.int64)
        person = self.merchants + (self.payees * unit(account * FAVOURITES_MAX + slot, 13)).astype(np.int64)
        return np.where(share < 0.7, merchant, person)

    def beneficiary(self, number: int) -> Beneficiary:
        """Return a long-standing beneficiary: a merchant below `merchants`, else a person or firm paid by transfer."""
        found = self._beneficiaries.get(number)
        if found is None:
            found = self._beneficiaries[number] = self._make(number)
        return found

    def home_ip(self, account: int) -> str:
        mixed = mix(account // 2, 21)  # a household has two accounts
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
    """Scramble a number into 63 bits, by SplitMix64's finaliser, so that its properties need no storage."""
    value = (number + salt * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ value >> 30) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
    value = ((value ^ value >> 27) * 0x94D049BB133111EB) & 0xFFFFFFFFFFFFFFFF
    return (value ^ value >> 31) >> 1


def unit(numbers: Integers, salt: int) -> Floats:
    """Scramble a column in the same way, into fractions in [0, 1)."""
    value = numbers.astype(np.uint64) + np.uint64((salt * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
    value = (value ^ value >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ value >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return ((value ^ value >> np.uint64(31)) >> np.uint64(11)).astype(np.float64) / 2.0**53
