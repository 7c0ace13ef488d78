"""`fraud drill` and `fraud drills`. They import what they need when they are called."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.drills.consents import OPEN_S_MAX, OPEN_S_MIN, SCOPES
from pipeline.drills.drills import DrillName, Verdict
from pipeline.terminal.options import Json, Limit, Reason, utc_time

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
    live: Annotated[
        str | None,
        typer.Option(
            "--live", metavar="ID", help="Open the live breaker for a while, as two people have consented to."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Let something go wrong in a lane of its own, measure what becomes of it, and write a signed report.

    With --live nothing goes wrong: the live breaker opens, and closes again by itself. It exits with 0 where the drill
    passed, 3 where it found a fault, and 2 where it could not be carried out.
    """
    from ops.drills.drill_command import drill_and_show, live_and_show

    if live is not None:
        raise typer.Exit(live_and_show(name, live, directory, as_json=as_json))
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


@drills_app.command("propose")
def propose(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(SCOPES)}.")],
    scope: Annotated[str, typer.Argument(metavar="SCOPE", help="One of all, model:VERSION, segment:NAME=VALUE.")],
    reason: Reason,
    open_s: Annotated[
        int, typer.Option("--open-seconds", min=OPEN_S_MIN, max=OPEN_S_MAX, help="How long the model stays out.")
    ] = 120,
    start: Annotated[
        datetime | None, typer.Option("--from", parser=utc_time, metavar="TIME", help="When it may begin; now. UTC.")
    ] = None,
    hours: Annotated[int, typer.Option(min=1, max=24, help="Within how many hours from then it may begin.")] = 4,
    pages: Annotated[
        str | None, typer.Option("--pages", metavar="SINKS", help="Whom it pages, where the routes can't be read here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Propose a drill on the live breaker. You sign it, as an OPERATOR; another one confirms it."""
    from ops.drills.live.consent_command import propose as propose_drill
    from ops.drills.live.consent_command import show_live_drill
    from pipeline.people.identity_command import identity_of
    from pipeline.terminal.configuration import settings_from_environment
    from pipeline.terminal.output import Output

    settings = settings_from_environment("oncall")
    from_ms = 0 if start is None else int(start.timestamp() * 1000)
    wanted = {"open_s": open_s, "from_ms": from_ms, "hours": hours}
    proposed = propose_drill(settings, identity_of(settings), name, scope, reason=reason, pages=pages, **wanted)
    show_live_drill(Output(as_json=as_json), proposed)


@drills_app.command("confirm")
def confirm(
    drill_id: Annotated[str, typer.Argument(metavar="ID", help="The live drill's id.")], as_json: Json = False
) -> None:
    """Confirm a live drill that another OPERATOR proposed."""
    from ops.drills.live.consent_command import confirm as confirm_drill
    from ops.drills.live.consent_command import show_live_drill
    from pipeline.people.identity_command import identity_of
    from pipeline.terminal.configuration import settings_from_environment
    from pipeline.terminal.output import Output

    settings = settings_from_environment("oncall")
    show_live_drill(Output(as_json=as_json), confirm_drill(settings, identity_of(settings), drill_id))


@drills_app.command("consents")
def consents(limit: Limit = 100, as_json: Json = False) -> None:
    """List live drills that were proposed, and what became of each."""
    from ops.drills.live.consent_command import show_live_drills
    from pipeline.terminal.configuration import settings_from_environment
    from pipeline.terminal.output import Output

    output = Output(as_json=as_json)
    show_live_drills(settings_from_environment(), limit, output)
    output.end_list("live drills")


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
