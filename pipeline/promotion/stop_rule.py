"""The stop rule: whether what a candidate does is still within what the policy allows, however often one looks.

Invariants
1. A trip of the candidate's own scope, or of all traffic, stops it. A trip for latency is one of all traffic: a batch
   waits for the slower of the two models.
2. A difference stops it only where chance would have made it, at any time of the whole rollout, in no more than the
   share of rollouts that the policy allows. So the error is shared among the shares and the two comparisons.
3. What isn't known never lets it take a larger share.

Candidate and champion answer payments that a hash has drawn for them, at the same time. So their rates are those of two
samples of the same payments; each share begins a new comparison, since the traffic of another week may be another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from models.anytime import PPM, rate_interval
from pipeline.decide.rollout.limits import HOUR_MS, PPM_A_PERCENT, Promotion
from pipeline.domain.times import utc_text

COMPARISONS = 2
"""Of what is stopped, and of the fraud that is found."""


class Arm(NamedTuple):
    """What one of the two answered by itself. payments, stopped: at the present share. frauds: since it all began."""

    payments: int = 0
    stopped: int = 0
    frauds: int = 0
    frauds_stopped: int = 0


class Trip(NamedTuple):
    scope: str
    event: str
    cause: str
    at_ms: int


class Progress(NamedTuple):
    """How a rollout goes at its present share, which it has had since `since_ms`."""

    share_ppm: int
    since_ms: int
    candidate: Arm
    champion: Arm
    trips: Sequence[Trip]


def stop_reasons(progress: Progress, limits: Promotion) -> list[str]:
    """Return why the candidate must go back now, as whole sentences; none where it may stay."""
    found = [
        f"The breaker took {trip.scope} out of the loop at {utc_text(trip.at_ms)} ({trip.event}): {trip.cause}."
        for trip in progress.trips
    ]
    one, other = progress.candidate, progress.champion
    low, high = difference_ppm((one.stopped, one.payments), (other.stopped, other.payments), limits)
    if low > limits.stop_outcome_points * PPM_A_PERCENT:
        found.append(
            f"It stops at least {_points(low)} points more payments than the champion beside it, and may stop "
            f"{limits.stop_outcome_points} more."
        )
    if high < -limits.stop_outcome_points * PPM_A_PERCENT:
        found.append(
            f"It stops at least {_points(-high)} points fewer payments than the champion beside it, and may stop "
            f"{limits.stop_outcome_points} fewer."
        )
    low, high = difference_ppm((one.frauds_stopped, one.frauds), (other.frauds_stopped, other.frauds), limits)
    if high < -limits.stop_fraud_points * PPM_A_PERCENT:
        found.append(
            f"It stops at least {_points(-high)} points less of the fraud than the champion beside it, and may stop "
            f"{limits.stop_fraud_points} less."
        )
    return found


def step_reasons(progress: Progress, limits: Promotion, now_ms: int) -> list[str]:
    """Return why the candidate may not have a larger share yet, as whole sentences; those that stop it among them."""
    found = stop_reasons(progress, limits)
    one, other = progress.candidate, progress.champion
    hours = (now_ms - progress.since_ms) // HOUR_MS
    if hours < limits.share_hours:
        found.append(f"It has had its share for {hours} hours, and must for {limits.share_hours}.")
    for name, arm in (("It", one), ("The champion beside it", other)):
        if arm.payments < limits.share_payments:
            found.append(f"{name} answered {arm.payments:,} payments since, and must {limits.share_payments:,}.")
    if one.payments and other.payments:
        differs_ppm = abs(one.stopped * PPM // one.payments - other.stopped * PPM // other.payments)
        if differs_ppm > limits.stop_outcome_points * PPM_A_PERCENT:
            found.append(
                f"What it stops differs by {_points(differs_ppm)} points from the champion beside it, and may by "
                f"{limits.stop_outcome_points}, though chance may do as much."
            )
    return found


def difference_ppm(one: tuple[int, int], other: tuple[int, int], limits: Promotion) -> tuple[int, int]:
    """Return between what the difference of two rates lies at every time at once; each as successes and trials."""
    comparisons = COMPARISONS * len(limits.shares_percent)
    alpha = (100 - limits.stop_confidence_percent) / 100 / comparisons / 2  # of each rate
    (low, high), (other_low, other_high) = rate_interval(*one, alpha), rate_interval(*other, alpha)
    return low - other_high, high - other_low


def _points(ppm: int) -> str:
    return f"{ppm / PPM_A_PERCENT:.1f}"
