"""The protocol: a week to learn from, a week that labels take, a week to be judged on, four times.

It is the evaluation that the Fraud Detection Handbook (Le Borgne, Siblini, Lebichot, Bontempi, 2022) publishes its
figures by; the days of its test folds and of the validation folds before them are those of its 183 days of payments.
Cards that are known to be compromised by the day leave the week that is judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score  # type: ignore[import-untyped]

from models.evaluate.stream import Payments

WEEK: Final = 7
TEST_STARTS: Final = (115, 122, 129, 136)
"""Days since 2018-04-01: 07-25, 08-01, 08-08 and 08-15. The first is the published single split."""
VALIDATION_STARTS: Final = (80, 87, 94, 101)
"""06-20, 06-27, 07-04 and 07-11. Settings and features are chosen here, and never on the test folds."""
CARDS: Final = 100

Scores = NDArray[np.float64]


class Fold(NamedTuple):
    learned: Payments
    tested: Payments


class Judged(NamedTuple):
    auc: float
    average_precision: float
    card_precision: float  # mean over days of the share of compromised cards among the 100 that score highest


def days_of(starts: tuple[int, ...]) -> range:
    """The days that folds need."""
    return range(min(starts), max(starts) + 3 * WEEK)


def folds(payments: Payments, starts: tuple[int, ...]) -> Iterator[Fold]:
    for start in starts:
        yield _fold(payments, start)


def _fold(payments: Payments, start: int) -> Fold:
    day, account, fraud = payments.day, payments.account, payments.fraud
    is_learned = (day >= start) & (day < start + WEEK)
    compromised = set(account[is_learned & fraud].tolist())
    tested = np.zeros(len(day), dtype=np.bool_)
    for place in range(WEEK):
        compromised.update(account[(day == start + WEEK + place - 1) & fraud].tolist())
        on_day = day == start + 2 * WEEK + place
        tested |= on_day & ~np.isin(account, np.fromiter(compromised, np.int64, len(compromised)))
    return Fold(payments.rows(is_learned), payments.rows(tested))


def judged(tested: Payments, scores: Scores) -> Judged:
    return Judged(
        float(roc_auc_score(tested.fraud, scores)),
        float(average_precision_score(tested.fraud, scores)),
        float(np.mean(card_precisions(tested, scores))),
    )


def card_precisions(tested: Payments, scores: Scores) -> list[float]:
    """Return the card precision of each day. A card that was found isn't looked at on later days."""
    found: set[int] = set()
    shares = []
    for day in np.unique(tested.day).tolist():
        rows = tested.day == day
        best: dict[int, float] = {}
        for card, score in zip(tested.account[rows].tolist(), scores[rows].tolist(), strict=True):
            if card not in found:
                best[card] = max(score, best.get(card, score))
        top = sorted(best, key=lambda card: (-best[card], card))[:CARDS]
        hits = set(top) & set(tested.account[rows & tested.fraud].tolist())
        shares.append(len(hits) / CARDS)
        found |= hits
    return shares


def average_precisions_resampled(tested: Payments, scores: Scores, times: int, seed: int) -> Scores:
    """Return the average precision of resamples of the accounts, each drawn as often as there are accounts."""
    order = np.argsort(-scores, kind="stable")
    fraud, ordered = tested.fraud[order].astype(np.float64), scores[order]
    _, account = np.unique(tested.account[order], return_inverse=True)
    ends = np.append(np.flatnonzero(np.diff(ordered)), len(ordered) - 1)  # equal scores are alerted together
    random, accounts = np.random.default_rng(seed), int(account.max()) + 1
    found = np.empty(times)
    for number in range(times):
        weight = np.bincount(random.integers(0, accounts, accounts), minlength=accounts)[account].astype(np.float64)
        hits, alerts = np.cumsum(weight * fraud)[ends], np.cumsum(weight)[ends]
        gained = np.diff(hits, prepend=0.0)
        found[number] = float(np.sum(gained * hits / np.maximum(alerts, 1.0)) / hits[-1])
    return found


def days_resampled(shares: list[float], times: int, seed: int) -> Scores:
    """Return the mean card precision of resamples of the days."""
    random, held = np.random.default_rng(seed), np.array(shares)
    return np.asarray(held[random.integers(0, len(held), (times, len(held)))].mean(axis=1))
