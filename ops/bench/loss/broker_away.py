"""The broker away for 15 s, again and again, with two workers in full flow and a disk that is kept busy.

One stack serves all runs, so that a run costs little more than the outage. After each run the checker of `loss` reads
the new records. The bench ends with the first run after which decisions don't flow again everywhere, because its logs
are the evidence. `--size runs=N` sets how many are tried, `--size rate=N` the payments a second, and `--size busy=0`
leaves the disk alone.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from ops.bench.loss.faults import broker_away, ensure_second
from ops.bench.loss.rig import Rig, open_rig
from ops.bench.rig.busy_disk import busy_disk
from ops.bench.rig.feeder import Recovery

SEED: Final = 20_263
RATE_PER_S: Final = 300
RUNS: Final = 150
RUNS_QUICK: Final = 3
COORDINATORS_LOST_A_RUN: Final = 0.1
"""Brokers that may have to be started once more because their group coordinator got lost: three times as many as one in
30 starts, which is what was seen (see `Rig.start_broker`)."""


class Away(NamedTuple):
    """One run. recovery: None where some partition had no decision in the time that the rig waits."""

    recovery: Recovery | None
    violations: int
    failure: str = ""


def run(
    say: Callable[[str], None], folder: Path, *, is_quick: bool, sizes: Mapping[str, int] | None = None
) -> dict[str, object]:
    wanted = {"runs": RUNS_QUICK if is_quick else RUNS, "rate": RATE_PER_S, "busy": 1, **(sizes or {})}
    with (
        open_rig(folder, rate_per_s=wanted["rate"], seed=SEED) as rig,
        busy_disk(folder / "busy") if wanted["busy"] else contextlib.nullcontext(),
    ):
        rig.coordinators_lost_max += round(wanted["runs"] * COORDINATORS_LOST_A_RUN)
        ensure_second(rig)
        before = _violations(rig)
        runs = _runs(say, rig, wanted["runs"], before)
        ended, gave_up = rig.ended_by_themselves(), rig.keepers.restarts
    violations = before + sum(each.violations for each in runs)
    recoveries = [each.recovery.all_partitions_s for each in runs if each.recovery is not None]
    failures = [f"run {number}: {each.failure}" for number, each in enumerate(runs, start=1) if each.failure]
    return {
        "ok": not failures and not violations,
        "runs": len(runs),
        "failures": failures,
        "violations": violations,
        "all_partitions_s_median": statistics.median(recoveries) if recoveries else None,
        "all_partitions_s_max": max(recoveries, default=None),
        "workers_that_ended_by_themselves": dict(ended),
        "keepers_that_gave_up": gave_up,
        "brokers_whose_coordinator_was_lost": rig.coordinators_lost,
    }


def _runs(say: Callable[[str], None], rig: Rig, count: int, violations: int) -> list[Away]:
    """`violations`: those that were found before. End with the run after which decisions don't flow again."""
    runs: list[Away] = []
    while len(runs) < count and not (runs and runs[-1].failure):
        runs.append(_away(rig, violations))
        violations += runs[-1].violations
        say(f"broker away no. {len(runs)}: {_line(runs[-1])}")
    return runs


def _away(rig: Rig, violations_before: int) -> Away:
    recovery = None
    try:
        recovery = broker_away(rig)
        return Away(recovery, _violations(rig) - violations_before)
    except TimeoutError as error:
        return Away(recovery, 0, str(error))


def _violations(rig: Rig) -> int:
    return sum(rig.settle().violations.values())


def _line(away: Away) -> str:
    if away.recovery is None:
        return away.failure
    speed = f"first {away.recovery.first_s:.2f} s, all {away.recovery.all_partitions_s:.2f} s"
    return f"{speed}, {away.failure or away.violations or 'no'} violations"
