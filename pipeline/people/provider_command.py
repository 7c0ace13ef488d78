"""`fraud people trust-provider` and `bind-login`: a provider's keys, and whose its logins are, as an ADMIN signs."""

from __future__ import annotations

import json

from pipeline.io.postgres import failures_named
from pipeline.io.settings import Settings
from pipeline.people.act_store import read_registry
from pipeline.people.identity_command import identity_of
from pipeline.people.key_command import require
from pipeline.people.login_client import LoginFailed
from pipeline.people.login_command import provider_of
from pipeline.people.registry import ProviderKey, login_id
from pipeline.people.store import bind_login, trust_provider
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output


def trusted_keys(settings: Settings) -> dict[str, ProviderKey]:
    """Accept those keys that were not accepted before; return them by what they are named."""
    by = identity_of(settings)
    try:
        keys = provider_of(settings).keys()
    except LoginFailed as failure:
        raise Failure(f"The provider can't be asked: {failure}.", "No key was accepted.") from failure
    with connected(settings) as connection, failures_named():
        registry = read_registry(connection)
        fresh = {key_id: key for key_id, key in keys.items() if key_id not in registry.providers}
        for key_id, key in fresh.items():
            subject = {"issuer": key.issuer, "client_id": key.client_id, "claim": key.claim, "jwk": key.jwk}
            require(trust_provider(connection, {**subject, "key": key_id}, by))
    return fresh


def bound_login(settings: Settings, name: str, subject: str) -> str:
    """Bind a login at the provider of the settings to a person; return what it is named, to be revoked by."""
    by = identity_of(settings)
    if settings.oidc_issuer is None:
        raise Failure("No OpenID provider is set.", "Set FRAUD_OIDC_ISSUER.")
    with connected(settings) as connection, failures_named():
        require(bind_login(connection, name, settings.oidc_issuer, subject, by))
    return login_id(settings.oidc_issuer, subject)


def show_bound(output: Output, name: str, login: str) -> None:
    output.record({"name": name, "login": login}, f"the login {login} is {name}'s")


def show_provider_key(output: Output, key_id: str, key: ProviderKey) -> None:
    jwk = json.loads(key.jwk)
    fields = {"key_id": key_id, "issuer": key.issuer, "client_id": key.client_id, "claim": key.claim, "jwk": jwk}
    kind = f"{jwk.get('kty')} {jwk.get('kid', 'without a kid')}"
    output.record(fields, f"{key_id} {kind} of {key.issuer}, where people are called by their {key.claim}")
