"""`fraud login` and `fraud logout`: a session of hours, by an OpenID provider."""

from __future__ import annotations

import webbrowser
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.terminal.configuration import settings_from_environment
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.options import Json
from pipeline.terminal.output import Output

if TYPE_CHECKING:
    from pipeline.io.settings import Settings
    from pipeline.people.login_client import Provider


def provider_of(settings: Settings) -> Provider:
    """The provider of the settings, as it describes itself. Failure where none is set; raises LoginFailed."""
    from pipeline.people.login_client import discovered

    if settings.oidc_issuer is None or settings.oidc_client_id is None:
        raise Failure("No OpenID provider is set.", "Set FRAUD_OIDC_ISSUER and FRAUD_OIDC_CLIENT_ID.")
    return discovered(settings.oidc_issuer, settings.oidc_client_id, settings.oidc_claim)


def login(
    browser: Annotated[bool, typer.Option(help="Open the provider's page in a browser.")] = True,
    name: Annotated[
        str | None, typer.Option("--as", metavar="NAME", help="Your name here, where the provider's is another.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Log in with your organisation's OpenID provider. Your acts are signed by the session's key."""
    from pipeline.io.clock import now_ms
    from pipeline.people.identity_command import session_path
    from pipeline.people.login_client import LoginFailed, log_in
    from pipeline.people.session_files import write_session

    settings, output = settings_from_environment(), Output(as_json=as_json)

    def show(url: str) -> None:
        output.note(f"Log in at {url}")
        if browser:
            webbrowser.open(url)

    try:
        provider = provider_of(settings)
        found = log_in(provider, show, now_ms, name)
    except LoginFailed as failure:
        raise Failure(f"Nobody is logged in: {failure}.", "Try again.", FAILED_CHECK) from failure
    path = session_path(settings)
    try:
        write_session(path, found.name, found.private, found.id_token)
    except OSError as error:
        raise Failure(f"{path} can't be written ({error.strerror}).", "Set FRAUD_SESSION_FILE.") from error
    fields = {"name": found.name, "session": str(path), "issuer": provider.issuer, "subject": found.subject}
    output.record(fields, f"{found.name} is logged in; the session is in {path}")
    output.note(f"An ADMIN binds your login, once: `fraud people bind-login {found.name} {found.subject}`.")


def logout(as_json: Json = False) -> None:
    """End the login session on this machine. What it signed goes on counting."""
    from pipeline.people.identity_command import session_path

    path = session_path(settings_from_environment())
    path.unlink(missing_ok=True)
    Output(as_json=as_json).record({"session": str(path)}, f"{path} holds no session")
