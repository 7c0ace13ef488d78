"""The arithmetic of the detectors, on numbers or on columns of them with one row a scope.

Invariants
1. Limits are compared in whole numbers, so a condition holds from its stated value on and not one step below.
2. A comparison never says more than its sample allows: with no answers on either side nothing is significant.

The worker judges one scope at a time with plain numbers. The bench `breaker` judges years of many scopes side by side
with columns, and by these functions.

Floats are allowed here because nothing of this enters a decision's bytes. The breaker state that it leads to is
recorded.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

DISPERSION_FLOOR: Final = 1.3
"""Payments come in bursts, so a share varies more than that of independent answers. Its variance is taken to be at
least 1.3 times the binomial one, however calm the few days were that it was measured on."""
STEPS_TO_SHIFT: Final = 3
"""A shift, or the end of a probation, takes at least this many evaluations. One burst, such as the testing of a card,
must not look like a shift however large it is."""
UNSEASONAL_FACTOR: Final = 2
"""Without a seasonal yardstick the shift sought is this many times as large: against the mean of a day, the usual
rhythm of 1.4 times is no doubling, but would add up like one."""
PASSED_FLOOR: Final = 1.5
"""How far the evidence for a model on probation is kept, as a multiple of what passes it."""

INFORMATION: Final = 0.8
TEMPERING: Final = 0.55
"""From 0.8 nats in a span on, which a doubling of 2.5 % brings at some 4 payments a second, evidence grows only with
the power 0.45 of what is counted. So at 50 a second a doubling still takes some five spans, in which a busy minute or
the first minutes of a wave of fraud are over or known for what they are."""

SLACK: Final = 1.07
"""Up to this many times what is usual is as usual. With a doubling sought the sum then falls up to 1.5 times, and rises
beyond. Without a season there is none to spare."""
SURE_COUNT: Final = 250
"""A yardstick that holds so many blocks knows their share to 7 %, which SLACK spares already. The fewer it holds, the
wider is the range that it leaves likely: 36 answers with one escalation don't say that escalations are usual."""
LIKELY_Z: Final = 2.0
"""The share that is really usual is beyond either end of its likely range in one case of 44."""
LEVEL_HOURS: Final = 3
LEVEL_MAX: Final = 1.25
LEVEL_PRIOR: Final = 300
"""Weekends, holidays, and waves of fraud and of custom raise or lower a whole day. So the cumulative sum takes the last
3 clean hours for as usual, up to 1.25 times either way. It takes 300 more as usual beside them: chance then moves the
level by 3 % at most, where the days themselves move it by 6 %."""
DRIFT_FLOOR: Final = 0.1
"""Hourly mean scores are taken to stray by at least a tenth of the mean, however calm the week was that they were
measured in: it may have held no wave of fraud."""

Column = Any
"""A number, or a numpy array of them with one row a scope."""


def dispersion(total: Column, correlation: Column) -> Column:
    """Return how many times the binomial variance the variance of a share of `total` answers is."""
    return np.maximum(DISPERSION_FLOOR, 1 + (total - 1) * correlation)


def proportion_z(
    successes: Column, total: Column, usual_successes: Column, usual_total: Column, correlation: Column
) -> Column:
    """Return the two-proportion z, its variances inflated for answers that come in bursts; 0 if nothing can be said."""
    here, there = np.maximum(total, 1), np.maximum(usual_total, 1)
    pooled = (successes + usual_successes) / np.maximum(total + usual_total, 1)
    variance = pooled * (1 - pooled) * (dispersion(total, correlation) / here + DISPERSION_FLOOR / there)
    is_known = (total > 0) & (usual_total > 0) & (variance > 0)
    strayed = successes / here - usual_successes / there
    return np.where(is_known, strayed / np.sqrt(np.where(is_known, variance, 1.0)), 0.0)


def is_spike(
    successes: Column,
    total: Column,
    usual_successes: Column,
    usual_total: Column,
    correlation: Column,
    points: Column,
    z_least: Column,
) -> Column:
    """Return whether a share is at least `points` percentage points above usual, and significantly so."""
    # The difference of the shares, times both samples: exact integers, below 2^63 for 10^7 answers against 10^9.
    strayed = successes * usual_total - usual_successes * total
    is_beyond = strayed * 100 >= points * total * usual_total
    z = proportion_z(successes, total, usual_successes, usual_total, correlation)
    return is_beyond & (z >= z_least) & (total > 0) & (usual_total > 0)


def usual_share(successes: Column, total: Column) -> Column:
    """Return a share that is never 0 or 1, where the likelihood ratio has no value."""
    return (successes + 0.5) / (total + 1)


def likely_range(successes: Column, total: Column) -> tuple[Column, Column]:
    """Return the least and the largest share that is likely the usual one, by Wilson's score interval.

    It is the share itself from SURE_COUNT successes on, and grows continuously with fewer. Its sample is divided by the
    least dispersion, as answers come in bursts. See Wilson, "Probable inference, the law of succession, and statistical
    inference", Journal of the American Statistical Association 22 (1927).
    """
    share = usual_share(successes, total)
    unsure = np.maximum(1 - successes / SURE_COUNT, 0.0)
    # z² over the sample: 0 where it is sure.
    z2 = LIKELY_Z**2 * unsure * DISPERSION_FLOOR / (total + 1)
    middle, spread = share + z2 / 2, np.sqrt(z2 * share * (1 - share) + z2 * z2 / 4)
    return (middle - spread) / (1 + z2), (middle + spread) / (1 + z2)


def level(lately: Column, answered: Column, usual: Column, usual_answered: Column) -> Column:
    """Return how many times as often as usual something came lately, at most LEVEL_MAX and at least its inverse.

    It is 1 where nothing is known of what is usual.
    """
    expected = usual * answered / np.maximum(usual_answered, 1)
    reached = np.clip((lately + LEVEL_PRIOR) / (expected + LEVEL_PRIOR), 1 / LEVEL_MAX, LEVEL_MAX)
    return np.where(usual_answered > 0, reached, 1.0)


def at_level(usual: Column, times: Column) -> Column:
    """Return a usual share at the last hours' level; it stays below 1."""
    return np.minimum(usual * times, (1 + usual) / 2)


def rise(usual: Column, likely_most: Column, factor: Column, slack: Column, account: Column) -> tuple[Column, Column]:
    """Return the two shares that a sum for a rise tells apart: as usual, and sought.

    As usual is up to `slack` times usual, the most that is likely usual, and one more account with all of it blocked,
    which is `account` of the window's sample: by night that would double few blocks. Sought is `factor` times usual,
    and as much above what is taken for usual. Both stay below 1.
    """
    widest = np.maximum(np.maximum(usual * slack, likely_most), usual + account)
    as_usual = np.minimum(widest, (1 + usual) / 2)
    sought = np.maximum(usual * factor, as_usual * factor / slack)
    return as_usual, np.minimum(sought, (1 + as_usual) / 2)


def fall(usual: Column, likely_least: Column, factor: Column, slack: Column) -> tuple[Column, Column]:
    """Return the two shares that a cumulative sum for a fall tells apart; the first is above the second.

    As usual is down to the least that is likely usual, and sought as much below it as `factor` asks.
    """
    as_usual = np.minimum(np.maximum(usual / slack, (usual + usual / factor) / 2), likely_least)
    return as_usual, np.minimum(usual / factor, as_usual * slack / factor)


def evidence(successes: Column, total: Column, usual: Column, sought: Column, correlation: Column) -> Column:
    """Return the evidence of a sample in nats: the log-likelihood ratio of `sought` over `usual`, both in (0, 1).

    It is divided by the dispersion, because a burst is no evidence, and tempered. The more a span tells of `sought`,
    the less chance makes of a difference and the more what the yardstick can't know does: waves, hours that stray,
    minutes that do. So from INFORMATION on, the evidence grows only with the power 1 - TEMPERING of it.
    """
    spread = dispersion(total, correlation)
    more, fewer = np.log(sought / usual), np.log((1 - sought) / (1 - usual))
    expected = total * (sought * more + (1 - sought) * fewer) / spread
    tempered = np.maximum(expected / INFORMATION, 1.0) ** TEMPERING
    return (successes * more + (total - successes) * fewer) / (spread * tempered)


def cusum(cumulated: Column, added: Column, enough: Column) -> Column:
    """Return the CUSUM after the evidence of one more sample: never below 0 nor above `enough`.

    A sample adds at most a third of `enough`. See Page, "Continuous inspection schemes", Biometrika 41 (1954).
    """
    reached = np.maximum(0.0, cumulated + added)
    return np.minimum(np.minimum(reached, cumulated + _most_of(enough)), enough)


def drift_z(
    mean_ppm: Column, mean_square_ppm2: Column, total: Column, usual_mean_ppm: Column, sigma_ppm: Column
) -> Column:
    """Measure how far the mean score is from usual, against chance and against how far hourly means usually stray."""
    variance_ppm2 = np.maximum(0.0, mean_square_ppm2 - mean_ppm**2)
    strays_ppm = np.maximum(sigma_ppm, DRIFT_FLOOR * usual_mean_ppm)
    spread = np.sqrt(strays_ppm**2 + DISPERSION_FLOOR * variance_ppm2 / np.maximum(total, 1))
    is_known = (total > 0) & (spread > 0)
    return np.where(is_known, (mean_ppm - usual_mean_ppm) / np.where(is_known, spread, 1.0), 0.0)


def sprt(cumulated: Column, successes: Column, total: Column, usual: Column, sought: Column, bound: Column) -> Column:
    """Return the sequential probability ratio test after one more sample; `bound` nats either way decide it.

    At -`bound` the share is as usual, at +`bound` it is as bad as `sought`. With a risk r either way the bound is
    ln((1 - r) / r). See Wald, "Sequential tests of statistical hypotheses", Annals of Mathematical Statistics 16
    (1945). The ratio is divided by the least dispersion, as answers come in bursts, and a sample adds at most a third
    of `bound` either way: one ring of fraud that the model rightly blocks must not condemn it. Evidence for a model
    goes on to half as much again as it needs, so that one evaluation against it, which any block is, undoes no pass;
    beyond that whoever passes and then goes wrong needs no more to fail than anybody.
    """
    ratio = successes * np.log(sought / usual) + (total - successes) * np.log((1 - sought) / (1 - usual))
    step = _most_of(bound)
    return np.clip(cumulated + np.clip(ratio / DISPERSION_FLOOR, -step, step), -PASSED_FLOOR * bound, bound)


def _most_of(enough: Column) -> Column:
    """Return what one sample may add: a third, rounded up, or the last bit of three thirds would ask for a fourth."""
    return np.nextafter(enough / STEPS_TO_SHIFT, np.inf)
