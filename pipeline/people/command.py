"""`fraud people`. Each command imports what it needs when it is called."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.people.roles import Role
from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.options import Json, Reason
from pipeline.terminal.output import Output

people_app = typer.Typer()

Name = Annotated[str, typer.Argument(metavar="NAME", help="Whose role or key it is.")]
RoleName = Annotated[Role, typer.Argument(metavar="ROLE", help="What they may do.")]
KeyText = Annotated[str, typer.Argument(metavar="KEY", help="What `fraud people create-key` printed for them.")]


@people_app.command("create-key")
def create_key(
    name: Name, file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")], as_json: Json = False
) -> None:
    """Create a personal key, sealed with a passphrase. It prints what an ADMIN registers."""
    from pipeline.people.key_command import create_key as created
    from pipeline.people.key_command import show_created

    show_created(Output(as_json=as_json), name, file, created(settings_from_environment(), name, file))


@people_app.command("first-admin")
def first_admin(as_json: Json = False) -> None:
    """Make yourself the first ADMIN, as the database's owner. It is possible once; then ADMINs name others."""
    from pipeline.people.key_command import first_admin as named
    from pipeline.people.key_command import show_first_admin

    show_first_admin(Output(as_json=as_json), *named(settings_from_environment("migrate")))


@people_app.command("register-key")
def register_key(name: Name, key: KeyText, as_json: Json = False) -> None:
    """Register somebody's key, as an ADMIN."""
    from pipeline.people.key_command import register_key as registered
    from pipeline.people.key_command import show_registered

    show_registered(Output(as_json=as_json), name, registered(settings_from_environment("migrate"), name, key))


@people_app.command("revoke-key")
def revoke_key(
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", help="As `fraud people keys` shows it.")],
    reason: Reason,
    as_json: Json = False,
) -> None:
    """Revoke a key, as an ADMIN, or your own. What waits for it to count counts no more."""
    from pipeline.people.key_command import revoke_key as revoked
    from pipeline.people.key_command import show_revoked

    revoked(settings_from_environment("migrate"), key_id, reason)
    show_revoked(Output(as_json=as_json), key_id, reason)


@people_app.command("keys")
def list_keys(as_json: Json = False) -> None:
    """List the registered keys, and when some were revoked."""
    from pipeline.people.key_command import registry, show_keys

    output = Output(as_json=as_json)
    show_keys(output, registry(settings_from_environment()))
    output.end_list("keys")


@people_app.command("trust-provider")
def trust_provider(as_json: Json = False) -> None:
    """Accept the OpenID provider's keys, as an ADMIN.

    FRAUD_OIDC_ISSUER names it. What they sign says who people are: compare them with what its administrator says.
    """
    from pipeline.people.provider_command import show_provider_key, trusted_keys

    output = Output(as_json=as_json)
    for key_id, key in trusted_keys(settings_from_environment("migrate")).items():
        show_provider_key(output, key_id, key)
    output.end_list("new keys")


@people_app.command("bind-login")
def bind_login(
    name: Name,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="What `fraud login` printed for them.")],
    as_json: Json = False,
) -> None:
    """Say whose a login at the OpenID provider is, as an ADMIN.

    It is theirs for ever, whatever they are called there.
    """
    from pipeline.people.provider_command import bound_login, show_bound

    login = bound_login(settings_from_environment("migrate"), name, subject)
    show_bound(Output(as_json=as_json), name, login)


@people_app.command("grant")
def grant(name: Name, role: RoleName, as_json: Json = False) -> None:
    """Give somebody a role, as an ADMIN. It needs the database's owner, too."""
    _change(name, role, Output(as_json=as_json), is_held=True)


@people_app.command("revoke")
def revoke(name: Name, role: RoleName, as_json: Json = False) -> None:
    """Take a role back. What waits for somebody with that role counts no more."""
    _change(name, role, Output(as_json=as_json), is_held=False)


@people_app.command("list")
def list_grants(as_json: Json = False) -> None:
    """List every grant and revocation, in order."""
    from pipeline.people.grants_command import grants, show_grant

    output = Output(as_json=as_json)
    for granted in grants(settings_from_environment()):
        show_grant(output, granted)
    output.end_list("grants")


@people_app.command("export")
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; a file there is replaced.")],
    as_json: Json = False,
) -> None:
    """Write who people are, as signed acts. They prove themselves. For workers the review service does it."""
    from pipeline.people.key_command import export_people, show_exported

    show_exported(Output(as_json=as_json), file, export_people(settings_from_environment(), file))


@people_app.command("verify")
def verify(
    root: Annotated[
        str | None, typer.Option("--root", metavar="DIGEST", help="What `fraud people first-admin` printed.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="FRAUD_PEOPLE_FILE: names its acts that the database has lost."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check every signed act, and every row that stands for one. Exit 1 where one counts as nothing, or is lost."""
    from pipeline.people.verify_command import show_faults, verified

    found = verified(settings_from_environment(), root, file)
    raise typer.Exit(0 if show_faults(Output(as_json=as_json), found) else 1)


def _change(name: str, role: RoleName, output: Output, *, is_held: bool) -> None:
    from pipeline.people import grants_command
    from pipeline.people.identity_command import identity_of

    settings = settings_from_environment("migrate")
    by = identity_of(settings)
    grants_command.change(settings, name, role, by, is_held=is_held)
    grants_command.show_change(output, name, role, by.name, is_held=is_held)
