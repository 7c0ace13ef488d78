"""`fraud models check`, `promote`, `rollout`, `rollback`. Each command imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.options import Json, Reason
from pipeline.terminal.output import Output

models_app = typer.Typer()

Version = Annotated[str, typer.Argument(metavar="VERSION", help="The version.", show_default=False)]


class RolloutAction(StrEnum):
    STATUS = "status"
    STEP = "step"


@models_app.command("check")
def check(
    version: Version,
    evidence: Annotated[bool, typer.Option("--evidence", help="File what was found, for the gate.")] = False,
    as_json: Json = False,
) -> None:
    """Make the checks that need no attack.

    They are golden vectors, latency, calibration and shadow. Exit 1 unless all pass. --evidence signs with the key of
    FRAUD_MODELS_KEY_FILE.
    """
    from pipeline.promotion.check_command import check_version

    settings = settings_from_environment("promotion")
    if not check_version(Output(as_json=as_json), settings, wire_format(settings), version, is_evidence=evidence):
        raise typer.Exit(1)


@models_app.command("promote")
def promote(version: Version, reason: Reason, as_json: Json = False) -> None:
    """Give a version its first share, or say why not.

    An OPERATOR does; the gate tells every reason at once.
    """
    from pipeline.people.identity_command import identity_of
    from pipeline.promotion.desk_command import promote_version

    settings = settings_from_environment("promotion")
    promote_version(Output(as_json=as_json), settings, wire_format(settings), identity_of(settings), version, reason)


@models_app.command("rollout")
def rollout(
    action: Annotated[
        RolloutAction, typer.Argument(metavar="ACTION", help="Look, or raise the share.")
    ] = RolloutAction.STATUS,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; needed to step.")] = "",
    transaction: Annotated[
        str | None, typer.Option("--transaction", metavar="ID", help="Say which model the share chooses for it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show how a rollout goes, or raise its share.

    `step` gives it the next share, as an OPERATOR, where nothing is against that.
    """
    from pipeline.people.identity_command import identity_of
    from pipeline.promotion.desk_command import show_status, step_on

    output, settings = Output(as_json=as_json), settings_from_environment("promotion")
    if action is RolloutAction.STEP:
        step_on(output, settings, wire_format(settings), identity_of(settings), reason)
    else:
        show_status(output, settings, wire_format(settings), transaction)


@models_app.command("rollback")
def rollback(
    reason: Reason,
    to: Annotated[
        str | None, typer.Option("--to", metavar="VERSION", help="A version that was champion; else the one before.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Put a version back that was champion.

    It decides from the next batch on; no gate is asked, but an OPERATOR does it. It opens an incident.
    """
    from pipeline.people.identity_command import identity_of
    from pipeline.promotion.desk_command import go_back

    settings = settings_from_environment("promotion")
    go_back(Output(as_json=as_json), settings, wire_format(settings), identity_of(settings), to, reason)
