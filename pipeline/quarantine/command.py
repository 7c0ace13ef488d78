"""`fraud quarantine`. Each command imports what it needs when it is called."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment, wire_format
from pipeline.terminal.options import Json, Limit, Reason
from pipeline.terminal.output import Output

quarantine_app = typer.Typer()

Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="decisions.v1 or transactions.dead.v1.")]
Partition = Annotated[int, typer.Argument(metavar="PARTITION", min=0, help="As the service's log names it.")]
Offset = Annotated[int, typer.Argument(metavar="OFFSET", min=0, help="As the service's log names it.")]


@quarantine_app.command("propose")
def propose(topic: Topic, partition: Partition, offset: Offset, reason: Reason, as_json: Json = False) -> None:
    """Propose to put aside a record that nothing can use.

    Another person confirms it within a day. What can be stored or executed is, whoever put it aside.
    """
    from pipeline.people.identity_command import identity_of
    from pipeline.quarantine.quarantine_command import propose as propose_record
    from pipeline.quarantine.quarantine_command import show_quarantine, what_it_is

    settings = settings_from_environment("rollback")
    by = identity_of(settings)
    output = Output(as_json=as_json)
    output.note(f"The record is {what_it_is(settings, wire_format(settings), topic, partition, offset)}.")
    show_quarantine(output, propose_record(settings, topic, partition, offset, by, reason))


@quarantine_app.command("confirm")
def confirm(
    quarantine_id: Annotated[str, typer.Argument(metavar="ID", help="The quarantine's id.")],
    as_json: Json = False,
) -> None:
    """Confirm a quarantine, as another person than its proposer. What stands behind the record goes on."""
    from pipeline.people.identity_command import identity_of
    from pipeline.quarantine.quarantine_command import confirm_as_proposed, show_quarantine

    settings = settings_from_environment("rollback")
    confirmed = confirm_as_proposed(settings, quarantine_id, identity_of(settings))
    show_quarantine(Output(as_json=as_json), confirmed)


@quarantine_app.command("list")
def list_quarantines(limit: Limit = 100, as_json: Json = False) -> None:
    """List what was proposed and put aside, the latest first."""
    from pipeline.quarantine.quarantine_command import quarantines, show_quarantine

    output = Output(as_json=as_json)
    for found in quarantines(settings_from_environment(), limit):
        show_quarantine(output, found)
    output.end_list("quarantines")
