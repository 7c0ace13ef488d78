"""`fraud drill` and `fraud drills`. They import what they need when they are called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.drills.drills import DrillName, Verdict
from pipeline.terminal.options import Json

FAILED_DRILL: Final = 3
"""Exit code for a drill that found a fault."""
NOT_CARRIED_OUT: Final = 2
"""Exit code for a drill that shows nothing: it could not be carried out."""
EVERY: Final = "all"
drills_app = typer.Typer()
EXIT_CODES: Final = {Verdict.PASSED: 0, Verdict.FAILED: FAILED_DRILL, Verdict.NOT_CARRIED_OUT: NOT_CARRIED_OUT}


def drill(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help=f"One of {', '.join(DrillName)}; or all of them: {EVERY}.")
    ],
    directory: Annotated[Path, typer.Option(metavar="FOLDER", help="Where reports and lanes go.")] = Path("var/drills"),
    rate: Annotated[int, typer.Option(min=50, max=1000, help="Payments a second in the lane.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Make the same traffic for the same seed.")] = 7,
    short: Annotated[
        bool, typer.Option("--short", help="Shorten the breaker's windows. It counts as a rehearsal only.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Let something go wrong in a lane of its own, measure what becomes of it, and write a signed report.

    It exits with 0 where the drill passed, 3 where it found a fault, and 2 where it could not be carried out.
    """
    from ops.drills.drill_command import drill_and_show

    raise typer.Exit(drill_and_show(name, directory, rate=rate, seed=seed, is_full=not short, as_json=as_json))


@drills_app.command("list")
def list_drills(as_json: Json = False) -> None:
    """Say when each drill was last carried out, and is due.

    And what it came to. One that was only rehearsed, or never carried out, is overdue.
    """
    from ops.drills.records_command import show_schedule
    from pipeline.terminal.configuration import settings_from_environment
    from pipeline.terminal.output import Output

    show_schedule(settings_from_environment(), Output(as_json=as_json))


@drills_app.command("verify")
def verify(
    report: Annotated[Path, typer.Argument(metavar="REPORT", help="The JSON report of a drill.")],
    key_set: Annotated[Path, typer.Option("--key-set", metavar="FILE", help="The key set that it must be signed by.")],
    as_json: Json = False,
) -> None:
    """Prove that a trusted key has signed a report.

    It exits with 1 where that isn't proved.
    """
    from ops.drills.records_command import show_verified
    from pipeline.terminal.output import Output

    raise typer.Exit(0 if show_verified(report, key_set, Output(as_json=as_json)) else 1)
