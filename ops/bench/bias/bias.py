"""The bias monitor against simulated traffic: false alerts in quiet years, minutes and days to find what is wrong.

The watch is the monitor's own (`pipeline.bias.watching`), minute by minute, with the shipped policy; the traffic is
simulated as counts (`traffic`), or payment by payment where accounts matter (`accounts`). A quiet year is one in which
no segment fares worse than the rest by what the policy lets pass.

A year takes some 10 minutes of one core. `--size days=0` and `--size starts=0` leave the quiet years and the faults
out, `--size seed=N` draws other traffic, and `--size years=N` quiet years one after the other.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

from ops.bench.bias.accounts import Found, crowded
from ops.bench.bias.traffic import MINUTES_A_DAY, Simulated, Wrong
from ops.bench.rig.evidence import Say
from pipeline.bias.settings import BiasSettings, bias_settings_of
from pipeline.bias.watching import Gap, Measure, Standing, begun, step
from pipeline.io.settings import Settings

SEED: Final = 20_261
FAULT_SHARE: Final = 0.4
FAULT_GOAL_MINUTES: Final = 10
SLOW_SHARE: Final = 0.05
SLOW_DAYS: Final = 28
"""The days over which the slow fault grows to SLOW_SHARE."""
SLOW_GOAL_DAYS: Final = 14
HONEST_RATIO: Final = 5.0
HONEST_DAYS: Final = 35
WARM_DAYS: Final = 3


class Sizes(NamedTuple):
    """days of a quiet year; years: how many; starts: hours of the day at which the fault begins; seed: added to all."""

    days: int = 366
    years: int = 1
    starts: int = 24
    seed: int = 0


QUICK: Final = Sizes(days=3, starts=4)


class Lane:
    """One deployment: its traffic, and the watch over it."""

    def __init__(self, seed: int, settings: BiasSettings) -> None:
        self.traffic, self._settings = Simulated(SEED + seed), settings
        self.standing: Standing = begun(self.traffic.scopes, 0)

    def minute(self, wrong: Wrong = Wrong()) -> list[Gap]:  # noqa: B008 - immutable
        return step(self.standing, self.standing.minute + 1, self.traffic.minute(wrong), self._settings).opened

    def pass_days(self, days: int) -> list[Gap]:
        return [gap for _ in range(days * MINUTES_A_DAY) for gap in self.minute()]


def run(
    say: Say,
    folder: Path,  # noqa: ARG001 - as other benches have it
    *,
    is_quick: bool,
    sizes: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, object]:
    """Measure. sizes: those of `Sizes` that differ from a full run's, or from a quick one's."""
    settings = bias_settings_of(Settings.model_construct().policy_path.read_bytes())
    size = (QUICK if is_quick else Sizes())._replace(**sizes)
    answer: dict[str, object] = {"days": size.days * size.years}
    oks = []
    if size.days:
        quiet = [_quiet(say, settings, size, year) for year in range(size.years)]
        answer["false_alerts"] = [f"{gap.scope} {gap.measure.name}" for gaps in quiet for gap in gaps]
        oks.append(not answer["false_alerts"])
    if size.starts:
        oks += _faults(say, settings, size, answer, is_quick=is_quick)
    return {**answer, "ok": all(oks)}


def _quiet(say: Say, settings: BiasSettings, size: Sizes, year: int) -> list[Gap]:
    lane, found = Lane(size.seed + year, settings), []
    for day in range(size.days):
        found += lane.pass_days(1)
        if day % 30 == 29:
            say(f"quiet year {year + 1}, day {day + 1}: {len(found)} false alerts")
    return found


def _faults(say: Say, settings: BiasSettings, size: Sizes, answer: dict[str, object], *, is_quick: bool) -> list[bool]:
    lane = Lane(size.seed + 100, settings)
    false = lane.pass_days(WARM_DAYS)
    minutes, elsewhere = _begun_by_hour(lane, size.starts)
    answer["minutes_to_alert"] = {"most": max(minutes), "each": minutes}
    say(f"{100 * FAULT_SHARE:.0f} % of a postcode: at most {max(minutes)} minutes of {len(minutes)} starts")
    cold = _first_minutes(settings, size.seed)
    answer["minutes_to_alert_in_the_first_hour"] = cold
    oks = [max(minutes) <= FAULT_GOAL_MINUTES, cold <= FAULT_GOAL_MINUTES, not false, not elsewhere]
    if not is_quick:
        answer["days_to_alert_slow"] = days = _slow(settings, size.seed)
        answer["honest_difference_alerts"] = honest = _honest(settings, size.seed)
        say(f"{100 * SLOW_SHARE:.0f} % over {SLOW_DAYS} days: {days} days; honest difference: {honest} alerts")
        oks += [days is not None and days <= SLOW_GOAL_DAYS, honest == 0]
    found = crowded(settings, is_quick=is_quick)
    answer["accounts"] = found._asdict()
    say(f"accounts: {found}")
    return [*oks, _is_just(found)]


def _is_just(found: Found) -> bool:
    return (
        found.heavy_alerts == 0
        and found.beside_heavy_minutes <= FAULT_GOAL_MINUTES
        and found.beside_flood_minutes <= FAULT_GOAL_MINUTES
        and found.scopes_made == 0
    )


def _begun_by_hour(lane: Lane, starts: int) -> tuple[list[int], int]:
    """Let the fault begin at hours of the day, each in a copy of the lane; and count alerts about anything else."""
    minutes, elsewhere = [], 0
    for _ in range(starts):
        for _ in range(MINUTES_A_DAY // starts):
            elsewhere += len(lane.minute())
        faulty = copy.deepcopy(lane)
        found, others = _minutes_to_alert(faulty, faulty.traffic.suspect)
        minutes.append(found)
        elsewhere += others
    return minutes, elsewhere


def _minutes_to_alert(lane: Lane, suspect: str, most: int = 60) -> tuple[int, int]:
    others = 0
    for minute in range(1, most + 1):
        opened = lane.minute(Wrong(FAULT_SHARE))
        others += sum(gap.scope != suspect for gap in opened)
        if any(gap.scope == suspect for gap in opened):
            return minute, others
    return most, others


def _first_minutes(settings: BiasSettings, seed: int) -> int:
    """In a deployment's first hour nothing is known of what is usual."""
    lane = Lane(seed + 200, settings)
    for _ in range(60):
        lane.minute()
    return _minutes_to_alert(lane, lane.traffic.suspect)[0]


def _slow(settings: BiasSettings, seed: int) -> float | None:
    """Days until a fault that grows from nothing is found; it begins while what is usual is still being taken."""
    lane = Lane(seed + 300, settings)
    lane.pass_days(WARM_DAYS)
    for minute in range(SLOW_DAYS * MINUTES_A_DAY):
        share = SLOW_SHARE * minute / (SLOW_DAYS * MINUTES_A_DAY)
        if any(gap.scope == lane.traffic.suspect for gap in lane.minute(Wrong(share))):
            return round(minute / MINUTES_A_DAY, 1)
    return None


def _honest(settings: BiasSettings, seed: int) -> int:
    """Alerts about a postcode with five times the fraud, all of whose additional stops are right."""
    lane = Lane(seed + 400, settings)
    scope = lane.traffic.differ(1, HONEST_RATIO)
    opened = lane.pass_days(HONEST_DAYS)
    return sum(gap.scope == scope and gap.measure is not Measure.FALSE_STOP for gap in opened) + sum(
        gap.measure is Measure.FALSE_STOP for gap in opened
    )
