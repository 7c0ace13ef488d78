"""`fraud verify`. It imports what it needs when it is called."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.failures import Failure
from pipeline.terminal.options import Account, Json
from pipeline.terminal.output import Output, progress


def verify(
    wanted: Annotated[
        str | None, typer.Argument(metavar="ID", help="A decision's id, or a transaction's.", show_default=False)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Verify all of decisions.v1.")] = False,
    partition: Annotated[int | None, typer.Option(min=0, help="Verify one partition of decisions.v1.")] = None,
    begin: Annotated[int | None, typer.Option("--from", min=0, help="The first offset in that partition.")] = None,
    end: Annotated[int | None, typer.Option("--to", min=0, help="The offset after the last.")] = None,
    account: Account = None,
    as_json: Json = False,
) -> None:
    """Decide again from the stored snapshot and compare the bytes. Exit 1 unless all are identical."""
    from pipeline.replay.verify_command import OffsetRange, show_checks, verify_one, verify_ranges

    if (wanted is not None) + every + (partition is not None) != 1:
        raise Failure("Say what to verify.", "Give one of: an ID, --all, --partition P [--from A] [--to B].")
    settings, output = settings_from_environment(), Output(as_json=as_json)
    if wanted is not None:
        is_sound = show_checks(output, verify_one(settings, wire_format(settings), wanted, account))
    else:
        ranges = None if partition is None else [OffsetRange(partition, begin, end)]
        with progress("deciding again", None) as advance:
            is_sound = show_checks(output, verify_ranges(settings, wire_format(settings), ranges, advance))
    raise typer.Exit(0 if is_sound else 1)
