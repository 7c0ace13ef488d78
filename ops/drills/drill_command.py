"""What `fraud drill` does: each drill that is asked for, its report, and the exit code of the worst."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from ops.drills.command import EVERY, EXIT_CODES
from ops.drills.report import Report
from ops.drills.run import carry_out
from ops.drills.stage import EXECUTING, Asked
from pipeline.drills.consents import REFUSED_LIVE
from pipeline.drills.drills import DrillName, Verdict
from pipeline.people.identity_command import identity_of
from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output

SHORT_SECONDS: Final = 1_800
"""Seconds of traffic of a drill with short windows: many more than it takes, so that its five days don't pass
within seconds. One in full has as many as it may take (`patience`)."""
EXECUTING_SECONDS: Final = 900
"""The same of a drill that also pays: each account that may pay must be open before."""
_WORST_FIRST: Final = (Verdict.FAILED, Verdict.NOT_CARRIED_OUT, Verdict.PASSED)


def drill_and_show(name: str, directory: Path, *, rate: int, seed: int, is_full: bool, as_json: bool) -> int:
    """Carry out a drill, or all, show what each came to, and return the exit code."""
    deployment, output = settings_from_environment("drill"), Output(as_json=as_json)
    verdicts, unrecorded = [], ""
    for drill in drills_named(name):
        asked = Asked(drill, rate, seed, _seconds_max(drill), is_full)
        done = carry_out(asked, deployment, directory, _say(drill))
        verdicts.append(Verdict(done.report["verdict"]))
        head, *lines = told(done.report, done.written.path)
        output.record({**_shown(done.report), "report": str(done.written.path)}, head)
        for line in lines if not as_json else ():
            output.line(line)
        unrecorded = unrecorded or done.not_recorded
    if unrecorded:
        output.note(f"Not every drill is recorded, so the schedule does not know of it: {unrecorded}.")
    return exit_code_of(verdicts, is_recorded=not unrecorded)


def live_and_show(name: str, drill_id: str, directory: Path, *, as_json: bool) -> int:
    """Carry out a drill on the live breaker, show what it came to, and return the exit code. Raises Failure."""
    from ops.drills.live.live_report import carry_out_live
    from ops.drills.live.live_run import LiveAsked

    [drill] = drills_named(name) if name != EVERY else [None]
    if drill is None or drill in REFUSED_LIVE:
        why = "one is carried out at a time" if drill is None else REFUSED_LIVE[drill]
        raise Failure(
            f"Refused: {name} is never carried out on the live breaker: {why}.", "docs/drills.md says which are."
        )
    deployment, output = settings_from_environment("drill"), Output(as_json=as_json)
    done = carry_out_live(LiveAsked(drill, drill_id, identity_of(deployment)), deployment, directory, _say(drill))
    head, *lines = told(done.report, done.written.path)
    output.record({**_shown(done.report), "report": str(done.written.path)}, head)
    for line in lines if not as_json else ():
        output.line(line)
    if done.not_recorded:
        output.note(f"The drill is not recorded: {done.not_recorded}.")
    return exit_code_of([Verdict(done.report["verdict"])], is_recorded=not done.not_recorded)


def exit_code_of(verdicts: Iterable[Verdict], *, is_recorded: bool) -> int:
    """Return the exit code of the worst; a drill that is not recorded is as good as none."""
    came_to = {*verdicts} | (set() if is_recorded else {Verdict.NOT_CARRIED_OUT})
    return EXIT_CODES[next(verdict for verdict in _WORST_FIRST if verdict in came_to)]


def _seconds_max(drill: DrillName) -> int:
    return EXECUTING_SECONDS if drill in EXECUTING else SHORT_SECONDS


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
