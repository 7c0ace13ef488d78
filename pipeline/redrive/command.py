"""`fraud dead-letters redrive`. It imports what it needs when it is called."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline.domain.free_text import reason_fault
from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.failures import Failure
from pipeline.terminal.options import Json, utc_time
from pipeline.terminal.output import Output

dead_letters_app = typer.Typer()


@dead_letters_app.command("redrive")
def redrive(
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; it is kept with the record, if it isn't a dry run.")
    ] = "",
    code: Annotated[
        list[str] | None, typer.Option("--code", metavar="CODE", help="Select letters of this code; POISON without it.")
    ] = None,
    place: Annotated[
        list[str] | None,
        typer.Option("--place", metavar="PARTITION:OFFSET", help="Select the letter of this record."),
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(parser=utc_time, metavar="TIME", help="Select records from then on.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=utc_time, metavar="TIME", help="Select records before then.")
    ] = None,
    key_file: Annotated[
        Path | None, typer.Option("--open", metavar="KEYFILE", help="Open payloads with this key.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Decide again, once, what a fault of ours made a dead letter.

    The same payments go back to transactions.v1. What was decided, whenever, is left alone; after a failure or a kill,
    run it again. --code and --place may be given several times. Exit 1 when a letter could not be sent.
    """
    from pipeline.people.identity_command import identity_of
    from pipeline.redrive.redrive_command import Asked, show_redriven
    from pipeline.redrive.redrive_command import redrive as redriven_letters
    from pipeline.redrive.selection import UNSENT

    if not dry_run and reason_fault(reason) is not None:
        raise Failure("Say why, in words.", "Give --reason TEXT, or --dry-run.")
    settings = settings_from_environment("redrive")
    by = None if dry_run else identity_of(settings)
    asked = Asked(by, reason, code or (), place or (), since, until, key_file, dry_run)
    output, is_whole = Output(as_json=as_json), True
    for redriven in redriven_letters(settings, wire_format(settings), asked):
        show_redriven(output, redriven, is_dry=dry_run)
        is_whole &= redriven.fate not in UNSENT
    output.end_list("dead letters are like that")
    raise typer.Exit(0 if is_whole else 1)
