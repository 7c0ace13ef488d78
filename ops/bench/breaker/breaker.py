"""The breaker against simulated traffic: false trips a year, minutes to detect a fault, and each finding as a case.

The detectors are the breaker's own, over many lanes side by side (`lanes`); the cases run its own code one scope at a
time (`cases`, `thresholds`). A lane is a month of one scope after eight days that are not judged. A lane that trips is
at once CLOSED again, so more false trips are counted than a breaker would make that stays open for a while.

A full run takes longer than some machines are free. So its parts can be run one at a time and added up: `--size
years=0`, `weeks=0`, `lanes=0` and `harsh=0` each leave a part out, and another `--size seed=N` draws other traffic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np

from ops.bench.breaker.cases import CASES, Case
from ops.bench.breaker.runs import Detection, FalseTrips, Kind, Run, detection, false_trips, moments, warmed
from ops.bench.breaker.thresholds import CONDITIONS
from ops.bench.breaker.traffic import HARSH, MILD, Fault, Floats, Profile, World
from ops.bench.rig.evidence import Say
from pipeline.breaker import BreakerSettings
from pipeline.breaker.settings import breaker_settings_of
from pipeline.io.settings import Settings

SEED: Final = 20_261
MONTH_DAYS: Final = 30
YOUNG_DAYS: Final = 2
"""A new version is measured by fewer than three days of what others answered in these days of a deployment."""
SEGMENTS: Final = 200
SEGMENTS_QUICK: Final = 20
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
    "x3 at 50/s, first hour of a version, a day of history": 3.0,
    "x2 at 50/s, first hour of a version, a day of history": 5.0,
    "x2 at 5/s, first hour of a version, a day of history": 15.0,
    "40 % of a postcode": 10.0,
    "escalations x3 at 50/s": 3.0,
    "escalations x3 at 50/s, first hour of a version": 3.0,
    "escalations x3 at 50/s, first hour of a version, a day of history": 3.0,
}
FALSE_TRIPS_A_YEAR_MAX: Final = 1.0
TRIPS_A_DAY_MAX: Final = 2
SCOPES: Final = {
    "all": (1.0, Kind(is_service=True)),
    "model": (1.0, Kind()),
    "segment": (0.2, Kind(peers=SEGMENTS, is_part=True)),
    "channel": (0.5, Kind(peers=SEGMENTS, is_part=True)),
}
"""The four scopes: the share of the traffic that each has, and how it is judged."""


class Sizes(NamedTuple):
    """Years of the scopes, weeks of the segments, lanes of a fault, years of the model in the harsh world; 0 is none.

    seed: added to the seeds of all traffic.
    """

    years: int = 20
    weeks: int = 8
    lanes: int = 400
    harsh: int = 20
    seed: int = 0


QUICK: Final = Sizes(years=1, weeks=1, lanes=40, harsh=1)


class Quiet(NamedTuple):
    """False trips by rhythm and scope; each rhythm's scopes, and the segments, are judged side by side."""

    scopes: dict[str, FalseTrips]
    handbook: dict[str, FalseTrips]
    segments: dict[str, FalseTrips]
    harsh: dict[str, FalseTrips]
    young: dict[str, FalseTrips]

    def a_year(self) -> dict[str, float]:
        """Return the false trips a year of all scopes together and of all segments together."""
        found = {
            name: sum(each.trips / each.years for each in runs.values())
            for name, runs in (("scopes", self.scopes), ("handbook", self.handbook), ("harsh", self.harsh))
        }
        found["segments"] = sum(each.trips * 365 / each.days for each in self.segments.values())
        return {name: round(rate, 2) for name, rate in found.items()}

    def is_calm(self) -> bool:
        """The harsh world is not held to the goals, nor is a deployment's second and third day, which come but once."""
        a_year = self.a_year()
        judged = [*self.scopes.values(), *self.handbook.values(), *self.segments.values()]
        return (
            all(a_year[rhythm] + a_year["segments"] <= FALSE_TRIPS_A_YEAR_MAX for rhythm in ("scopes", "handbook"))
            and max((each.most for each in judged), default=0) <= TRIPS_A_DAY_MAX
        )


class Found(NamedTuple):
    """Minutes to detect by fault, and the trips where the wrong postcode isn't."""

    minutes: dict[str, Detection]
    elsewhere: int

    def is_prompt(self) -> bool:
        kept = [self.minutes[name].p95_min <= goal for name, goal in GOALS_MIN.items() if name in self.minutes]
        return all(kept) and self.elsewhere == 0


def run(
    say: Say,
    folder: Path,  # noqa: ARG001 - as other benches have it
    *,
    is_quick: bool,
    sizes: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, object]:
    """Measure. sizes: those of `Sizes` that differ from a full run's, or from a quick one's."""
    settings = breaker_settings_of(Settings.model_construct().policy_path.read_bytes())
    size = (QUICK if is_quick else Sizes())._replace(**sizes)
    cases = _cases(say)
    quiet = _false_trips(say, settings, size, SEGMENTS_QUICK if is_quick else SEGMENTS)
    found = _detections(say, settings, size) if size.lanes else Found({}, 0)
    return {
        "ok": all(case.holds for case in cases.values()) and quiet.is_calm() and found.is_prompt(),
        "sizes": size._asdict(),
        "false_trips_a_year": quiet.a_year(),
        "false_trips": {group: {name: each._asdict() for name, each in runs.items()}
                        for group, runs in quiet._asdict().items()},
        "minutes_to_detect": {name: each.as_json() for name, each in found.minutes.items()},
        "trips_elsewhere": found.elsewhere,
        "goal_p95_min": GOALS_MIN,
        "cases": {name: case._asdict() for name, case in cases.items()},
        "settings": {name: value for name, value in asdict(settings).items() if name != "segments"},
    }  # fmt: skip


def _cases(say: Say) -> dict[str, Case]:
    cases = {name: find() for name, find in {**CASES, **CONDITIONS}.items()}
    for name, case in cases.items():
        say(f"{name}: {'holds' if case.holds else 'FAILS'}: {case.told}")
    return cases


def _false_trips(say: Say, settings: BreakerSettings, size: Sizes, segments: int) -> Quiet:
    """Run 4 scopes for years, the same on the Handbook's rhythm, and the segments for weeks."""
    quiet = Quiet({}, {}, {}, {}, {})
    for place, (name, (part, kind)) in enumerate(SCOPES.items()):
        for rhythm, runs in (("daily cycle", quiet.scopes), ("Handbook's rhythm", quiet.handbook)):
            if size.years:
                peaks = _peaks(size.years, size.seed) * part
                profile = _profile(settings, peaks, is_handbook=runs is quiet.handbook)
                runs[name] = false_trips(settings, profile, kind, MONTH_DAYS, SEED + size.seed + place)
                say(f"{size.years} years of {name}, {rhythm}: {runs[name]}")
    if size.years:
        profile, kind = _profile(settings, _peaks(size.years, size.seed)), Kind(judges_drift=False)
        young = false_trips(settings, profile, kind, YOUNG_DAYS, SEED + size.seed + 5, warm_days=1)
        quiet.young["new version"] = young
        say(f"the {YOUNG_DAYS} days after the first of {12 * size.years} deployments, of a new version: {young}")
    if size.harsh:
        profile = _profile(settings, _peaks(size.harsh, size.seed), world=HARSH)
        quiet.harsh["model"] = false_trips(settings, profile, SCOPES["model"][1], MONTH_DAYS, SEED + size.seed + 1)
        say(f"{size.harsh} years of model in the harsh world: {quiet.harsh['model']}")
    if size.weeks:
        rates = 50 / np.arange(2, segments + 2) / np.log(SEGMENTS)  # the largest has a twelfth of 50/s
        kind = SCOPES["segment"][1]
        each = false_trips(settings, _profile(settings, rates), kind, size.weeks * 7, SEED + size.seed + 9)
        quiet.segments[f"{segments} for {size.weeks} weeks"] = each
        say(f"{segments} segments for {size.weeks} weeks: {each}")
    return quiet


def _peaks(years: int, seed: int) -> Floats:
    return np.random.default_rng(SEED + seed).uniform(5, 50, years * 12)


def _profile(
    settings: BreakerSettings,
    rates: Floats,
    *,
    is_flat: bool = False,
    is_handbook: bool = False,
    world: World = MILD,
) -> Profile:
    shares = np.full(len(rates), BASE_SHARE)
    return Profile(rates, shares, is_flat, is_handbook, settings.account_window_max, world)


def _detections(say: Say, settings: BreakerSettings, size: Sizes) -> Found:
    found: dict[str, Detection] = {}
    lanes, seed = size.lanes, SEED + size.seed

    def drawn() -> int:
        """Return how many faults in blocks there were: those in escalations draw nothing that others are drawn by."""
        return sum(not name.startswith("escalations") for name in found)

    def warm(rate: float, kind: Kind, **how: int) -> Run:
        return warmed(settings, _profile(settings, np.full(lanes, rate), is_flat=True), kind, seed + drawn(), **how)

    def measure(name: str, warm_run: Run, fault: Fault, *, is_new_version: bool = False) -> None:
        found[name] = detection(warm_run, fault, is_new_version=is_new_version)
        say(f"{name}: {found[name].as_json()}")

    for rate in (50.0, 5.0):
        usual, a_day = warm(rate, Kind()), warm(rate, Kind(judges_drift=False), days=1)
        for factor in (3, 2):
            since_s = moments(lanes, seed + int(rate) + factor)
            for of, fault in (
                ("", Fault(since_s, factor=factor)),
                ("escalations ", Fault(since_s, doubt_factor=factor)),
            ):
                name = f"{of}x{factor} at {rate:.0f}/s"
                measure(name, usual, fault)
                measure(f"{name}, first hour of a version", usual, fault, is_new_version=True)
                measure(f"{name}, first hour of a version, a day of history", a_day, fault, is_new_version=True)
    fault = Fault(moments(lanes, seed + 7), added=0.4)
    postcode = "40 % of a postcode"
    measure(postcode, warm(50 * PART, SCOPES["segment"][1]), fault)
    # Until it is out of the loop there, the same blocks count everywhere; from then on they count there alone.
    minutes = np.minimum(found[postcode].p95_min, 60.0)
    spread = Fault(fault.from_s, added=0.4 * PART, until_s=fault.from_s + minutes * 60)
    elsewhere = 0
    for name, rate, kind in (
        ("model", 50.0, SCOPES["model"][1]),
        ("age band", 10.0, SCOPES["segment"][1]),
        ("channel", 25.0, SCOPES["channel"][1]),
    ):
        measure(f"{postcode}, seen in its {name}", warm(rate, kind), spread)
        elsewhere += int(np.isfinite(found[f"{postcode}, seen in its {name}"].minutes).sum())
    return Found(found, elsewhere)
