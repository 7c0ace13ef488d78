"""Frauds, and the honest payments that look like them. An episode is a handful of payments planned at once.

The five frauds are a push payment (the victim is talked into it), an account takeover, card testing, structuring under
the single-payment limit, and a compromised merchant. The four look-alikes are a house purchase, a holiday, a trader who
has just opened an account, and micro-payments in a game.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Final, NamedTuple

from models.simulator.gangs import Underworld
from models.simulator.population import DAY_MS, HOMES, HOUR_MS, Population
from models.simulator.records import Beneficiary, Planned, Scenario
from pipeline.domain.payment import Channel

MINUTE_MS: Final = 60_000
SINGLE_LIMIT_GBP: Final = 50_000
"""The default policy's limit on one payment; structuring stays just under it."""


class Kind(NamedTuple):
    share: float  # share of the fraudulent, or of the look-alike, payments
    payments: float  # mean number of payments in an episode
    make: Callable[[Episodes, int], list[Planned]]


class Episodes:
    """Makes episodes from one random stream, so they must be asked for in time order."""

    def __init__(self, seed: int, population: Population) -> None:
        self._rng = Random(f"episodes {seed}")  # noqa: S311 - a simulation, seeded on purpose
        self._population = population
        self._underworld = Underworld(self._rng, len(population.account_ids))
        self._made = 0

    def push_payment(self, when_ms: int) -> list[Planned]:
        """Plan payments that the victim makes to a mule, often steered by remote access from the gang's address."""
        rng, gang = self._rng, self._underworld.gang(when_ms)
        victim = self._account(older_than_days=60)
        is_remote = rng.random() < 0.6
        ip = rng.choice(gang.addresses) if is_remote else self._population.home_ip(victim)
        when_ms += self._daytime_delay_ms(when_ms)
        mule = rng.choice(gang.mules)
        payments = []
        for part in range(1 if rng.random() < 0.7 else rng.randint(2, 3)):
            gbp = self._month_gbp(victim) * rng.uniform(0.4, 2.5)
            gbp = min(max(gbp, 350.0), 24_000.0)
            at_ms = when_ms + part * rng.randint(8, 90) * MINUTE_MS
            device = self._population.device(victim, at_ms)
            payments.append(
                self._fraud(at_ms, victim, round(gbp, -1), mule, "Investment", ip, device, Scenario.PUSH_PAYMENT)
            )
        return payments

    def account_takeover(self, when_ms: int) -> list[Planned]:
        """Plan a burst of payments to the gang's mules, from a new device and address and mostly at night."""
        rng, gang = self._rng, self._underworld.gang(when_ms)
        victim = self._account(older_than_days=60)
        ip, device = rng.choice(gang.addresses), rng.choice(gang.devices)
        at_ms = when_ms + (self._night_delay_ms(when_ms) if rng.random() < 0.7 else 0)
        payments = []
        for mule in rng.sample(gang.mules, rng.randint(3, 6)):
            gbp = self._month_gbp(victim) * rng.uniform(0.15, 0.6)
            gbp = min(max(gbp, 80.0), 9_900.0)
            payments.append(self._fraud(at_ms, victim, gbp, mule, "Transfer", ip, device, Scenario.ACCOUNT_TAKEOVER))
            at_ms += rng.randint(40, 900) * 1000
        return payments

    def card_testing(self, when_ms: int) -> list[Planned]:
        """Plan dozens of tiny payments within minutes, which show whether the card works, and then a large one."""
        rng, gang = self._rng, self._underworld.gang(when_ms)
        victim = self._account(older_than_days=0)
        ip, device = rng.choice(gang.addresses), rng.choice(gang.devices)
        shops = [self._merchant() for _ in range(rng.randint(1, 4))]
        at_ms, payments = when_ms, []
        for _ in range(rng.randint(12, 35)):
            gbp = rng.uniform(0.5, 3.0)
            shop = rng.choice(shops)
            payments.append(self._fraud(at_ms, victim, gbp, shop, "Order", ip, device, Scenario.CARD_TESTING))
            at_ms += rng.randint(4, 40) * 1000
        gbp = min(max(self._month_gbp(victim) * rng.uniform(0.3, 1.2), 150.0), 2_000.0)
        last = self._fraud(at_ms, victim, gbp, self._merchant(), "Order", ip, device, Scenario.CARD_TESTING)
        return [*payments, last]

    def structuring(self, when_ms: int) -> list[Planned]:
        """Plan several payments within hours, each just under the single-payment limit."""
        rng, gang = self._rng, self._underworld.gang(when_ms)
        account = self._account(older_than_days=60)
        at_ms, payments = when_ms + self._daytime_delay_ms(when_ms), []
        ip, device = self._population.home_ip(account), self._population.device(account, when_ms)
        for mule in rng.sample(gang.mules, rng.randint(2, 4)):
            gbp = SINGLE_LIMIT_GBP * rng.uniform(0.905, 0.998)
            payments.append(self._fraud(at_ms, account, round(gbp), mule, "Goods", ip, device, Scenario.STRUCTURING))
            at_ms += rng.randint(10, 200) * MINUTE_MS
        return payments

    def compromised_merchant(self, when_ms: int) -> list[Planned]:
        """Plan payments by others, for days, with cards that were read at one shop and are used there again."""
        rng, merchant = self._rng, self._merchant()
        days = rng.uniform(6, 25)
        payments = []
        for _ in range(rng.randint(25, 60)):
            victim = self._account(older_than_days=0)
            at_ms = when_ms + int(rng.random() * days * DAY_MS)
            gbp = min(max(self._typical_gbp(victim) * rng.uniform(1.0, 5.0), 15.0), 1_500.0)
            ip = None if rng.random() < 0.6 else f"45.{rng.randint(0, 250)}.{rng.randint(0, 250)}.{rng.randint(1, 250)}"
            device = None if ip is None else f"dev-{rng.getrandbits(40):010x}"
            payments.append(
                self._fraud(at_ms, victim, gbp, merchant, "Order", ip, device, Scenario.COMPROMISED_MERCHANT)
            )
        return payments

    def house_purchase(self, when_ms: int) -> list[Planned]:
        rng, account = self._rng, self._account(older_than_days=180)
        when_ms += self._daytime_delay_ms(when_ms)
        solicitor = self._payee(when_ms, age_days=rng.uniform(200, 6000), name="Marsh and Pool Solicitors")
        ip, device = self._population.home_ip(account), self._population.device(account, when_ms)
        amounts = [rng.uniform(800, 3_000), rng.uniform(6_000, 48_000)]
        if rng.random() < 0.3:
            amounts.append(rng.uniform(15_000, 49_500))
        times_ms = range(when_ms, when_ms + 6 * DAY_MS, 2 * DAY_MS)
        return [
            self._honest(at_ms, account, gbp, solicitor, "Deposit", ip, device, Scenario.HOUSE_PURCHASE)
            for at_ms, gbp in zip(times_ms, amounts, strict=False)
        ]

    def holiday(self, when_ms: int) -> list[Planned]:
        """Plan payments abroad: another currency, other addresses, odd hours, unknown shops."""
        rng, account = self._rng, self._account(older_than_days=30)
        currency, units = rng.choice((("EUR", 1.15), ("USD", 1.31), ("AUD", 2.0), ("JPY", 201.6)))
        ip = f"203.{rng.randint(0, 250)}.{rng.randint(0, 250)}.{rng.randint(1, 250)}"
        payments = []
        for _ in range(rng.randint(12, 30)):
            at_ms = when_ms + int(rng.random() * 9 * DAY_MS)
            gbp = min(self._typical_gbp(account) * rng.lognormvariate(0.1, 0.8), 1_800.0)
            is_till = rng.random() < 0.6
            device = None if is_till else self._population.device(account, at_ms)
            spent = self._honest(
                at_ms, account, gbp, self._merchant(), "Travel", None if is_till else ip, device, Scenario.HOLIDAY
            )
            digits = 1 if currency == "JPY" else 100
            payments.append(spent._replace(currency=currency, amount_minor=max(int(max(gbp, 1) * units * digits), 1)))
        return payments

    def new_trader(self, when_ms: int) -> list[Planned]:
        """Plan honest payments to a new payee with a young account, such as a builder or a friend."""
        rng = self._rng
        when_ms += self._daytime_delay_ms(when_ms)
        trader = self._payee(when_ms, age_days=rng.uniform(0.1, 40), name="Hazel Builders")
        payments = []
        for _ in range(rng.randint(1, 5)):
            account = self._account(older_than_days=60)
            gbp = min(max(self._month_gbp(account) * rng.uniform(0.05, 1.3), 40.0), 7_500.0)
            at_ms = when_ms + int(rng.random() * 4 * DAY_MS) // DAY_MS * DAY_MS + rng.randrange(4 * HOUR_MS)
            ip, device = self._population.home_ip(account), self._population.device(account, at_ms)
            payments.append(self._honest(at_ms, account, gbp, trader, "Works", ip, device, Scenario.NEW_TRADER))
        return payments

    def micro_payments(self, when_ms: int) -> list[Planned]:
        rng, account, shop = self._rng, self._account(older_than_days=0), self._merchant()
        ip, device = self._population.home_ip(account), self._population.device(account, when_ms)
        at_ms, payments = when_ms, []
        for _ in range(rng.randint(5, 22)):
            gbp = rng.choice((0.99, 1.99, 4.99, 9.99))
            payments.append(self._honest(at_ms, account, gbp, shop, "Game", ip, device, Scenario.MICRO_PAYMENTS))
            at_ms += rng.randint(20, 600) * 1000
        return payments

    def _fraud(
        self, at_ms: int, account: int, gbp: float, payee: Beneficiary, reference: str, ip: str | None,
        device: str | None, scenario: Scenario,
    ) -> Planned:  # fmt: skip
        planned = self._honest(at_ms, account, gbp, payee, reference, ip, device, scenario)
        return planned._replace(fraud=True)

    def _honest(
        self, at_ms: int, account: int, gbp: float, payee: Beneficiary, reference: str, ip: str | None,
        device: str | None, scenario: Scenario,
    ) -> Planned:  # fmt: skip
        home = HOMES[self._population.home[account]]
        amount_minor = max(int(gbp * home.units_per_gbp * 100), 1)
        return Planned(at_ms, account, amount_minor, home.currency, payee, reference, ip, device, False, scenario)

    def _account(self, older_than_days: int) -> int:
        """Choose an account that was of that age at the start; after a bounded search, the last one that came up."""
        population, rng = self._population, self._rng
        newest_day = population.start_ms // DAY_MS - older_than_days
        account = 0
        for _ in range(64):
            account = rng.randrange(len(population.account_ids))
            if population.opened_day[account] <= newest_day:
                break
        return account

    def _merchant(self) -> Beneficiary:
        return self._population.beneficiary(self._rng.randrange(self._population.merchants))

    def _payee(self, when_ms: int, age_days: float, name: str) -> Beneficiary:
        self._made += 1
        opened_at_ms = when_ms - int(age_days * DAY_MS)
        return Beneficiary(f"GB33-T{self._made:08d}", name, "GB", opened_at_ms, Channel.FASTER_PAYMENT)

    def _month_gbp(self, account: int) -> float:
        return float(self._population.month_gbp[account])

    def _typical_gbp(self, account: int) -> float:
        return float(self._population.typical_gbp[account])

    def _daytime_delay_ms(self, when_ms: int) -> int:
        return self._until_hour_ms(when_ms, self._rng.triangular(8, 20, 14))

    def _night_delay_ms(self, when_ms: int) -> int:
        return self._until_hour_ms(when_ms, self._rng.uniform(0, 4.5))

    def _until_hour_ms(self, when_ms: int, hour_of_day: float) -> int:
        """Return the time until it is next this hour of the day (UTC), which is at most a day.

        Around the clock it is that hour somewhere, so nobody waits.
        """
        if self._population.is_around_the_clock:
            return 0
        return int((hour_of_day - when_ms % DAY_MS / HOUR_MS) % 24 * HOUR_MS)


FRAUDS: Final[Mapping[Scenario, Kind]] = {
    Scenario.PUSH_PAYMENT: Kind(0.24, 1.45, Episodes.push_payment),
    Scenario.ACCOUNT_TAKEOVER: Kind(0.28, 4.5, Episodes.account_takeover),
    Scenario.CARD_TESTING: Kind(0.22, 24.5, Episodes.card_testing),
    Scenario.STRUCTURING: Kind(0.06, 3.0, Episodes.structuring),
    Scenario.COMPROMISED_MERCHANT: Kind(0.20, 42.5, Episodes.compromised_merchant),
}
LOOKALIKES: Final[Mapping[Scenario, Kind]] = {
    Scenario.HOUSE_PURCHASE: Kind(0.12, 2.3, Episodes.house_purchase),
    Scenario.HOLIDAY: Kind(0.35, 21.0, Episodes.holiday),
    Scenario.NEW_TRADER: Kind(0.30, 3.0, Episodes.new_trader),
    Scenario.MICRO_PAYMENTS: Kind(0.23, 13.5, Episodes.micro_payments),
}
