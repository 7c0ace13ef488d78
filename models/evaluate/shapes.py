"""Streams of payments of different shape, to see that nothing gets worse where nobody looked.

Each has the columns of the Handbook's form and lasts DAYS days, so that the four validation weeks and the four test
weeks of `models.evaluate.folds`, EARLIER days earlier, lie in it behind 20 days of warming up. They are no likeness of
anybody's customers: each rewards other features, and some reward none. The same name and seed give the same stream.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]

DAYS: Final = 97
EARLIER: Final = 60
PAYMENTS: Final = 120_000
PAYMENTS_MIN: Final = 1_000
"""Fewer leave weeks without a fraud, whatever the shape."""
DAY_S: Final = 86_400
PENCE_MAX: Final = 50_000_000
LARGE_MINOR: Final = 21_000.0


class Stream(NamedTuple):
    """Payments in order of time."""

    time_s: Integers
    account: Integers
    payee: Integers
    amount_minor: Integers
    fraud: NDArray[np.bool_]


class _Draft(NamedTuple):
    random: np.random.Generator
    time_s: Integers
    account: Integers
    payee: Integers
    amount_minor: NDArray[np.float64]
    fraud: NDArray[np.bool_]

    @property
    def day(self) -> Integers:
        return self.time_s // DAY_S

    def within(self, rows: NDArray[np.bool_], day: int, days: int) -> Integers:
        """Return the places of those of the rows that lie in some days."""
        return np.flatnonzero(rows & (self.day >= day) & (self.day < day + days))


def stream(name: str, seed: int, payments: int = PAYMENTS) -> Stream:
    """Make a stream; `name` is one of SHAPES."""
    draft = SHAPES[name](np.random.default_rng([seed, *name.encode()]), payments)
    order = np.argsort(draft.time_s, kind="stable")
    amount_minor = np.clip(np.round(draft.amount_minor), 1, PENCE_MAX).astype(np.int64)
    account, payee = draft.account[order], draft.payee[order]
    return Stream(draft.time_s[order], account, payee, amount_minor[order], draft.fraud[order])


def _regulars(random: np.random.Generator, payments: int, accounts: int, payees: int) -> _Draft:
    """Accounts that each pay amounts of their own size to a few payees of their own."""
    account = random.integers(0, accounts, payments)
    usual_minor, own = random.uniform(500, 10_000, accounts), random.integers(0, payees, (accounts, 12))
    time_s = random.integers(0, DAYS, payments) * DAY_S + (random.normal(13, 4, payments) % 24 * 3_600).astype(np.int64)
    order = np.argsort(time_s, kind="stable")
    payee = own[account, random.integers(0, 12, payments)]
    amount = np.abs(random.normal(usual_minor[account], usual_minor[account] / 2))
    return _Draft(random, time_s[order], account, payee, amount, np.zeros(payments, dtype=np.bool_))


def _three_scenarios(
    random: np.random.Generator, payments: int, often: int, large_minor: float = LARGE_MINOR
) -> _Draft:
    """Large amounts, payees that are compromised for four weeks, and accounts that are for two, `often` as many."""
    draft = _regulars(random, payments, 900, 1_500)
    draft.fraud[draft.amount_minor > large_minor] = True
    for day in range(DAYS):
        for payee in random.integers(0, 1_500, often):
            draft.fraud[draft.within(draft.payee == payee, day, 28)] = True
        for account in random.integers(0, 900, often):
            found = draft.within(draft.account == account, day, 14)
            found = random.choice(found, len(found) // 3, replace=False)
            draft.amount_minor[found] *= 5
            draft.fraud[found] = True
    return draft


def _strangers(random: np.random.Generator, payments: int, share: float) -> _Draft:
    """Very many accounts that pay seldom, a few payees that get most, and frauds that are larger, to any payee."""
    draft = _regulars(random, payments, payments // 4, payments // 8)
    draft.payee[:] = random.zipf(1.3, payments) % (payments // 8)
    draft.amount_minor[:] = random.lognormal(7.5, 1.3, payments) + 50
    draft.fraud[:] = random.random(payments) < share
    frauds = int(draft.fraud.sum())
    draft.payee[draft.fraud] = random.integers(0, payments // 8, frauds)
    draft.amount_minor[draft.fraud] *= random.lognormal(1.6, 0.6, frauds)
    return draft


def _bursts(random: np.random.Generator, payments: int) -> _Draft:
    """Stolen cards that are emptied in one night, at any shop."""
    draft = _regulars(random, payments, 900, 700)
    for day in range(DAYS):
        for account in random.integers(0, 900, 1):
            found = random.integers(0, payments, int(random.integers(6, 14)))
            draft.account[found], draft.payee[found] = account, random.integers(0, 700, len(found))
            draft.time_s[found] = day * DAY_S + (random.normal(22, 2, len(found)).clip(12, 24) * 3_599).astype(np.int64)
            draft.amount_minor[found] = random.normal(12_000, 6_000, len(found)).clip(1_000)
            draft.fraud[found] = True
    return draft


def _mended_at_once(random: np.random.Generator, payments: int) -> _Draft:
    """Payees that are compromised for two days: when labels come, it is over."""
    draft = _regulars(random, payments, 900, 1_500)
    for day in range(DAYS):
        for payee in random.integers(0, 1_500, 8):
            draft.fraud[draft.within(draft.payee == payee, day, 2)] = True
    return draft


def _pennies(random: np.random.Generator, payments: int) -> _Draft:
    """The three scenarios where no payment comes to ten pounds."""
    draft = _three_scenarios(random, payments, 1, np.inf)
    return draft._replace(amount_minor=draft.amount_minor / 60)


def _hour_and_amount(random: np.random.Generator, payments: int) -> _Draft:
    """Few frauds, told by hour and amount alone; what the new features see is noise."""
    draft = _regulars(random, payments, 900, 1_500)
    is_night = draft.time_s % DAY_S < 6 * 3_600
    draft.fraud[:] = random.random(payments) < 0.002 * (1 + 60 * (is_night & (draft.amount_minor > 6_000)))
    return draft


def _takeovers(random: np.random.Generator, payments: int) -> _Draft:
    """Accounts that pay strangers for some days, in usual amounts."""
    draft = _regulars(random, payments, 900, 1_500)
    for day in range(DAYS):
        for account in random.integers(0, 900, 3):
            found = draft.within(draft.account == account, day, 5)
            found = random.choice(found, len(found) // 2, replace=False)
            draft.payee[found], draft.fraud[found] = random.integers(0, 1_500, len(found)), True
    return draft


def _mules(random: np.random.Generator, payments: int) -> _Draft:
    """Payees that collect from many accounts for ten days, in larger amounts."""
    draft = _regulars(random, payments, 900, 1_500)
    draft.amount_minor[:] *= random.pareto(2.5, payments) + 0.05
    for payee in random.choice(1_500, 40, replace=False):
        found = draft.within(~draft.fraud, int(random.integers(0, DAYS - 10)), 10)
        found = random.choice(found, min(40, len(found)), replace=False)
        draft.payee[found], draft.fraud[found] = payee, True
        draft.amount_minor[found] = random.uniform(1_000, 15_000, len(found))
    return draft


def _few_payees(random: np.random.Generator, payments: int) -> _Draft:
    """Many accounts, sixty payees, and frauds that are only somewhat larger."""
    draft = _regulars(random, payments, 6_000, 60)
    draft.fraud[:] = random.random(payments) < 0.006 * (1 + 2 * (draft.amount_minor > 8_000))
    draft.amount_minor[draft.fraud] *= random.lognormal(0.3, 0.5, int(draft.fraud.sum()))
    return draft


SHAPES: Final[Mapping[str, Callable[[np.random.Generator, int], _Draft]]] = MappingProxyType(
    {
        "three-scenarios": lambda random, payments: _three_scenarios(random, payments, 1),
        "three-scenarios-many": lambda random, payments: _three_scenarios(random, payments, 4),
        "strangers": lambda random, payments: _strangers(random, payments, 0.006),
        "strangers-many": lambda random, payments: _strangers(random, payments, 0.03),
        "bursts": _bursts,
        "mended-at-once": _mended_at_once,
        "pennies": _pennies,
        "hour-and-amount": _hour_and_amount,
        "takeovers": _takeovers,
        "mules": _mules,
        "few-payees": _few_payees,
    }
)
