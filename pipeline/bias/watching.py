"""The watch over segments, minute by minute: what is usual, the evidence of gaps, which are open.

Invariants
1. A gap is told where a segment fares worse than the rest by more than the policy allows, *and* worse than is usual
   for it by as much: honest customers of a segment with more fraud are stopped more often, and that is no news.
2. What is usual is of before: it is taken over `reference_days`, and then stands. It is renewed every RENEWAL_DAYS and
   rises by a tenth at most, so what grows slowly is not slowly taken for usual. A new version inherits it. Of a segment
   that the policy declares later it is taken over as many days from then on.
3. False stops have no such excuse: they are compared with the rest alone.
4. No gap that one account can make is a gap (`_account_slack`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.bias.counting import Column, Counted
from pipeline.bias.evidence import DISPERSION, PARTS, STEPS, alert_nats
from pipeline.bias.settings import BiasSettings
from pipeline.bias.smallest import RATIO_MAX, Sample, ratio_interval

Numbers = NDArray[np.float64]


class Measure(IntEnum):
    """What is compared between a segment and the rest, each a share of the payments."""

    BLOCK = 0
    ESCALATE = 1
    STOP = 2  # not allowed: blocked or escalated
    FALSE_STOP = 3  # stopped, and known to be honest


MEASURES: Final = len(Measure)
OUTCOMES: Final = 3
"""The first measures, which have something usual."""
DAY: Final = 24 * 60
"""Minutes."""
COLD_RATIO: Final = 5.0
"""Ratio that is let pass in a deployment's first hours, while nothing is known of what is usual."""
COLD_MINUTES: Final = 120
RENEW_MINUTES: Final = 360
"""Between looks at what is usual while it is being taken; one takes some 50 ms."""
USUAL_RISK: Final = 0.01
"""Of the interval whose upper end is taken for usual: a segment of few events has a generous one."""
RENEWAL_DAYS: Final = 91
RENEWAL_RISE: Final = 1.1
"""Most by which what is usual rises in a quarter of a year."""
LONG_MINUTES: Final = 28 * DAY
"""Mean age of the traffic that false stops are compared by: labels and reviews come hours to weeks after payments."""
ACCOUNT_BURST: Final = 2
ACCOUNT_WINDOW_MINUTES: Final = 180
"""Of one account 2 payments count in any 3 hours (`AccountWeights`), 16 in a day."""
OVER_NATS: Final = 3.0
"""Evidence that a gap is over: ln 20."""
OVER_MINUTES: Final = 30
"""Least time that a gap stays open."""


class Gap(NamedTuple):
    """A gap that opened or ended. The counts are of the minutes since its evidence began."""

    scope: str
    measure: Measure
    opened_minute: int
    since_minute: int
    minute: int
    own: float
    own_events: float
    rest: float
    rest_events: float
    allowed_ratio: float

    @property
    def ratio(self) -> float:
        rest_rate = self.rest_events / self.rest if self.rest else 0.0
        own_rate = self.own_events / self.own if self.own else 0.0
        return min(RATIO_MAX, own_rate / rest_rate) if rest_rate else RATIO_MAX


class Turn(NamedTuple):
    """What a minute brought."""

    opened: list[Gap]
    ended: list[Gap]


@dataclass(slots=True)
class Standing:
    """Everything that the next minute is judged by. Rows are segments in the order of `scopes`."""

    scopes: tuple[str, ...]
    minute: int
    phase: int  # minutes of the reference's cycle
    cycle: int
    elapsed: float  # minutes, fading over a day
    bounds: Numbers  # (S, OUTCOMES): what is usual; nan where nothing is known
    reference: Numbers  # (S, 2, 4): payments and events of the three outcomes, of the segment and of its rest
    day: Numbers  # (S + 1, 5): payments and events of the four measures, fading over a day; the total first
    long: Numbers  # (S + 1,): payments, fading over LONG_MINUTES
    unwatched: Numbers  # (S,): those of the total from before the segment was watched, fading likewise
    learning: Numbers  # (S,): minutes for which what is usual of it has first been taken, or -1 once that stands
    sums: Numbers  # (S, MEASURES, STEPS)
    runs: Numbers  # (S, MEASURES, 4): own, own events, rest, rest events since the evidence began
    run_since: Numbers  # (S, MEASURES)
    opened: Numbers  # (S, MEASURES): the minute, or -1
    over: Numbers  # (S, MEASURES)


def begun(scopes: Sequence[str], minute: int) -> Standing:
    """Return a watch that knows nothing yet."""
    count = len(scopes)
    pairs = (count, MEASURES)
    return Standing(
        tuple(scopes), minute, 0, 0, 0.0,
        np.full((count, OUTCOMES), np.nan),
        np.zeros((count, 2, 1 + OUTCOMES)),
        np.zeros((count + 1, 1 + MEASURES)),
        np.zeros(count + 1), np.zeros(count), np.zeros(count),
        np.zeros((*pairs, len(STEPS))), np.zeros((*pairs, 4)), np.zeros(pairs), np.full(pairs, -1.0), np.zeros(pairs),
    )  # fmt: skip


def resumed(standing: Standing, scopes: Sequence[str]) -> Standing:
    """Return the watch for the scopes that the policy declares now; those that are new know nothing yet.

    A segment with an open gap is watched until that is over, whatever the policy declares: leaving it out would end
    nothing, and hide that it goes on.
    """
    is_open = np.asarray((standing.opened >= 0).any(axis=1)).tolist()
    kept = [scope for scope, stays in zip(standing.scopes, is_open, strict=True) if stays and scope not in scopes]
    scopes = (*scopes, *kept)
    if standing.scopes == scopes:
        return standing
    after = begun(scopes, standing.minute)
    after.phase, after.cycle, after.elapsed = standing.phase, standing.cycle, standing.elapsed
    after.day[0], after.long[0] = standing.day[0], standing.long[0]
    row_of = {scope: row for row, scope in enumerate(standing.scopes)}
    for row, scope in enumerate(scopes):
        if (before := row_of.get(scope)) is None:
            after.unwatched[row] = standing.long[0]
            continue
        for name in _ROWS:
            getattr(after, name)[row] = getattr(standing, name)[before]
        after.day[row + 1], after.long[row + 1] = standing.day[before + 1], standing.long[before + 1]
    return after


def step(standing: Standing, minute: int, counts: Counted, settings: BiasSettings) -> Turn:
    """Judge one minute, and change `standing` to what the next one is judged by.

    counts: rows are the total and then the scopes, columns are Column's. minute: since 1970, above the last one.
    """
    events = _events(counts)
    own, rest = events[1:], events[:1] - events[1:]
    exposed_own, exposed_rest = _exposures(standing, own, rest)
    ratios = _edges(standing, settings)
    needed = alert_nats(settings.year_risk_percent, len(standing.scopes), MEASURES)
    added = _added(own[:, 1:], rest[:, 1:], exposed_own, exposed_rest, ratios)
    standing.sums = np.maximum(0.0, standing.sums + np.minimum(added, needed / PARTS))
    _run(standing, minute, np.stack([exposed_own, own[:, 1:], exposed_rest, rest[:, 1:]], axis=2))
    turn = Turn(*_told(standing, minute, ratios, needed, own, rest, exposed_own, exposed_rest))
    _remember(standing, minute, events)
    _refer(standing, events, settings)
    return turn


def open_now(standing: Standing, settings: BiasSettings) -> list[Gap]:
    """Return the gaps that are open, as they stand now."""
    ratios = _edges(standing, settings)
    found = np.argwhere(standing.opened >= 0)
    return [_gap(standing, row, measure, standing.minute, ratios) for row, measure in found]


def _events(counts: Counted) -> Numbers:
    """Payments, and events of the four measures."""
    blocked, escalated = counts[:, Column.BLOCKED], counts[:, Column.ESCALATED]
    columns = [counts[:, Column.PAYMENTS], blocked, escalated, blocked + escalated, counts[:, Column.FALSE_STOPS]]
    return np.stack(columns, axis=1).astype(np.float64)


def _exposures(standing: Standing, own: Numbers, rest: Numbers) -> tuple[Numbers, Numbers]:
    """The payments that each measure's events are of, the segment's and the rest's from the same time on.

    Only their proportion matters: four weeks of the rest beside an hour of a segment that is new would make a gap of
    any false stop.
    """
    exposed_own = np.repeat(own[:, :1], MEASURES, axis=1)
    exposed_rest = np.repeat(rest[:, :1], MEASURES, axis=1)
    exposed_own[:, Measure.FALSE_STOP] = standing.long[1:]
    exposed_rest[:, Measure.FALSE_STOP] = np.maximum(0.0, standing.long[0] - standing.unwatched - standing.long[1:])
    return exposed_own, exposed_rest


def _edges(standing: Standing, settings: BiasSettings) -> Numbers:
    """The ratio of rates up to which nothing is a gap, (S, MEASURES)."""
    allowed = 100 / settings.ratio_floor_percent
    edges = np.full((len(standing.scopes), MEASURES), allowed)
    bounds = standing.bounds
    edges[:, :OUTCOMES] = np.where(np.isnan(bounds), COLD_RATIO, np.fmax(1.0, bounds) * allowed)
    slack: Numbers = edges + _account_slack(standing)
    return slack


def _account_slack(standing: Standing) -> Numbers:
    """What one account adds to the ratio if all its payments are events: its payments over those of the segment that
    would be events at the rest's rate. Infinite where the segment had no payments yet."""
    account = ACCOUNT_BURST + ACCOUNT_BURST * standing.elapsed / ACCOUNT_WINDOW_MINUTES
    rest = standing.day[:1] - standing.day[1:]
    rate = (rest[:, 1:] + 0.5) / (rest[:, :1] + 1)
    with np.errstate(divide="ignore"):
        slack: Numbers = account / (standing.day[1:, :1] * rate)
    # The segment's false stops may all be one account's, too; at first there are none of anybody.
    return slack


def _added(own_events: Numbers, rest_events: Numbers, own: Numbers, rest: Numbers, ratios: Numbers) -> Numbers:
    """`evidence.minute_nats` of every segment, measure and alternative."""
    steps = np.array(STEPS)
    is_judged = (own > 0) & (rest > 0) & np.isfinite(ratios)
    usual = np.where(is_judged, own * np.where(is_judged, ratios, 1.0), 1.0)[..., None]
    others = np.where(is_judged, rest, 1.0)[..., None]
    against = np.log((usual + others) / (usual * steps + others))
    toward = np.log(steps) + against
    nats = (own_events[..., None] * toward + rest_events[..., None] * against) / DISPERSION
    result: Numbers = np.where(is_judged[..., None], nats, 0.0)
    return result


def _run(standing: Standing, minute: int, seen: Numbers) -> None:
    is_idle = (standing.sums <= 0).all(axis=2) & (standing.opened < 0)
    starts = is_idle | (standing.run_since == 0)
    standing.runs = np.where(starts[..., None], 0.0, standing.runs + seen)
    standing.run_since = np.where(starts, minute + 1, standing.run_since)


def _told(
    standing: Standing,
    minute: int,
    ratios: Numbers,
    needed: float,
    own: Numbers,
    rest: Numbers,
    exposed_own: Numbers,
    exposed_rest: Numbers,
) -> tuple[list[Gap], list[Gap]]:
    opened, ended = [], []
    for row, measure in np.argwhere((standing.opened < 0) & (standing.sums.max(axis=2) >= needed)):
        standing.opened[row, measure] = minute
        standing.over[row, measure] = 0.0
        opened.append(_gap(standing, row, measure, minute, ratios))
    open_ones = np.argwhere(standing.opened >= 0)
    for row, measure in open_ones:
        edge = ratios[row, measure]
        usual = _usual(standing, row, measure)
        payments, others = exposed_own[row, measure], exposed_rest[row, measure]
        if payments > 0 and others > 0 and np.isfinite(edge) and usual < edge:
            against = np.log((payments * edge + others) / (payments * usual + others))
            toward = np.log(usual / edge) + against
            nats = (own[row, measure + 1] * toward + rest[row, measure + 1] * against) / DISPERSION
            standing.over[row, measure] = max(0.0, standing.over[row, measure] + nats)
        long_enough = minute - standing.opened[row, measure] >= OVER_MINUTES
        if long_enough and standing.over[row, measure] >= OVER_NATS:
            ended.append(_gap(standing, row, measure, minute, ratios))
            standing.opened[row, measure], standing.sums[row, measure] = -1.0, 0.0
            standing.runs[row, measure], standing.run_since[row, measure] = 0.0, minute + 1
    return opened, ended


def _usual(standing: Standing, row: int, measure: int) -> float:
    if measure >= OUTCOMES or np.isnan(standing.bounds[row, measure]):
        return 1.0
    return max(1.0, float(standing.bounds[row, measure]))


def _gap(standing: Standing, row: int, measure: int, minute: int, ratios: Numbers) -> Gap:
    since = int(standing.run_since[row, measure])
    opened, scope = int(standing.opened[row, measure]), standing.scopes[row]
    own, own_events, rest, rest_events = (float(each) for each in standing.runs[row, measure])
    allowed = float(ratios[row, measure])
    return Gap(scope, Measure(measure), opened, since, minute, own, own_events, rest, rest_events, allowed)


def _remember(standing: Standing, minute: int, events: Numbers) -> None:
    standing.minute = minute
    standing.elapsed = standing.elapsed * (1 - 1 / DAY) + 1
    standing.day = standing.day * (1 - 1 / DAY) + events
    standing.long = standing.long * (1 - 1 / LONG_MINUTES) + events[:, 0]
    standing.unwatched = standing.unwatched * (1 - 1 / LONG_MINUTES)


def _refer(standing: Standing, events: Numbers, settings: BiasSettings) -> None:
    """Take a judged minute into what is usual, but for segments with an open gap.

    Where nothing is usual yet, such a gap is all that there is to go by: what a deployment begins with is usual, and
    the false stops judge it.
    """
    reference_minutes = settings.reference_days * DAY
    events = events[:, : 1 + OUTCOMES]
    is_learning = standing.learning >= 0
    is_new = np.any(np.isnan(standing.bounds), axis=1)
    is_open = np.any(standing.opened[:, :OUTCOMES] >= 0, axis=1)
    is_taken = (is_learning | (standing.phase < reference_minutes)) & (is_new | ~is_open)
    standing.reference[is_taken, 0] += events[1:][is_taken]
    standing.reference[is_taken, 1] += (events[:1] - events[1:])[is_taken]
    standing.phase += 1
    standing.learning[is_learning] += 1
    learned = standing.learning
    is_learned = learned >= reference_minutes
    is_due = is_learning & ((learned == COLD_MINUTES) | (learned % RENEW_MINUTES == 0) | is_learned)
    for row in np.flatnonzero(is_due | (~is_learning & (standing.phase == reference_minutes))).tolist():
        _renew(standing, row, is_first=bool(is_learning[row]))
    learned[is_learned] = -1
    if standing.phase >= max(RENEWAL_DAYS * DAY, reference_minutes + 1):
        standing.phase, standing.cycle = 0, standing.cycle + 1
        standing.reference[learned < 0] = 0.0


def _renew(standing: Standing, row: int, *, is_first: bool) -> None:
    own, rest = standing.reference[row]
    for measure in range(OUTCOMES):
        sample = Sample(int(own[0]), int(own[1 + measure]), int(rest[0]), int(rest[1 + measure]))
        high = ratio_interval(sample, USUAL_RISK)[1]
        before = standing.bounds[row, measure]
        if not is_first and not np.isnan(before):
            high = min(high, before * RENEWAL_RISE)
        standing.bounds[row, measure] = high


_ROWS: Final = ("bounds", "reference", "unwatched", "learning", "sums", "runs", "run_since", "opened", "over")
_ARRAYS: Final = (*_ROWS, "day", "long")
_DIGITS: Final = 6


def standing_json(standing: Standing) -> dict[str, object]:
    """Return a watch as JSON's values; numbers keep six digits after the point, and what is not known is null."""
    arrays = {name: _plain(np.round(getattr(standing, name), _DIGITS).tolist()) for name in _ARRAYS}
    scalars = {"minute": standing.minute, "phase": standing.phase, "cycle": standing.cycle}
    return {"scopes": list(standing.scopes), **scalars, "elapsed": standing.elapsed, **arrays}


def standing_of(stored: Mapping[str, object]) -> Standing:
    """Return the watch of its JSON. Raises ValueError where the shapes are not those of its scopes."""
    scopes = stored["scopes"]
    if not isinstance(scopes, list):
        raise ValueError("scopes is no list")
    fresh = begun([str(scope) for scope in scopes], _whole(stored["minute"]))
    fresh.phase, fresh.cycle = _whole(stored["phase"]), _whole(stored["cycle"])
    elapsed = stored["elapsed"]
    if not isinstance(elapsed, (int, float)):
        raise ValueError("elapsed is no number")
    fresh.elapsed = float(elapsed)
    for name in _ARRAYS:
        if name in ("unwatched", "learning") and name not in stored:
            continue  # a state of before they were kept
        array = np.array(stored[name], dtype=np.float64)  # null is nan
        if array.shape != getattr(fresh, name).shape:
            raise ValueError(f"{name} has another shape")
        setattr(fresh, name, array)
    if "learning" not in stored:
        is_known = ~np.isnan(fresh.bounds).any(axis=1)
        fresh.learning = np.where(is_known, fresh.phase if fresh.cycle == 0 else -1.0, 0.0)
    return fresh


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("a count is no integer")
    return value


def _plain(value: object) -> object:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if value != value else value
