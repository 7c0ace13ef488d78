"""The breaker against simulated traffic: false trips a year, minutes to detect a fault, and each finding as a case.

The detectors are the breaker's own, over many lanes side by side (`lanes`); the cases run its own code one scope at a
time (`cases`). A lane is a month of one scope after eight days that are not judged. A lane that trips is at once CLOSED
again, so more false trips are counted than a breaker would make that stays open for a while.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np

from ops.bench.breaker.cases import CASES
from ops.bench.breaker.runs import Detection, FalseTrips, Kind, detection, false_trips, moments
from ops.bench.breaker.traffic import Fault, Profile
from pipeline.breaker import BreakerSettings
from pipeline.breaker.settings import breaker_settings_of
from pipeline.io.settings import Settings

SEED: Final = 20_261
MONTH_DAYS: Final = 30
YEARS: Final = 20
SEGMENTS: Final = 200
SEGMENT_WEEKS: Final = 8
BASE_SHARE: Final = 0.0245
PART: Final = 0.02
"""Share of the traffic of the postcode that goes wrong."""
GOALS_MIN: Final = {
    "x3 at 50/s": 3.0,
    "x2 at 50/s": 5.0,
    "x2 at 5/s": 15.0,
    "x3 at 50/s, first hour of a version": 3.0,
    "x2 at 50/s, first hour of a version": 5.0,
    "x2 at 5/s, first hour of a version": 15.0,
    "40 % of a postcode": 10.0,
}
FALSE_TRIPS_A_YEAR_MAX: Final = 1.0
TRIPS_A_DAY_MAX: Final = 2
Say = Callable[[str], None]


def run(say: Say, folder: Path, *, is_quick: bool) -> dict[str, object]:  # noqa: ARG001
    settings = breaker_settings_of(Settings.model_construct().policy_path.read_bytes())
    cases = {name: find() for name, find in CASES.items()}
    for name, case in cases.items():
        say(f"{name}: {'holds' if case.holds else 'FAILS'}: {case.told}")
    quiet = _false_trips(say, settings, is_quick=is_quick)
    found, elsewhere = _detections(say, settings, lanes=40 if is_quick else 400)
    a_year = sum(each.trips / each.years for each in quiet["scopes"].values()) + _a_year(quiet["segments"])
    ok = (
        all(case.holds for case in cases.values())
        and a_year <= FALSE_TRIPS_A_YEAR_MAX
        and max(each.most for group in quiet.values() for each in group.values()) <= TRIPS_A_DAY_MAX
        and all(found[name].p95_min <= goal for name, goal in GOALS_MIN.items())
        and elsewhere == 0
    )
    return {
        "ok": ok,
        "false_trips_a_year": round(a_year, 2),
        "false_trips": {group: {name: each._asdict() for name, each in runs.items()} for group, runs in quiet.items()},
        "minutes_to_detect": {name: each.as_json() for name, each in found.items()},
        "trips_elsewhere": elsewhere,
        "goal_p95_min": GOALS_MIN,
        "cases": {name: case._asdict() for name, case in cases.items()},
        "settings": {name: value for name, value in asdict(settings).items() if name != "segments"},
    }


def _a_year(group: dict[str, FalseTrips]) -> float:
    """Return the false trips a year of parts that are judged side by side: of all of them together."""
    return sum(each.trips for each in group.values()) / (SEGMENT_WEEKS * 7 / 365)


def _false_trips(say: Say, settings: BreakerSettings, *, is_quick: bool) -> dict[str, dict[str, FalseTrips]]:
    """Run 4 scopes for 20 years, the same on the Handbook's rhythm, and 200 segments for 8 weeks."""
    years = 1 if is_quick else YEARS
    lanes, most = years * 12, settings.account_window_max
    peaks = np.random.default_rng(SEED).uniform(5, 50, lanes)
    shares = np.full(lanes, BASE_SHARE)
    scopes = {
        "all": (1.0, Kind(is_service=True)),
        "model": (1.0, Kind()),
        "segment": (0.2, Kind(peers=SEGMENTS, is_part=True)),
        "channel": (0.5, Kind(peers=SEGMENTS, is_part=True)),
    }
    found: dict[str, dict[str, FalseTrips]] = {"scopes": {}, "handbook": {}, "segments": {}}
    for place, (name, (part, kind)) in enumerate(scopes.items()):
        for rhythm, is_handbook in (("scopes", False), ("handbook", True)):
            profile = Profile(peaks * part, shares, is_handbook=is_handbook, account_max=most)
            found[rhythm][name] = false_trips(settings, profile, kind, MONTH_DAYS, SEED + place)
            say(f"{years} years of {name}, {rhythm}: {found[rhythm][name]}")
    segments = 20 if is_quick else SEGMENTS
    rates = 50 / np.arange(2, segments + 2) / np.log(SEGMENTS)  # the largest has a twelfth of 50/s
    profile = Profile(rates, np.full(segments, BASE_SHARE), account_max=most)
    kind = Kind(peers=SEGMENTS, is_part=True)
    days = 7 if is_quick else SEGMENT_WEEKS * 7
    found["segments"][f"{segments} for {days} days"] = false_trips(settings, profile, kind, days, SEED + 9)
    say(f"segments: {found['segments']}")
    return found


def _detections(say: Say, settings: BreakerSettings, lanes: int) -> tuple[dict[str, Detection], int]:
    found: dict[str, Detection] = {}
    shares = np.full(lanes, BASE_SHARE)

    def measure(name: str, rate: float, fault: Fault, kind: Kind, **how: Any) -> None:
        profile = Profile(np.full(lanes, rate), shares, is_flat=True, account_max=settings.account_window_max)
        found[name] = detection(settings, profile, kind, fault, SEED + len(found), **how)
        say(f"{name}: {found[name].as_json()}")

    for rate, factor in ((50.0, 3), (50.0, 2), (5.0, 3), (5.0, 2)):
        fault = Fault(moments(lanes, int(rate) + factor), factor=factor)
        measure(f"x{factor} at {rate:.0f}/s", rate, fault, Kind())
        first = f"x{factor} at {rate:.0f}/s, first hour of a version"
        measure(first, rate, fault, Kind(judges_drift=False), is_new_version=True)
        measure(f"{first}, a day of history", rate, fault, Kind(is_seasonal=False), warm_days=1, is_new_version=True)
    fault = Fault(moments(lanes, 7), added=0.4)
    measure("40 % of a postcode", 50 * PART, fault, Kind(peers=SEGMENTS, is_part=True))
    # Until it is out of the loop there, the same blocks count everywhere; from then on they count there alone.
    minutes = np.minimum(found["40 % of a postcode"].p95_min, 60.0)
    spread = Fault(fault.from_s, added=0.4 * PART, until_s=fault.from_s + minutes * 60)
    elsewhere = 0
    for name, rate, kind in (
        ("model", 50.0, Kind()),
        ("age band", 10.0, Kind(peers=SEGMENTS, is_part=True)),
        ("channel", 25.0, Kind(peers=SEGMENTS, is_part=True)),
    ):
        measure(f"40 % of a postcode, seen in its {name}", rate, spread, kind)
        elsewhere += int(np.isfinite(found[f"40 % of a postcode, seen in its {name}"].minutes).sum())
    return found, elsewhere
