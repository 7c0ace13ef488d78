"""Honest everyday payments, made hour by hour: shopping, transfers, monthly bills and payrolls."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np

from models.simulator.population import (
    BILL_DAYS,
    CARRIER_ADDRESSES,
    DAY_MS,
    HOMES,
    HOUR_MS,
    Floats,
    Integers,
    Population,
    carrier_ip,
)
from models.simulator.records import Planned, Scenario, TrafficSettings
from pipeline.domain.payment import Channel

AMOUNT_GBP_MAX: Final = 9_500.0
YOUNG_ACCOUNT_AMOUNT_GBP_MAX: Final = 2_400.0
"""Largest amount from a young account. Banks keep new accounts on low limits, so everyday traffic stays below the
guardrail for young accounts."""
YOUNG_ACCOUNT_DAYS: Final = 40
EMPLOYEES: Final = 14

# The relative number of payments by local hour. Nights are quiet, lunchtime and the early evening are busy.
_HOURS: Final = np.array(
    [2, 1, 0.6, 0.5, 0.6, 1.5, 4, 8, 12, 14, 15, 17, 20, 17, 15, 15, 16, 19, 20, 17, 13, 10, 7, 4], dtype=np.float64
)
_ACCEPTED: Final = _HOURS / _HOURS.max()
_NOBODY: Final = np.array([], dtype=np.int64)
_REFERENCES: Final = ("Thank you", "Order", "Invoice", "Lunch", "Tickets", "Gift", "Subscription", "Repair")


class Everyday:
    """Makes everyday payments from one random stream, so `hour` must be called once for each hour, in order."""

    def __init__(self, settings: TrafficSettings, population: Population) -> None:
        self._population = population
        self._rng = np.random.default_rng([settings.seed, 2])
        self._settings = settings
        self._attempts_hour = float(population.cumulative_activity[-1]) / 24 / float(_ACCEPTED.mean())
        self._payers_of_day = {day: np.flatnonzero(population.bill_day == day) for day in range(1, BILL_DAYS + 1)}
        self._businesses = np.flatnonzero(population.is_business)

    def hour(self, hour_ms: int) -> Iterator[Planned]:
        """Yield the payments of one hour, in no particular order."""
        moment = datetime.fromtimestamp(hour_ms / 1000, UTC)
        population, share = self._population, self._settings.share_at(hour_ms)
        accounts, times_ms = self._payers(moment, hour_ms, share)
        if len(accounts):
            yield from self._shopping(accounts, times_ms, share)
        day = hour_ms // DAY_MS % BILL_DAYS + 1 if population.is_around_the_clock else moment.day
        payers = self._payers_of_day.get(day, _NOBODY)
        yield from self._bills(payers[population.bill_hour_utc[payers] == moment.hour], hour_ms)
        payers = self._businesses[population.payroll_day[self._businesses] == day]
        yield from self._payrolls(payers[population.payroll_hour_utc[payers] == moment.hour], hour_ms)

    def _payers(self, moment: datetime, hour_ms: int, share: float) -> tuple[Integers, Integers]:
        """Draw payers and times: attempts at the busiest hour's rate, thinned by each account's local hour."""
        population, rng = self._population, self._rng
        attempts = int(rng.poisson(self._attempts_hour * share))
        cumulative = population.cumulative_activity
        accounts = np.searchsorted(cumulative, rng.random(attempts) * cumulative[-1], side="right")
        offsets = np.array([_offset_hours(moment, zone) for zone in population.zone_rules])
        local_hour = (moment.hour + offsets[population.zone[accounts]]) % 24
        accounts = accounts[rng.random(attempts) < _ACCEPTED[local_hour]].astype(np.int64)
        return accounts, hour_ms + (rng.random(len(accounts)) * HOUR_MS).astype(np.int64)

    def _shopping(self, accounts: Integers, times_ms: Integers, share: float) -> Iterator[Planned]:
        population, rng, count = self._population, self._rng, len(accounts)
        slot = (population.favourites[accounts] * rng.random(count) ** 1.8).astype(np.int64)
        favourite = population.favourite(accounts, slot)
        is_new = rng.random(count) < 0.06
        stranger = (rng.random(count) * (population.merchants + population.payees)).astype(np.int64)
        number = np.where(is_new, stranger, favourite)
        amount_minor = self._amounts(accounts, number, times_ms, share)
        where, which = rng.random(count), (rng.random(count) * CARRIER_ADDRESSES).astype(np.int64)
        special = rng.random(count) < self._settings.guardrail_share
        columns = (accounts, times_ms, number, amount_minor, (where * 100).astype(np.int64), which, special)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        for account, when_ms, payee, minor, place, address, is_special in rows:
            planned = self._payment(account, when_ms, payee, minor, place, address)
            yield _broken(planned, address) if is_special else planned

    def _amounts(self, accounts: Integers, number: Integers, times_ms: Integers, share: float) -> Integers:
        """Draw the amounts in minor units.

        Each payee has its own level, so an account's payments differ more by payee than in time. An account that shops
        a `share` as often spends as much in all.
        """
        population = self._population
        level = 0.35 + 1.3 * ((number * 2_654_435_761) % 1000) / 1000
        spread: Floats = self._rng.lognormal(-0.28, 0.75, len(accounts))
        is_young = times_ms // 86_400_000 - population.opened_day[accounts] < YOUNG_ACCOUNT_DAYS
        most = np.where(is_young, YOUNG_ACCOUNT_AMOUNT_GBP_MAX, AMOUNT_GBP_MAX)
        gbp = np.clip(population.typical_gbp[accounts] / share * level * spread, 0.5, most)
        return np.maximum(gbp * population.units_per_gbp[accounts] * 100, 1).astype(np.int64)

    def _payment(self, account: int, when_ms: int, number: int, amount_minor: int, where: int, which: int) -> Planned:
        population = self._population
        beneficiary = population.beneficiary(number)
        device: str | None = population.device(account, when_ms)
        ip: str | None
        if beneficiary.channel is Channel.CARD and where < 55:  # at a till, with neither address nor device
            ip, device = None, None
        elif where % 10 < 7:
            ip = population.home_ip(account)
        elif where % 10 < 9:
            ip = carrier_ip(which)
        else:
            ip = f"51.{which % 200}.{where}.{account % 250 + 1}"  # a hotel, a cafe, an office
            if which % 6 == 0:
                device = f"dev-{account:08d}-t{which % 3}"  # a tablet, somebody's laptop
        reference = f"{_REFERENCES[number % len(_REFERENCES)]} {number % 977}"
        currency = HOMES[population.home[account]].currency
        return Planned(
            when_ms, account, amount_minor, currency, beneficiary, reference, ip, device, False, Scenario.EVERYDAY
        )

    def _bills(self, accounts: Integers, hour_ms: int) -> Iterator[Planned]:
        population, rng = self._population, self._rng
        times_ms = hour_ms + (rng.random(len(accounts)) * HOUR_MS).astype(np.int64)
        for account, when_ms in zip(accounts.tolist(), times_ms.tolist(), strict=True):
            is_young = hour_ms // 86_400_000 - int(population.opened_day[account]) < YOUNG_ACCOUNT_DAYS
            most = YOUNG_ACCOUNT_AMOUNT_GBP_MAX if is_young else AMOUNT_GBP_MAX
            for part, share in enumerate((0.3, 0.09, 0.06)):
                gbp = min(float(population.month_gbp[account]) * share, most)
                number = population.merchants + (account * 3 + part) % population.payees
                payee = population.beneficiary(number)._replace(channel=Channel.BACS)
                amount_minor = int(gbp * population.units_per_gbp[account] * 100)
                currency = HOMES[population.home[account]].currency
                reference = ("Rent", "Energy bill", "Council tax")[part]
                yield Planned(
                    when_ms, account, amount_minor, currency, payee, reference, None, None, False, Scenario.BILL
                )

    def _payrolls(self, businesses: Integers, hour_ms: int) -> Iterator[Planned]:
        """Yield many transfers to different people within minutes; they look like a takeover but are honest."""
        population, rng = self._population, self._rng
        for account in businesses.tolist():
            begin_ms = hour_ms + int(rng.integers(0, HOUR_MS // 2))
            gbp = min(float(population.month_gbp[account]) * 0.5 / EMPLOYEES, YOUNG_ACCOUNT_AMOUNT_GBP_MAX)
            for employee in range(EMPLOYEES):
                payee = population.beneficiary(population.merchants + (account * 17 + employee) % population.payees)
                amount_minor = int(gbp * population.units_per_gbp[account] * (70 + (employee * 13) % 60))
                yield Planned(
                    begin_ms + employee * 900, account, amount_minor, HOMES[population.home[account]].currency,
                    payee._replace(channel=Channel.BACS), "Salary", population.home_ip(account),
                    population.device(account, begin_ms), False, Scenario.PAYROLL,
                )  # fmt: skip


def _broken(planned: Planned, which: int) -> Planned:
    """Turn a payment into one that a hard guardrail must stop."""
    if which % 3 == 0:
        return planned._replace(beneficiary=planned.beneficiary._replace(country="KP"))
    if which % 3 == 1:
        return planned._replace(reference=None)
    return planned._replace(currency="XPT")  # platinum, which no policy has a rate for


def _offset_hours(moment: datetime, zone: ZoneInfo) -> int:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None
    return round(offset.total_seconds() / 3600)
