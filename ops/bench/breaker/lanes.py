"""The breaker's own detectors over many lanes side by side, and the baselines that it would make for them.

The detectors are those that a worker judges by (`pipeline.breaker.detecting.detectors`), given columns instead of
numbers. The baselines are computed for all lanes at once; tests/ops/bench/test_breaker.py holds them, and the trips, to
the breaker's own History and `advance`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ops.bench.breaker.traffic import STEP_S, Floats, Integers, Steps
from pipeline.breaker import BreakerSettings, Condition
from pipeline.breaker.detecting.detectors import (
    LEVEL_HOURS,
    SLACK,
    UNSEASONAL_FACTOR,
    at_level,
    cusum,
    drift_z,
    evidence,
    fall,
    is_spike,
    level,
    likely_range,
    rise,
    usual_share,
)

HOURS_JUDGED: Final = 7 * 24 + 1
COLUMNS_OF_AN_HOUR: Final = 7
HOURS_KEPT: Final = HOURS_JUDGED + 1
Flags = NDArray[np.bool_]


class Yardstick(NamedTuple):
    """Baselines as columns: (lanes,) each, or (steps, lanes)."""

    answered: Integers
    allow: Integers
    block: Integers
    correlation: Floats
    mean_ppm: Floats
    doubt: Integers
    doubt_correlation: Floats
    block_level: Floats | float = 1.0
    stop_level: Floats | float = 1.0
    doubt_level: Floats | float = 1.0


class Hours:
    """The last hours of every lane, (HOURS_KEPT, lanes) of each count, the oldest first."""

    def __init__(self, lanes: int) -> None:
        self.known = 0
        names = ("total", "allow", "block", "score", "doubt")
        self._counts = {name: np.zeros((HOURS_KEPT, lanes), np.int64) for name in names}

    def add(self, total: Integers, allow: Integers, block: Integers, score_sum_ppm: Integers, doubt: Integers) -> None:
        for name, counts in zip(self._counts, (total, allow, block, score_sum_ppm, doubt), strict=True):
            self._counts[name] = np.concatenate([self._counts[name][1:], counts[None, :]])
        self.known += 1

    @property
    def is_whole(self) -> bool:
        return self.known >= HOURS_KEPT

    def of_hour(self, ahead: int) -> Yardstick:
        """Return the baseline of the hour of day that is `ahead` hours (-1, 0 or 1) after the present one, over 7 days.

        History takes the hours since a week and an hour ago, of which the hour before the present one is eight.
        """
        newest, count = (-1, 8) if ahead < 0 else (ahead - 24, 7)
        at = [HOURS_KEPT + newest - 24 * day for day in range(count)]
        total, allow, block, score, doubt = (self._counts[name][at] for name in self._counts)
        answered = total.sum(axis=0)
        return Yardstick(
            answered,
            allow.sum(axis=0),
            block.sum(axis=0),
            _correlation(total, block),
            score.sum(axis=0) / np.maximum(answered, 1),
            doubt.sum(axis=0),
            _correlation(total, doubt),
        )

    def sigma_ppm(self) -> Floats:
        """Return the standard deviation of hourly mean scores about the mean of their hour of day."""
        total, score = self._counts["total"][-HOURS_JUDGED:], self._counts["score"][-HOURS_JUDGED:]
        means = score / np.maximum(total, 1)
        squares = np.zeros(means.shape[1])
        for hour in range(24):
            group = means[hour::24]
            squares += ((group - group.mean(axis=0)) ** 2).sum(axis=0)
        sigma: Floats = np.sqrt(squares / (HOURS_JUDGED - 24))
        return sigma

    def levels(self) -> tuple[Floats, Floats, Floats]:
        """Return the levels of blocks, of non-allows and of doubts, as History has them."""
        late = [HOURS_KEPT - 1 - back for back in range(LEVEL_HOURS)]
        same = [at - 24 * day for at in late for day in range(1, 8) if at - 24 * day >= HOURS_KEPT - HOURS_JUDGED]
        (total, allow, block, doubt), (usual_total, usual_allow, usual_block, usual_doubt) = (
            tuple(self._counts[name][at].sum(axis=0) for name in ("total", "allow", "block", "doubt"))
            for at in (late, same)
        )
        return (
            level(block, total, usual_block, usual_total),
            level(total - allow, total, usual_total - usual_allow, usual_total),
            level(doubt, total, usual_doubt, usual_total),
        )

    def last_day(self) -> Yardstick:
        """Return the baseline without a season: the last 24 hours."""
        total, allow, block, score, doubt = (counts[-24:].sum(axis=0) for counts in self._counts.values())
        none = np.zeros(len(total))
        return Yardstick(total, allow, block, none, score / np.maximum(total, 1), doubt, none)


class Held(NamedTuple):
    """Which conditions hold, (steps, lanes) each; `shifted` are the sums that confirm themselves."""

    by_condition: dict[Condition, Flags]
    shifted: Flags


class Judges:
    """Judges lanes hour by hour, as a worker does every interval."""

    def __init__(self, settings: BreakerSettings, lanes: int, peers: int, *, is_part: bool) -> None:
        self.settings, self._lanes = settings, lanes
        self._z = math.sqrt(settings.significance_z**2 + 2 * math.log(peers))
        self._enough = settings.shift_evidence + math.log(peers)
        self._least = settings.segment_minimum_sample if is_part else settings.minimum_sample
        self._shifts = np.zeros((3, lanes))  # of blocks rising, of non-allows falling, and of doubts rising
        self._window, self._error_window = settings.window_s // STEP_S, settings.error_window_s // STEP_S

    def judge(
        self, steps: Steps, before: Steps, yardstick: Yardstick, sigma_ppm: Floats | None, *, is_seasonal: bool = True
    ) -> Held:
        """Judge some steps. before: the steps before them, at least a window of them."""
        settings = self.settings
        total, allow, block, doubt = (_windows(getattr(steps, name), getattr(before, name), self._window)
                                      for name in ("total", "allow", "block", "doubt"))  # fmt: skip
        enough = total >= self._least
        found = {
            Condition.BLOCK_RATE_SPIKE: enough & is_spike(
                block, total, yardstick.block, yardstick.answered, yardstick.correlation,
                settings.block_rate_spike_points, self._z,
            ),
            Condition.ALLOW_RATE_SPIKE: enough & is_spike(
                allow, total, yardstick.allow, yardstick.answered, yardstick.correlation,
                settings.allow_rate_spike_points, self._z,
            ),
            Condition.ESCALATE_RATE_SPIKE: enough & is_spike(
                doubt, total, yardstick.doubt, yardstick.answered, yardstick.doubt_correlation,
                settings.escalate_rate_spike_points, self._z,
            ),
            Condition.ERROR_RATE: self._reached(
                steps.errors, before.errors, steps, before, settings.error_rate_percent
            ),
        }  # fmt: skip
        if sigma_ppm is not None:
            found[Condition.MODEL_DRIFT] = enough & self._drifted(steps, before, total, yardstick, sigma_ppm)
        return Held(found, self._shifted(steps, total, yardstick, is_seasonal=is_seasonal))

    def judge_service(self, steps: Steps, before: Steps) -> Held:
        """Judge all traffic on failures and on slowness; a payment in a hundred that is slow puts the p99 beyond."""
        found = {
            Condition.ERROR_RATE: self._reached(
                steps.errors, before.errors, steps, before, self.settings.error_rate_percent
            ),
            Condition.LATENCY_P99: self._reached(steps.slow, before.slow, steps, before, 1),
        }
        return Held(found, np.zeros(steps.total.shape, bool))

    def _reached(self, bad: Integers, bad_before: Integers, steps: Steps, before: Steps, percent: int) -> Flags:
        window = self._error_window
        count, total = _windows(bad, bad_before, window), _windows(steps.total, before.total, window)
        is_ongoing = (steps.total > 0) & (bad * 100 >= percent * steps.total)
        reached: Flags = (count >= self.settings.error_minimum_count) & (count * 100 >= percent * total) & is_ongoing
        return reached

    def _drifted(self, steps: Steps, before: Steps, total: Integers, yardstick: Yardstick, sigma_ppm: Floats) -> Flags:
        score = _windows(steps.score_sum_ppm, before.score_sum_ppm, self._window)
        squares = _windows(steps.score_square_sum_ppm, before.score_square_sum_ppm, self._window)
        some = np.maximum(total, 1)
        mean_ppm, mean_square_ppm2 = score / some, squares / some * 1_000_000
        strayed = np.abs(mean_ppm - yardstick.mean_ppm) >= self.settings.model_drift_sigma * sigma_ppm
        z = drift_z(mean_ppm, mean_square_ppm2, total, yardstick.mean_ppm, sigma_ppm)
        drifted: Flags = strayed & (np.abs(z) >= self._z)
        return drifted

    def _shifted(self, steps: Steps, total: Integers, yardstick: Yardstick, *, is_seasonal: bool) -> Flags:
        factor = 1 + self.settings.shift_percent / 100 * (1 if is_seasonal else UNSEASONAL_FACTOR)
        usual = at_level(usual_share(yardstick.block, yardstick.answered), yardstick.block_level)
        usual_stops = at_level(
            usual_share(yardstick.answered - yardstick.allow, yardstick.answered), yardstick.stop_level
        )
        usual_stops = np.broadcast_to(usual_stops, total.shape)
        most = at_level(likely_range(yardstick.block, yardstick.answered)[1], yardstick.block_level)
        least_stops = at_level(
            likely_range(yardstick.answered - yardstick.allow, yardstick.answered)[0], yardstick.stop_level
        )
        least_stops = np.broadcast_to(least_stops, total.shape)
        doubts = at_level(usual_share(yardstick.doubt, yardstick.answered), yardstick.doubt_level)
        most_doubts = at_level(likely_range(yardstick.doubt, yardstick.answered)[1], yardstick.doubt_level)
        slack = SLACK if is_seasonal else 1.0
        account = self.settings.account_window_max / np.maximum(np.maximum(total, steps.total * self._window), 1)
        (usual, sought), (usual_stops, sought_stops), (doubts, sought_doubts) = (
            rise(usual, most, factor, slack, account),
            fall(usual_stops, least_stops, factor, slack),
            rise(doubts, most_doubts, factor, slack, account),
        )
        stops = steps.total - steps.allow
        added = np.stack(
            [
                evidence(steps.block, steps.total, usual, sought, yardstick.correlation),
                evidence(stops, steps.total, usual_stops, sought_stops, yardstick.correlation),
                evidence(steps.doubt, steps.total, doubts, sought_doubts, yardstick.doubt_correlation),
            ],
            axis=1,
        )
        found = np.zeros(total.shape, bool)
        for at, one in enumerate(added):
            self._shifts = cusum(self._shifts, one, self._enough)
            found[at] = (self._shifts >= self._enough).any(axis=0)
            # A lane that trips is at once as it was, so it can trip again; a real one would be out of the loop.
            self._shifts[:, found[at]] = 0.0
        return found


def interpolated(hours: Hours, evaluations: int, settings: BreakerSettings) -> Yardstick:
    """Return the baselines of the first evaluations in the present hour, as History interpolates them.

    The first evaluation comes as the hour begins; a window's middle is half a window earlier.
    """
    of_hour = {ahead: hours.of_hour(ahead) for ahead in (-1, 0, 1)}
    middle = (np.arange(evaluations) * STEP_S - settings.window_s / 2) / 3600
    here = np.floor(middle)
    into = middle - here
    beside = here + np.where(into >= 0.5, 1, -1)
    weight = np.abs(into - 0.5)[:, None]
    found = _blended(_rows(of_hour, here), _rows(of_hour, beside), weight)
    block_level, stop_level, doubt_level = hours.levels()
    return found._replace(block_level=block_level, stop_level=stop_level, doubt_level=doubt_level)


def _rows(of_hour: Mapping[int, Yardstick], ahead: Floats) -> Yardstick:
    """Return one row an evaluation, of the hour that is `ahead` of the present one."""
    chosen = ahead.astype(np.int64) + 1
    columns = (np.stack([of_hour[each][place] for each in (-1, 0, 1)])[chosen] for place in range(COLUMNS_OF_AN_HOUR))
    return Yardstick(*columns)


def _blended(first: Yardstick, second: Yardstick, weight: Floats) -> Yardstick:
    scale = first.answered / np.maximum(second.answered, 1)
    return first._replace(
        allow=np.rint(first.allow + (second.allow * scale - first.allow) * weight).astype(np.int64),
        block=np.rint(first.block + (second.block * scale - first.block) * weight).astype(np.int64),
        mean_ppm=first.mean_ppm + (second.mean_ppm - first.mean_ppm) * weight,
        doubt=np.rint(first.doubt + (second.doubt * scale - first.doubt) * weight).astype(np.int64),
    )


def _windows(steps: Integers, before: Integers, length: int) -> Integers:
    """Return the sum over the last `length` steps, at each step."""
    whole = np.concatenate([np.zeros((1, steps.shape[1]), np.int64), before[-length:], steps]).cumsum(axis=0)
    found: Integers = (whole[length:] - whole[:-length])[1:]
    return found


def _correlation(sizes: Integers, blocks: Integers) -> Floats:
    """Return the intra-class correlation of blocks in an hour (Williams, 1982), as `baselines` has it."""
    total = np.maximum(sizes.sum(axis=0), 1)
    share = blocks.sum(axis=0) / total
    variance = np.where((share > 0) & (share < 1), share * (1 - share), 1.0)
    is_used = sizes > 0
    count = is_used.sum(axis=0)
    chi_square = ((blocks - sizes * share) ** 2 / (np.maximum(sizes, 1) * variance) * is_used).sum(axis=0)
    excess = chi_square / np.maximum(count - 1, 1) - 1
    found = np.clip(excess / np.maximum(sizes.sum(axis=0) / np.maximum(count, 1) - 1, 1.0), 0.0, 1.0)
    return np.where((count >= 2) & (share > 0) & (share < 1), found, 0.0)
