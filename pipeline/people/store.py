"""Changes of the registry: keys and roles, by acts that an ADMIN signs, with the rows that the triggers look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final, NamedTuple

from pipeline.io.filing import server_now_ms
from pipeline.io.postgres import Connection, DatabaseRefused, statements
from pipeline.people.act_store import CHECKS, append_act, read_registry
from pipeline.people.acts import Act, ActKind, Subject, key_id_of
from pipeline.people.key_files import Claimed, Identity
from pipeline.people.registry import Registry, advanced, login_id, refusal_of
from pipeline.people.roles import GrantRefusal, Person, Role

_SQL: Final = statements("pipeline.people", "people")


class Granted(NamedTuple):
    name: str
    role: Role
    is_held: bool
    granted_by: str
    granted_at: datetime
    act: str | None


def is_known(registry: Registry, identity: Identity) -> bool:
    """Return whether a key is registered for exactly that person, or a session's, and not revoked.

    A session proves whose it is by its evidence, with every act.
    """
    if identity.key_id in registry.keys:
        return registry.is_usable(identity.key_id, identity.name)
    return identity.evidence is not None and identity.key_id not in registry.revoked


def person_of(registry: Registry, identity: Identity) -> Person:
    """Return the person who signs, with their roles; none where their key is not known."""
    return registry.person(identity.name) if is_known(registry, identity) else Person(identity.name, frozenset())


def name_first_admin(connection: Connection, identity: Identity) -> GrantRefusal | None:
    """Begin the registry with its first ADMIN; possible once, for the database's owner."""
    claimed = identity.claim()
    subject = {"name": identity.name, "public": claimed.public.hex(), "possession": claimed.possession.hex()}

    def store(act: str) -> None:
        _append_key(connection, identity.name, claimed.public, act)
        _append_grant(connection, identity.name, Role.ADMIN, identity.name, act, is_held=True)

    return _change(connection, identity, ActKind.FIRST_ADMIN, subject, store)


def register_key(connection: Connection, name: str, claimed: Claimed, by: Identity) -> GrantRefusal | None:
    """Register a key for a person; return why not where it is refused."""
    subject = {"name": name, "public": claimed.public.hex(), "possession": claimed.possession.hex()}
    return _change(
        connection,
        by,
        ActKind.KEY_REGISTERED,
        subject,
        lambda act: _append_key(connection, name, claimed.public, act),
    )


def revoke_key(connection: Connection, key_id: str, reason: str, by: Identity) -> GrantRefusal | None:
    """Revoke a key, registered or a session's or a provider's; return why not where it is refused."""

    def store(act: str) -> None:
        connection.execute(_SQL["append_key_revocation"], {"key_id": key_id, "reason": reason, "act": act})

    return _change(connection, by, ActKind.KEY_REVOKED, {"key": key_id, "reason": reason}, store)


def change_role(connection: Connection, name: str, role: Role, by: Identity, *, is_held: bool) -> GrantRefusal | None:
    """Append the grant or revocation; return why not where it is refused."""
    kind = ActKind.ROLE_GRANTED if is_held else ActKind.ROLE_REVOKED
    return _change(
        connection,
        by,
        kind,
        {"name": name, "role": role.value},
        lambda act: _append_grant(connection, name, role, by.name, act, is_held=is_held),
    )


def trust_provider(connection: Connection, subject: Subject, by: Identity) -> GrantRefusal | None:
    """Accept a key of an OpenID provider; return why not where it is refused."""
    return _change(connection, by, ActKind.PROVIDER_TRUSTED, subject, lambda _: None)


def bind_login(connection: Connection, name: str, issuer: str, subject: str, by: Identity) -> GrantRefusal | None:
    """Bind what a provider names `subject` to a person; return why not where it is refused."""
    about = {"name": name, "issuer": issuer, "subject": subject, "login": login_id(issuer, subject)}
    return _change(connection, by, ActKind.LOGIN_BOUND, about, lambda _: None)


def read_grants(connection: Connection) -> Iterator[Granted]:
    """Yield everything that was ever granted or revoked, in order."""
    for name, role, *rest in connection.execute(_SQL["read_all_grants"]).fetchall():
        yield Granted(name, Role(role), *rest)


def _change(
    connection: Connection, by: Identity, kind: ActKind, subject: Subject, store: Callable[[str], None]
) -> GrantRefusal | None:
    with connection.transaction():
        connection.execute(_SQL["lock_registry"])
        registry = read_registry(connection)
        if registry.broken is not None:
            return GrantRefusal.BROKEN
        now_ms = server_now_ms(connection)
        whole = {**subject, "previous": registry.head}
        if kind is not ActKind.FIRST_ADMIN and not is_known(registry, by):
            return GrantRefusal.NOT_AN_ADMIN if registry.root else GrantRefusal.NO_ADMIN_YET
        refusal = refusal_of(registry, Act(kind, whole, by.name, by.key_id, now_ms, registry.root), CHECKS)
        if refusal is None:
            signed = by.sign(kind, whole, now_ms, registry.root)
            if (fault := advanced(registry, signed, CHECKS).fault) is not None:
                raise DatabaseRefused(f"what you signed would count as nothing: {fault}")
            append_act(connection, signed)
            store(signed.digest)
        return refusal


def _append_key(connection: Connection, name: str, public: bytes, act: str) -> None:
    fields = {"key_id": key_id_of(public), "name": name, "public": public.hex(), "act": act}
    connection.execute(_SQL["append_key"], fields)


def _append_grant(connection: Connection, name: str, role: Role, by: str, act: str, *, is_held: bool) -> None:
    fields = {"name": name, "role": role, "is_held": is_held, "by": by, "act": act}
    connection.execute(_SQL["append_grant"], fields)
