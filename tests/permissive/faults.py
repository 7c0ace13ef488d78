"""Faults, by the seam at which they strike. Each changes a Path that has run up to some place, and holds from there on.

`prepare` is called at the begin of the run where a fault needs something of an earlier time, such as a backup.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from random import Random
from typing import Final, NamedTuple

import numpy as np

from models.artefact import asking
from pipeline.decide.feeds.feed import NO_FEEDS, FeedKind, Feeds, parse_feed
from pipeline.decide.feeds.feed_files import shipped_as_of
from pipeline.decide.verdict import Mode, regime
from pipeline.domain.context import Label
from pipeline.domain.decision import BreakerState
from pipeline.domain.features import STATE, UNKNOWN
from pipeline.domain.log import Record
from pipeline.domain.outcome import OutcomeKind
from pipeline.state.windows import MemoryState
from tests.permissive.path import TRIES, Path, StateAway
from tests.permissive.world import DAY_MS, START_MS, Item, Paid, Stated, Told
from tests.records import POLICY_PATH

POLICY: Final = POLICY_PATH.read_bytes()
STRICT_LIMIT: Final = 20_000
WEEK_AND_A_DAY_MS: Final = 8 * DAY_MS


class Fault(NamedTuple):
    seam: str
    kind: str
    strike: Callable[[Path, Random], None]

    @property
    def name(self) -> str:
        return f"{self.seam}/{self.kind}"


# Payments


def _truncated_payment(path: Path, pick: Random) -> None:
    def spoil(record: Record) -> Record:
        value = record.value or b""
        return record._replace(value=value[: pick.randrange(len(value))]) if pick.random() < 0.3 else record

    path.spoil_record = spoil


def _late_payment(path: Path, pick: Random) -> None:
    def late(item: Item) -> list[Item]:
        is_late = isinstance(item, Paid) and pick.random() < 0.5
        return [Paid(item.transaction, item.log_time_ms + WEEK_AND_A_DAY_MS)] if is_late else [item]

    path.hear = late


def _duplicate_payment(path: Path, pick: Random) -> None:
    path.hear = lambda item: [item] * (2 if isinstance(item, Paid) and pick.random() < 0.5 else 1)


def _other_order(path: Path, pick: Random) -> None:
    """The partitions of a batch in another interleaving, each in its own order."""
    path.order = lambda records: sorted(records, key=lambda each: -each.source.partition)


def _unreadable(path: Path, pick: Random) -> None:
    struck: dict[tuple[int, int], bool] = {}

    def raises(record: Record) -> bool:
        return struck.setdefault(record.source[:2], pick.random() < 0.2)

    path.reading_raises = raises


def _read_twice(path: Path, pick: Random) -> None:
    path.is_read_twice = True


# The state's answers


def _away(path: Path, pick: Random) -> None:
    """Redis raises now and then, before it counted or after."""
    real, is_counted, failures = path.observe, pick.random() < 0.5, [0]

    def observe(shares):  # type: ignore[no-untyped-def]
        failures[0] = failures[0] + 1 if pick.random() < 0.5 and failures[0] < TRIES else 0
        if not failures[0]:
            return real(shares)
        if is_counted:
            real(shares)
        raise StateAway

    path.observe = observe


def _too_slow(path: Path, pick: Random) -> None:
    """Redis counts, and the answer comes too late; asked again it gives the same."""
    real, waiting = path.observe, [True]

    def observe(shares):  # type: ignore[no-untyped-def]
        answer = real(shares)
        waiting[0] = not waiting[0]
        if waiting[0]:
            return answer
        raise StateAway

    path.observe = observe


def _altered(change: Callable[[np.ndarray, Random], np.ndarray]) -> Callable[[Path, Random], None]:
    def strike(path: Path, pick: Random) -> None:
        real = path.observe

        def observe(shares):  # type: ignore[no-untyped-def]
            return [each._replace(state=change(each.state.copy(), pick)) for each in real(shares)]

        path.observe = observe

    return strike


def _unknown(state: np.ndarray, pick: Random) -> np.ndarray:
    for row in state:
        if row[0] >= 0:
            row[pick.sample(range(len(STATE)), pick.randint(1, 4))] = UNKNOWN
    return state


def _zero(state: np.ndarray, pick: Random) -> np.ndarray:
    state[[place for place in range(len(state)) if pick.random() < 0.5]] = 0
    return state


def _shorter(state: np.ndarray, pick: Random) -> np.ndarray:
    return state[: len(state) - 1] if pick.random() < 0.5 else state[:, :-3]


def _asked_in_another_order(path: Path, pick: Random) -> None:
    real = path.observe
    path.observe = lambda shares: real(shares[::-1])[::-1]


def _asked_twice(path: Path, pick: Random) -> None:
    real = path.observe
    path.observe = lambda shares: [real(shares), real(shares)][1]


def _stale_answer(path: Path, pick: Random) -> None:
    """What another worker observed last, under a policy that blocked it, is read again under this one.

    Were there others of its account behind it in that batch, their answers are kept as they were, without it.
    """
    real = path.observe

    def observe(shares):  # type: ignore[no-untyped-def]
        for share in shares:
            over = [place for place, event in enumerate(share.events) if event.amount_gbp_minor >= STRICT_LIMIT]
            if over and share.end_offset > (path.state.positions(share.partition) or 0):
                seen = [*share.events[: over[0]], _uncounted(share.events[over[0]])]
                real([share._replace(events=seen, end_offset=seen[-1].offset + 1)])
        return real(shares)

    path.observe = observe


def _uncounted(event):  # type: ignore[no-untyped-def]
    other = copy(event)
    other.is_counted = False
    return other


# Outcomes and context


def _outcomes_again(path: Path, pick: Random) -> None:
    path.hear = lambda item: [item] * (2 if isinstance(item, Told) else 1)


def _outcomes_held_back(longest: int | None) -> Callable[[Path, Random], None]:
    """Outcomes that are heard some items later, or never; but for a payment that was taken back (see README)."""

    def strike(path: Path, pick: Random) -> None:
        held: list[tuple[int, Told]] = []

        def hear(item: Item) -> list[Item]:
            due = [told for left, told in held if left <= 0]
            held[:] = [(left - 1, told) for left, told in held if left > 0]
            if isinstance(item, Told) and item.outcome.kind is OutcomeKind.MADE:
                if longest is not None:
                    held.append((pick.randint(1, longest), item))
                return [*due]
            return [*due, item]

        path.hear = hear

    return strike


def _outcomes_lost(path: Path, pick: Random) -> None:
    """The state's outcomes are gone, and their topic holds the later part only."""
    path.settle()
    for partition, told in path.outcomes.items():
        path.outcomes_low[partition] = pick.randint(0, len(told))
    _lose(path, is_log_whole=True)


def _outcomes_to_come(path: Path, pick: Random) -> None:
    """The state is gone; payments are back at once, and outcomes only some items later."""
    path.settle()
    path.state = MemoryState()
    for partition, told in path.outcomes.items():
        path.state.await_outcomes(partition, len(told))
    path.is_following, left = False, [pick.randint(1, 30)]
    path.rebuild()

    def hear(item: Item) -> list[Item]:
        left[0] -= 1
        if left[0] == 0:
            path.settle()
            path.is_following = True
            for partition in path.outcomes:
                path.follow_outcomes(partition)
        return [item]

    path.hear = hear


def _context_again(path: Path, pick: Random) -> None:
    def hear(item: Item) -> list[Item]:
        return [item, pick.choice(path.context)] if isinstance(item, Stated) and path.context else [item]

    path.hear = hear


def _context_reordered(path: Path, pick: Random) -> None:
    """An older record of a topic that is read after a newer one."""

    def hear(item: Item) -> list[Item]:
        if not isinstance(item, Stated) or isinstance(item.record, Label):
            return [item]
        older = [each for each in path.context if type(each.record) is type(item.record)]
        return [item, *pick.sample(older, min(3, len(older)))]

    path.hear = hear


# Model, policy and breaker


def _model(scorer: Callable[[object, np.ndarray, Random], object]) -> Callable[[Path, Random], None]:
    def strike(path: Path, pick: Random) -> None:
        path.scorer = lambda model, rows: scorer(model, rows, pick)  # type: ignore[assignment,return-value]

    return strike


_score: Final = asking.score


def _raises(model, rows, pick):  # type: ignore[no-untyped-def]
    if (rows[:, 0] % 3 == 0).any():
        raise IndexError("outside a table")
    return _score(model, rows)


def _all_zero(model, rows, pick):  # type: ignore[no-untyped-def]
    return type(_score(model, rows))(*(np.zeros_like(part) for part in _score(model, rows)))


def _cut_short(model, rows, pick):  # type: ignore[no-untyped-def]
    scores = _score(model, rows)
    return type(scores)(*(part[: pick.randrange(len(rows))] for part in scores))


def _no_number(model, rows, pick):  # type: ignore[no-untyped-def]
    return _score(model, rows)._replace(fraud_probability_ppm=np.full(len(rows), np.nan))


def _of_other_rows(model, rows, pick):  # type: ignore[no-untyped-def]
    """The probabilities of a quieter payment, beside the right scores."""
    scores = _score(model, rows)
    return scores._replace(fraud_probability_ppm=np.full(len(rows), 8, dtype=np.int64))


def _no_model(path: Path, pick: Random) -> None:
    path.in_force = regime(path.in_force.policy, None, path.in_force.feeds)


def _feeds(change: Callable[[Feeds, Random], Feeds]) -> Callable[[Path, Random], None]:
    def strike(path: Path, pick: Random) -> None:
        held = path.in_force.feeds
        assert held is not None
        path.in_force = replace(path.in_force, feeds=change(held, pick))

    return strike


def _grown_old(held: Feeds, pick: Random) -> Feeds:
    """Of a week to a year before the first payment of any world."""
    at_ms = START_MS - pick.randint(7, 365) * DAY_MS
    return NO_FEEDS.with_feed(parse_feed(shipped_as_of(FeedKind.EXCHANGE_RATES, at_ms))).with_feed(
        parse_feed(shipped_as_of(FeedKind.SANCTIONS, at_ms))
    )


def _no_policy(path: Path, pick: Random) -> None:
    path.change_policy(b"")


def _cut_policy(path: Path, pick: Random) -> None:
    lines = POLICY.splitlines(keepends=True)
    path.change_policy(b"".join(lines[: pick.randrange(len(lines))]))


def _mode(mode: Mode) -> Callable[[Path, Random], None]:
    def strike(path: Path, pick: Random) -> None:
        path.mode = mode

    return strike


# State that is lost, or restored from an old copy


def _lose(path: Path, *, is_log_whole: bool, pick: Random | None = None) -> None:
    path.settle()
    path.state = MemoryState()
    if not is_log_whole and pick is not None:
        for partition, log in path.log.items():
            path.low[partition] = pick.randint(0, len(log))
            path.outcomes_low[partition] = pick.randint(0, len(path.outcomes[partition]))
    path.rebuild()


def _lost(path: Path, pick: Random) -> None:
    _lose(path, is_log_whole=True)


def _lost_and_log_cut(path: Path, pick: Random) -> None:
    _lose(path, is_log_whole=False, pick=pick)


def _restored(*, is_log_whole: bool) -> Callable[[Path, Random], None]:
    def strike(path: Path, pick: Random) -> None:
        path.settle()
        path.state = path.backup
        if not is_log_whole:
            for partition, log in path.log.items():
                path.low[partition] = pick.randint(0, len(log))
        path.rebuild()

    return strike


FAULTS: Final = (
    Fault("payments", "exception", _unreadable),
    Fault("payments", "timeout", _read_twice),
    Fault("payments", "stale", _late_payment),
    Fault("payments", "truncated", _truncated_payment),
    Fault("payments", "duplicate", _duplicate_payment),
    Fault("payments", "reordered", _other_order),
    Fault("state", "exception", _away),
    Fault("state", "timeout", _too_slow),
    Fault("state", "UNKNOWN", _altered(_unknown)),
    Fault("state", "zero", _altered(_zero)),
    Fault("state", "stale", _stale_answer),
    Fault("state", "truncated", _altered(_shorter)),
    Fault("state", "duplicate", _asked_twice),
    Fault("state", "reordered", _asked_in_another_order),
    Fault("state", "lost", _lost),
    Fault("state", "lost, log cut", _lost_and_log_cut),
    Fault("state", "restored", _restored(is_log_whole=True)),
    Fault("state", "restored, log cut", _restored(is_log_whole=False)),
    Fault("outcomes", "timeout", _outcomes_held_back(None)),
    Fault("outcomes", "stale", _outcomes_held_back(12)),
    Fault("outcomes", "truncated", _outcomes_lost),
    Fault("outcomes", "lost", _outcomes_to_come),
    Fault("outcomes", "duplicate", _outcomes_again),
    Fault("context", "duplicate", _context_again),
    Fault("context", "reordered", _context_reordered),
    Fault("model", "exception", _model(_raises)),
    Fault("model", "zero", _model(_all_zero)),
    Fault("model", "truncated", _model(_cut_short)),
    Fault("model", "no number", _model(_no_number)),
    Fault("model", "stale", _model(_of_other_rows)),
    Fault("model", "missing", _no_model),
    Fault("policy", "missing", _no_policy),
    Fault("policy", "truncated", _cut_policy),
    Fault("feeds", "missing", _feeds(lambda _held, _pick: NO_FEEDS)),
    Fault("feeds", "truncated", _feeds(lambda held, _pick: held._replace(sanctions=None))),
    Fault("feeds", "stale", _feeds(_grown_old)),
    Fault("breaker", "UNKNOWN", _mode(Mode(BreakerState.UNKNOWN, "all", False))),
    Fault("breaker", "open", _mode(Mode(BreakerState.OPEN, "all", False))),
)
