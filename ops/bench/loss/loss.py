"""Nothing lost, nothing twice, nothing too permissive: faults on the real stack under continuous traffic.

After each fault the traffic pauses until everything is committed, and the independent checker reads the new records; at
the end another checker reads everything from the beginning. Recovery is measured from the fault until a read_committed
reader has decisions that were made after it. Workers have a keeper (`fraud worker run --keep`), which replaces one that
is killed. In a cold start the keeper is killed too, and starting Python is part of the recovery.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from ops.bench.loss.breaker_causes import breaker_causes
from ops.bench.loss.checker import Checker, Report
from ops.bench.loss.faults import faults
from ops.bench.loss.rig import Rig, open_rig
from ops.bench.rig.feeder import Recovery
from pipeline.io.settings import Settings

SEED: Final = 20_261
RATE_PER_S: Final = 300
GOAL_S: Final = {"restart": 3.0, "step": 3.0, "takeover": 15.0}


class Struck(NamedTuple):
    name: str
    group: str
    recovery: Recovery | None
    violations: int  # violations that the check after this fault found
    ended: Counter[str]  # reasons why workers ended meanwhile that nobody had killed


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    with open_rig(folder, rate_per_s=RATE_PER_S, seed=SEED) as rig:
        struck = _strike_all(say, rig, is_quick=is_quick)
        published = rig.feeder.stop()
        say(f"checking all {published:,} records from the beginning")
        report = _whole_check(rig)
        gave_up = rig.keepers.restarts
        causes = breaker_causes(rig.stack.bootstrap_servers)
    recovery = {group: _recovery(struck, group) for group in dict.fromkeys(each.group for each in struck)}
    is_fast = all(recovery[group]["all_partitions_s_max"] <= goal for group, goal in GOAL_S.items())
    return {
        "ok": report.is_whole and not any(each.violations for each in struck),
        "published": published,
        "faults": len(struck),
        "checks": len(struck) + 1,
        **report.as_json(),
        "breaker_transitions": causes,
        "workers_that_ended_by_themselves": _ended_by_group(struck),
        "keepers_that_gave_up": gave_up,
        "brokers_whose_coordinator_was_lost": rig.coordinators_lost,
        "recovery": recovery,
        "goal_s": GOAL_S,
        "reached": is_fast,
        "each": [_line(each) for each in struck],
    }


def _strike_all(say: Callable[[str], None], rig: Rig, *, is_quick: bool) -> list[Struck]:
    struck = []
    before = rig.settle()
    assert before.is_whole, f"violations before any fault: {before.as_json()}"
    for fault in faults(SEED, is_quick=is_quick):
        ended_before = rig.ended_by_themselves()
        recovery = fault.strike(rig)
        report = rig.settle()
        ended = rig.ended_by_themselves() - ended_before
        struck.append(Struck(fault.name, fault.group, recovery, _new_violations(before, report), ended))
        say(_line(struck[-1]))
        for violation in report.first_violations[len(before.first_violations) :]:
            say(f"  {violation.finding} at {violation.position}: {violation.detail}")
        before = report
    return struck


def _new_violations(before: Report, after: Report) -> int:
    return sum(after.violations.values()) - sum(before.violations.values())


def _whole_check(rig: Rig) -> Report:
    checker = Checker(rig.stack.bootstrap_servers, "", [Settings().policy_path, rig.policy_path])
    return checker.check()


def _recovery(struck: list[Struck], group: str) -> dict[str, float]:
    recoveries = [each.recovery for each in struck if each.group == group and each.recovery is not None]
    if not recoveries:
        return {}
    return {
        "faults": len(recoveries),
        "first_s_median": statistics.median(recovery.first_s for recovery in recoveries),
        "all_partitions_s_median": statistics.median(recovery.all_partitions_s for recovery in recoveries),
        "all_partitions_s_max": max(recovery.all_partitions_s for recovery in recoveries),
    }


def _ended_by_group(struck: list[Struck]) -> dict[str, dict[str, int]]:
    found: dict[str, Counter[str]] = {}
    for each in struck:
        if each.ended:
            found.setdefault(each.group, Counter()).update(each.ended)
    return {group: dict(ends) for group, ends in found.items()}


def _line(struck: Struck) -> str:
    recovery, violations = struck.recovery, struck.violations
    speed = "" if recovery is None else f" first {recovery.first_s:.2f} s, all {recovery.all_partitions_s:.2f} s,"
    ended = "".join(f"; {count} ended: {why}" for why, count in struck.ended.items())
    return f"{struck.name}:{speed} {violations or 'no'} violations{ended}"
