"""What `fraud drill` does: each drill that is asked for, its report, and the exit code of the worst."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ops.drills.command import EVERY, EXIT_CODES
from ops.drills.report import Report
from ops.drills.run import carry_out
from ops.drills.stage import Asked
from pipeline.drills.drills import DrillName, Verdict
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output

SHORT_SECONDS: Final = 240
"""Most seconds of traffic of a drill with short windows."""
FULL_SECONDS: Final = 3_600
_WORST_FIRST: Final = (Verdict.FAILED, Verdict.NOT_CARRIED_OUT, Verdict.PASSED)


def drill_and_show(name: str, directory: Path, *, rate: int, seed: int, is_full: bool, as_json: bool) -> int:
    """Carry out a drill, or all, show what each came to, and return the exit code."""
    deployment, output = Settings(), Output(as_json=as_json)
    seconds_max = FULL_SECONDS if is_full else SHORT_SECONDS
    verdicts, unrecorded = [], ""
    for drill in drills_named(name):
        done = carry_out(Asked(drill, rate, seed, seconds_max, is_full), deployment, directory, _say(drill))
        verdicts.append(Verdict(done.report["verdict"]))
        head, *lines = told(done.report, done.written.path)
        output.record({**_shown(done.report), "report": str(done.written.path)}, head)
        for line in lines if not as_json else ():
            output.line(line)
        unrecorded = unrecorded or done.not_recorded
    worst = next(verdict for verdict in _WORST_FIRST if verdict in verdicts)
    if unrecorded:
        output.note(f"Not every drill is recorded, so the schedule does not know of it: {unrecorded}.")
        worst = max(worst, Verdict.NOT_CARRIED_OUT, key=lambda each: -_WORST_FIRST.index(each))
    return EXIT_CODES[worst]


def drills_named(name: str) -> list[DrillName]:
    """Raises Failure."""
    if name == EVERY:
        return list(DrillName)
    if name not in set(DrillName):
        raise Failure(f"There is no drill {name[:60]!r}.", f"Those that there are: {', '.join(DrillName)}; {EVERY}.")
    return [DrillName(name)]


def _say(drill: DrillName) -> Callable[[str], None]:
    def say(sentence: str) -> None:
        print(f"{drill}: {sentence}", file=sys.stderr, flush=True)

    return say


def _shown(report: Report) -> Report:
    """Return what a line of --json holds: all but the course, which stands in the report's file."""
    return {name: value for name, value in report.items() if name not in ("samples", "moments")}


def told(report: Report, path: Path) -> list[str]:
    """Return the lines that tell people what a drill came to."""
    lines = [f"{report['drill']}: {report['verdict']}{_because(report)}"]
    for finding in report["findings"]:
        met = "met" if finding["is_met"] else f"NOT MET: {finding['why']}"
        figure, limit = _figure(finding["figure"]), _figure(finding["objective"])
        lines.append(f"  {finding['measure']:<13} {figure}, of at most {limit}: {met}")
    lines += [f"  fault: {fault}" for fault in report["faults"]]
    return [*lines, f"  report: {path}"]


def _because(report: Report) -> str:
    return f": {report['why']}" if report["why"] else ""


def _figure(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{currency} {amount:,}" for currency, amount in value.items()) or "nothing"
    return f"{value:,}"
