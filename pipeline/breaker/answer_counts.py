"""Counts of the model's answers over a span of time, by scope.

Invariants
1. Counts add and subtract exactly; the counts of a span are the difference of two readings of running totals.
2. Only what the policy declares has a scope of its own, so nobody who names segments makes scopes.

The counts are of the model's own answers, whatever the route. After a trip the model answers in shadow, and the
fallback's outcomes must not hide that it is still wrong. A hard guardrail's block isn't the model's answer, so it isn't
counted.

An escalation may be a soft guardrail's as well as the model's. `doubt` counts the model's own alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from operator import add, sub
from typing import Final, NamedTuple

from pipeline.domain.decision import Outcome

LATENCY_BOUNDS_MS: Final = (5, 10, 20, 50, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1500, 2000, 5000, 10_000)
"""Inclusive upper bounds of the latency histogram's buckets; one more bucket holds the rest."""
ALL: Final = "all"
MODEL_PREFIX: Final = "model:"
SEGMENT_PREFIX: Final = "segment:"
CHANNEL_PREFIX: Final = "channel:"
SEGMENT_OTHER: Final = "segment:other"
"""The scope of all segments that the policy doesn't declare."""
SCOPE_BYTES_MAX: Final = 128
_PROBE_PREFIX: Final = "probe:"
SUMS: Final = 8
"""Counts of a scope before its latencies."""
_NO_LATENCY: Final = (0,) * (len(LATENCY_BOUNDS_MS) + 1)

DeclaresOf = Callable[[str, str], bool]
"""Whether the policy declares a segment's value, by the segment's name and the value."""


class Counts(NamedTuple):
    """Counts of one scope over one span. `errors` are payments that the model was asked about but did not answer.

    doubt: payments that the model would have a person decide, because it is too unsure to allow them; whatever else
    escalates them. doubt_known: answers of which that is known. Workers and hours of before there was this count add to
    neither, so what they don't say is unknown and not zero.
    """

    allow: int = 0
    block: int = 0
    escalate: int = 0
    errors: int = 0
    score_sum_ppm: int = 0  # the sum of the fraud probabilities; that of 9 · 10^9 answers is below 2^53
    score_square_sum_ppm: int = 0  # the sum of their squares, as fractions of 1, in millionths
    doubt: int = 0
    doubt_known: int = 0
    latency: tuple[int, ...] = _NO_LATENCY  # payments in each bucket of LATENCY_BOUNDS_MS

    @property
    def answered(self) -> int:
        return self.allow + self.block + self.escalate

    @property
    def handled(self) -> int:
        """Payments that the model was asked about."""
        return self.answered + self.errors

    def plus(self, other: Counts) -> Counts:
        return _combined(add, self, other)

    def minus(self, other: Counts) -> Counts:
        return _combined(sub, self, other)

    def slower_than(self, bound_ms: int) -> int:
        """Count the payments that took longer than `bound_ms`, which is one of LATENCY_BOUNDS_MS."""
        return sum(self.latency[LATENCY_BOUNDS_MS.index(bound_ms) + 1 :])


class Answer:
    """The model's answer about one payment; the outcome and the probability are None where it failed to answer."""

    def __init__(
        self,
        outcome: Outcome | None,
        fraud_probability_ppm: int | None,
        segments: Mapping[str, str],
        channel: str | None = None,
        account_id: str = "",
        *,
        is_of_nothing: bool = False,
        is_of_known_account: bool = False,
        apart: str | None = None,
        probed: str | None = None,
        is_doubted: bool | None = None,
    ) -> None:
        """is_of_nothing: the payment moves no money. is_of_known_account: its account was there the day before.

        apart: the part of the traffic that governs it where that isn't CLOSED. probed: the scope on whose probation the
        model answered, if any.

        is_doubted: the model itself would have a person decide; None where nobody says.

        Payments whose account isn't named count together as those of one account.
        """
        self.outcome, self.fraud_probability_ppm, self.segments = outcome, fraud_probability_ppm, segments
        self.channel, self.account_id = channel, account_id
        self.is_of_nothing, self.is_of_known_account = is_of_nothing, is_of_known_account
        self.apart, self.probed, self.is_doubted = apart, probed, is_doubted


def counts_of(
    answers: Sequence[Answer], latency_ms: int, payments: int, model_version: str | None, declares: DeclaresOf
) -> dict[str, Counts]:
    """Return a batch's counts by scope.

    `all` counts everything; the model's version, each channel and each declared segment count the answers too. What is
    wrong in a part of the traffic that is out of the loop is known: it counts there alone, or it would take the rest of
    the traffic out too. `latency_ms` is how long deciding the batch took, and so deciding each of its `payments`, which
    may be more than the answers that count.
    """
    # Many payments share their segments, so each combination is tallied once and then added to its scopes.
    combined: defaultdict[_Combination, list[int]] = defaultdict(lambda: [0] * SUMS)
    for answer in answers:
        outcome, probability_ppm = answer.outcome, answer.fraud_probability_ppm
        tally = combined[(tuple(answer.segments.items()), answer.channel, answer.apart, answer.probed)]
        tally[3 if outcome is None else _COLUMN[outcome]] += 1
        if probability_ppm is not None:
            tally[4] += probability_ppm
            tally[5] += probability_ppm * probability_ppm
        if outcome is not None and answer.is_doubted is not None:
            tally[6] += answer.is_doubted
            tally[7] += 1
    tallies: defaultdict[str, list[int]] = defaultdict(lambda: [0] * SUMS)
    for (segments, channel, apart, probed), tally in combined.items():
        scopes = (ALL, *_scopes_within(segments, channel, declares)) if apart is None else (apart,)
        for scope in (*scopes, *_probe_scopes(probed)):
            tallies[scope] = list(map(add, tallies[scope], tally))
    counts = {scope: _counts(tally) for scope, tally in tallies.items()}
    if model_version is not None and ALL in counts:
        counts[model_scope(model_version)] = counts[ALL]
    if payments:
        counts[ALL] = counts.get(ALL, Counts())._replace(latency=_histogram(latency_ms, payments))
    return counts


_Combination = tuple[tuple[tuple[str, str], ...], str | None, str | None, str | None]


def _scopes_within(segments: Iterable[tuple[str, str]], channel: str | None, declares: DeclaresOf) -> dict[str, None]:
    """Return the scopes of a part of the traffic that a payment belongs to; each once."""
    found = {segment_scope(name, value) if declares(name, value) else SEGMENT_OTHER: None for name, value in segments}
    return found if channel is None else found | {channel_scope(channel): None}


def _probe_scopes(probed: str | None) -> tuple[str, ...]:
    return () if probed is None else (probe_scope(probed),)


def model_scope(version: str) -> str:
    return f"{MODEL_PREFIX}{version}"


def segment_scope(name: str, value: str) -> str:
    return f"{SEGMENT_PREFIX}{name}={value}"


def channel_scope(channel: str) -> str:
    return f"{CHANNEL_PREFIX}{channel}"


def probe_scope(scope: str) -> str:
    """Return the name under which the answers are counted that the model really gave on a scope's probation."""
    return f"{_PROBE_PREFIX}{scope}"


def is_part(scope: str) -> bool:
    """Return whether a scope is a segment or a channel: a part of the traffic, judged beside many others."""
    return scope.startswith((SEGMENT_PREFIX, CHANNEL_PREFIX))


def is_probe(scope: str) -> bool:
    return scope.startswith(_PROBE_PREFIX)


def total_of(counts: Iterable[Counts]) -> Counts:
    total = Counts()
    for some in counts:
        total = total.plus(some)
    return total


def difference(later: Counts, earlier: Counts) -> Counts:
    """Return the counts between two readings of running totals; zeros where the totals were lost in between."""
    counts = later.minus(earlier)
    return counts if min(*counts[:SUMS], *counts.latency) >= 0 else Counts()


def score_mean_ppm(counts: Counts) -> float:
    return counts.score_sum_ppm / counts.answered


_COLUMN: Final = {Outcome.ALLOW: 0, Outcome.BLOCK: 1, Outcome.ESCALATE: 2}


def _combined(operation: Callable[[int, int], int], first: Counts, second: Counts) -> Counts:
    allow, block, escalate, errors, scores, squares, doubt, known = map(operation, first[:SUMS], second[:SUMS])
    is_plain = second.latency == _NO_LATENCY  # true of every scope but `all`; this spares two thirds of the work
    latency = first.latency if is_plain else tuple(map(operation, first.latency, second.latency))
    return Counts(allow, block, escalate, errors, scores, squares, doubt, known, latency)


def _counts(tally: list[int]) -> Counts:
    allow, block, escalate, errors, score_sum_ppm, score_square_sum_ppm2, doubt, doubt_known = tally
    squares_ppm = score_square_sum_ppm2 // 1_000_000
    return Counts(allow, block, escalate, errors, score_sum_ppm, squares_ppm, doubt, doubt_known)


def _histogram(latency_ms: int, payments: int) -> tuple[int, ...]:
    buckets = [0] * len(_NO_LATENCY)
    buckets[bisect_left(LATENCY_BOUNDS_MS, latency_ms)] = payments
    return tuple(buckets)


def latency_p99_ms(counts: Counts) -> int | None:
    """Return the lowest bound that at least 99 % of the payments keep to; None where it is beyond the last bound."""
    needed = sum(counts.latency) * 99
    for bound_ms, below in zip(LATENCY_BOUNDS_MS, accumulate(counts.latency), strict=False):
        if below * 100 >= needed:
            return bound_ms
    return None
