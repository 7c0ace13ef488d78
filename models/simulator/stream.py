"""The merged stream: payments, and the account profiles, risk signals and labels that follow from them, in event time.

Invariants
1. Equal settings give equal streams, event by event (with equal versions of Python and numpy).
2. Event time never falls; transaction ids are numbered in stream order.
3. Memory is O(accounts) and O(episodes in progress), whatever the span.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Final, NamedTuple

from models.simulator.episodes import FRAUDS, LOOKALIKES, Episodes, Kind
from models.simulator.everyday import Everyday
from models.simulator.population import DAY_MS, HOUR_MS, Population
from models.simulator.records import (
    LabelledTransaction,
    Planned,
    Scenario,
    TrafficEvent,
    TrafficSettings,
)
from pipeline.domain.context import Account, Label, RiskSignal, RiskSignalKind
from pipeline.domain.payment import Transaction

REPORTED_SHARE: Final = 0.7
"""Of the frauds over an address or device, the share that somebody reports."""
LABEL_DAYS_MIN: Final = 1
LABEL_DAYS_MAX: Final = 6
CLEARED_SHARE: Final = 0.002
"""Of the honest payments, the share that was looked into and is labelled honest."""


def transactions(settings: TrafficSettings) -> Iterator[LabelledTransaction]:
    return (event for event in events(settings) if isinstance(event, LabelledTransaction))


def events(settings: TrafficSettings) -> Iterator[TrafficEvent]:
    """The profiles of all accounts first, at `start_ms`; then everything in the order of its time."""
    population = Population(settings)
    yield from _profiles(population, settings.start_ms)
    everyday, planner = Everyday(settings, population), _Planner(settings, population)
    followers = _Followers(settings)
    for hour in range(settings.days * 24):
        hour_ms = settings.start_ms + hour * HOUR_MS
        planned = [*everyday.hour(hour_ms), *planner.hour(hour_ms)]
        planned.sort(key=_event_time)
        yield from followers.merged(planned, hour_ms + HOUR_MS, population)


def _event_time(planned: Planned) -> int:
    return planned.event_time_ms


def _profiles(population: Population, start_ms: int) -> Iterator[Account]:
    for account, account_id in enumerate(population.account_ids):
        if population.has_profile[account]:
            yield Account(account_id, start_ms, int(population.month_gbp[account] * 100))


class _Planner:
    """Starts episodes at the rates that make up the wanted shares, and hands out their payments hour by hour."""

    def __init__(self, settings: TrafficSettings, population: Population) -> None:
        self._rng = Random(f"planner {settings.seed}")  # noqa: S311 - a simulation, seeded on purpose
        self._episodes = Episodes(settings.seed, population)
        per_hour = float(population.cumulative_activity[-1]) / 24
        self._rates = [
            *_rates(FRAUDS, per_hour * settings.fraud_share),
            *_rates(LOOKALIKES, per_hour * settings.lookalike_share),
        ]
        self._begins_ms = settings.busy_from_ms
        self._due: dict[int, list[Planned]] = {}

    def hour(self, hour_ms: int) -> list[Planned]:
        for rate, kind in self._rates if hour_ms >= self._begins_ms else ():
            for _ in range(self._arrivals(rate)):
                for planned in kind.make(self._episodes, hour_ms + self._rng.randrange(HOUR_MS)):
                    self._due.setdefault(planned.event_time_ms // HOUR_MS, []).append(planned)
        return self._due.pop(hour_ms // HOUR_MS, [])

    def _arrivals(self, rate: float) -> int:
        """Poisson, by counting exponential gaps within the hour."""
        count, passed = 0, self._rng.expovariate(1.0)
        while passed < rate:
            count += 1
            passed += self._rng.expovariate(1.0)
        return count


def _rates(kinds: Mapping[Scenario, Kind], payments_per_hour: float) -> list[tuple[float, Kind]]:
    return [(payments_per_hour * kind.share / kind.payments, kind) for kind in kinds.values()]


class _Report(NamedTuple):
    """Somebody reports a fraud over this address or device."""

    at_ms: int
    kind: RiskSignalKind
    entity: str


class _Followers:
    """Numbers the payments and adds what follows from them: fraud reports within hours, labels within days."""

    def __init__(self, settings: TrafficSettings) -> None:
        self._rng = Random(f"followers {settings.seed}")  # noqa: S311 - a simulation, seeded on purpose
        self._numbered = 0
        self._due: dict[int, list[_Report | Label]] = {}
        self._reports: dict[tuple[str, str], int] = {}

    def merged(self, planned: list[Planned], end_ms: int, population: Population) -> Iterator[TrafficEvent]:
        """One hour's payments, in time order, with what is due before `end_ms`."""
        due = sorted(self._due.pop(end_ms // HOUR_MS - 1, []), key=_due_time)
        place = 0
        for each in planned:
            while place < len(due) and _due_time(due[place]) <= each.event_time_ms:
                yield self._follower(due[place])
                place += 1
            yield self._numbered_transaction(each, population, end_ms)
        for late in due[place:]:
            yield self._follower(late)

    def _numbered_transaction(self, planned: Planned, population: Population, end_ms: int) -> LabelledTransaction:
        self._numbered += 1
        account, payee = planned.account, planned.beneficiary
        transaction = Transaction(
            f"tx-{self._numbered:012d}",
            population.account_ids[account],
            planned.amount_minor,
            planned.currency,
            planned.event_time_ms,
            payee.account_id,
            payee.name,
            payee.country,
            payee.opened_at_ms,
            planned.reference,
            payee.channel,
            planned.ip_address,
            planned.device_id,
            int(population.opened_day[account]),
            population.zones[account],
            population.segments[account],
        )
        if planned.fraud:
            self._plan_reports(planned, end_ms)
        if planned.fraud or self._rng.random() < CLEARED_SHARE:
            self._plan_label(transaction, planned.fraud)
        return LabelledTransaction(transaction, planned.fraud, planned.scenario)

    def _plan_reports(self, planned: Planned, end_ms: int) -> None:
        for kind, entity in zip(RiskSignalKind, (planned.ip_address, planned.device_id), strict=True):
            if entity is not None and self._rng.random() < REPORTED_SHARE and _is_foreign(planned, entity):
                delay_ms = int(self._rng.lognormvariate(1.6, 0.9) * HOUR_MS)  # median 5 hours
                self._plan(_Report(max(planned.event_time_ms + delay_ms, end_ms), kind, entity))

    def _plan_label(self, transaction: Transaction, fraud: bool) -> None:
        delay_ms = self._rng.randint(LABEL_DAYS_MIN * DAY_MS, LABEL_DAYS_MAX * DAY_MS)
        t = transaction
        self._plan(
            Label(
                t.transaction_id, t.account_id, t.beneficiary_account_id, t.event_time_ms, fraud,
                t.event_time_ms + delay_ms, "customer" if fraud else "analyst",
            )
        )  # fmt: skip

    def _plan(self, follower: _Report | Label) -> None:
        self._due.setdefault(_due_time(follower) // HOUR_MS, []).append(follower)

    def _follower(self, follower: _Report | Label) -> RiskSignal | Label:
        if isinstance(follower, Label):
            return follower
        entity = (follower.kind, follower.entity)
        self._reports[entity] = self._reports.get(entity, 0) + 1
        return RiskSignal(follower.kind, follower.entity, self._reports[entity], follower.at_ms)


def _due_time(follower: _Report | Label) -> int:
    return follower.labelled_at_ms if isinstance(follower, Label) else follower.at_ms


def _is_foreign(planned: Planned, entity: str) -> bool:
    """A victim's own home address and device are not reported."""
    return not entity.startswith(("81.", f"dev-{planned.account:08d}-"))
