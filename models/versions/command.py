"""`fraud models`: the registry. Each command imports what it needs when it is called."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.options import Json, Reason
from pipeline.terminal.output import Output

models_app = typer.Typer()

Version = Annotated[str, typer.Argument(metavar="VERSION", help="A version of the registry.")]


class ApprovingRole(StrEnum):
    RISK = "RISK"
    COMPLIANCE = "COMPLIANCE"
    ENGINEERING = "ENGINEERING"


@models_app.command("list")
def list_versions(as_json: Json = False) -> None:
    """List the versions, and how each stands."""
    from models.versions.listing_command import facts_of_all, show_facts

    output = Output(as_json=as_json)
    for facts in facts_of_all(settings_from_environment()):
        show_facts(output, facts)
    output.end_list("versions")


@models_app.command("show")
def show_version(version: Version, as_json: Json = False) -> None:
    """Show a version's origin, signature and history."""
    from models.versions.listing_command import show_whole

    show_whole(Output(as_json=as_json), settings_from_environment(), version)


@models_app.command("verify")
def verify_versions(
    version: Annotated[str | None, typer.Argument(metavar="VERSION", help="One version; else all there is.")] = None,
    as_json: Json = False,
) -> None:
    """Verify every byte, signature and chain. Exit 1 where one is not good."""
    from models.versions.verify_command import show_verified, verified

    found = verified(settings_from_environment(), version)
    show_verified(Output(as_json=as_json), found)
    raise typer.Exit(1 if any(each.fault is not None for each in found) else 0)


@models_app.command("approve")
def approve_version(
    version: Version,
    role: Annotated[ApprovingRole, typer.Option("--role", help="The role that you approve it in.")],
    answer: Annotated[
        str, typer.Option("--answer", metavar="TEXT", help="Say why checks that failed don't stand against it.")
    ] = "",
    as_json: Json = False,
) -> None:
    """Sign a version's digest as yourself.

    Three people of three roles do, before it can be champion. What they sign names the evidence that there is, the
    failed runs too, and the policy.
    """
    from models.versions.act_command import approve, show_approved
    from pipeline.people.roles import Role

    show_approved(Output(as_json=as_json), approve(settings_from_environment(), version, Role(role.value), answer))


@models_app.command("retire")
def retire_version(version: Version, reason: Reason, as_json: Json = False) -> None:
    """Retire a version. No alias names it again, and its files stay."""
    from models.versions.act_command import retire, show_event

    show_event(Output(as_json=as_json), retire(settings_from_environment(), version, reason))


@models_app.command("begin")
def begin_registry(version: Version, reason: Reason, as_json: Json = False) -> None:
    """Name the first champion of a registry. Three people have approved it."""
    from models.versions.act_command import begin, show_event

    show_event(Output(as_json=as_json), begin(settings_from_environment(), version, reason))


@models_app.command("confirm")
def confirm_champion(reason: Reason, as_json: Json = False) -> None:
    """Sign the champion's record anew. It is needed after a key was revoked."""
    from models.versions.act_command import confirm, show_event

    show_event(Output(as_json=as_json), confirm(settings_from_environment(), reason))
