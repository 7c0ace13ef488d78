"""`fraud people`. Each command imports what it needs when it is called."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.people.roles import Role
from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.options import By, Json
from pipeline.terminal.output import Output

people_app = typer.Typer()

Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose role it is.")]
RoleName = Annotated[Role, typer.Argument(help="What they may do.")]


@people_app.command("grant")
def grant(name: Name, role: RoleName, by: By, as_json: Json = False) -> None:
    """Give somebody a role, as the database's owner. The first ADMIN names themselves; then ADMINs grant."""
    _change(name, role, by, Output(as_json=as_json), is_held=True)


@people_app.command("revoke")
def revoke(name: Name, role: RoleName, by: By, as_json: Json = False) -> None:
    """Take a role back."""
    _change(name, role, by, Output(as_json=as_json), is_held=False)


@people_app.command("list")
def list_grants(as_json: Json = False) -> None:
    """List every grant and revocation, in order."""
    from pipeline.people.grants_command import grants, show_grant

    output = Output(as_json=as_json)
    for granted in grants(settings_from_environment()):
        show_grant(output, granted)
    output.end_list("grants")


def _change(name: str, role: RoleName, by: str, output: Output, *, is_held: bool) -> None:
    from pipeline.people import grants_command

    grants_command.change(settings_from_environment("migrate"), name, role, by, is_held=is_held)
    grants_command.show_change(output, name, role, by, is_held=is_held)
