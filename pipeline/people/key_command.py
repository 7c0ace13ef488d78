"""`fraud people`: personal keys created, registered, revoked and listed."""

from __future__ import annotations

from pathlib import Path

from pipeline.domain.free_text import reason_fault, tidied
from pipeline.domain.money import count_text
from pipeline.domain.times import utc_text
from pipeline.io.postgres import failures_named
from pipeline.io.settings import Settings
from pipeline.people.act_store import read_registry, registry_acts
from pipeline.people.acts import key_id_of
from pipeline.people.identity_command import identity_of, passphrase_of
from pipeline.people.key_files import Claimed, IdentityRefused, create_identity
from pipeline.people.people_files import PeopleFileRefused, read_people, write_people
from pipeline.people.registry import REASON_CHARACTERS_MAX, Registry
from pipeline.people.roles import GrantRefusal
from pipeline.people.store import name_first_admin
from pipeline.people.store import register_key as append_key
from pipeline.people.store import revoke_key as append_revocation
from pipeline.terminal.connection import connected
from pipeline.terminal.failures import FAILED_CHECK, Failure
from pipeline.terminal.output import Output


def create_key(settings: Settings, name: str, file: Path) -> Claimed:
    """Failure where the file is there already, or name or passphrase can't be used."""
    try:
        return create_identity(file, name, passphrase_of(settings, is_new=True)).claim()
    except IdentityRefused as refusal:
        raise Failure(f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.", "No key was made.") from refusal
    except OSError as error:
        raise Failure(f"{file} can't be written ({error.strerror}).", "Give a new file.") from error


def first_admin(settings: Settings) -> tuple[str, str]:
    """Name whoever runs this the first ADMIN; return their name and the registry's root."""
    by = identity_of(settings)
    with connected(settings) as connection, failures_named():
        require(name_first_admin(connection, by))
        return by.name, read_registry(connection).root


def register_key(settings: Settings, name: str, key: str) -> str:
    """Return the key's id. Failure where it is refused."""
    by = identity_of(settings)
    try:
        claimed = Claimed.of(key)
    except IdentityRefused as refusal:
        raise Failure(f"{str(refusal)[:1].upper()}{str(refusal)[1:]}.", "Ask them for it again.") from refusal
    with connected(settings) as connection, failures_named():
        require(append_key(connection, name, claimed, by))
    return key_id_of(claimed.public)


def revoke_key(settings: Settings, key_id: str, reason: str) -> None:
    by = identity_of(settings)
    if (fault := reason_fault(reason, characters_max=REASON_CHARACTERS_MAX)) is not None:
        raise Failure(f"The reason {fault}.", "Give --reason TEXT.", FAILED_CHECK)
    with connected(settings) as connection, failures_named():
        require(append_revocation(connection, key_id, tidied(reason), by))


def registry(settings: Settings) -> Registry:
    with connected(settings) as connection, failures_named():
        return read_registry(connection)


def export_people(settings: Settings, file: Path) -> int:
    """Return how many acts are written. Failure where the registry has faults, or the file can't be written."""
    with connected(settings) as connection, failures_named():
        acts = registry_acts(connection)
    try:
        write_people(file, acts)
        read_people(file)
    except PeopleFileRefused as refusal:
        what = f"{str(refusal)[:1].upper()}{str(refusal)[1:]}."
        raise Failure(what, "`fraud people verify` says more.", FAILED_CHECK) from refusal
    except OSError as error:
        raise Failure(f"{file} can't be written ({error.strerror}).", "Give another place.") from error
    return len(acts)


def require(refusal: GrantRefusal | None) -> None:
    """Failure where it is one."""
    if refusal is not None:
        raise Failure(f"Refused: {refusal}.", "`fraud people list` shows who holds what.", FAILED_CHECK)


def show_created(output: Output, name: str, file: Path, claimed: Claimed) -> None:
    fields = {"name": name, "file": str(file), "key_id": key_id_of(claimed.public), "key": claimed.text}
    output.record(fields, claimed.text)
    output.note(f"The key of {name} is in {file}. An ADMIN registers it: `fraud people register-key {name} KEY`.")


def show_first_admin(output: Output, name: str, root: str) -> None:
    output.record({"name": name, "root": root}, f"{name} is the first ADMIN; the registry's root is {root}")
    output.note("Keep the root outside the database: `fraud people verify --root` compares it.")


def show_registered(output: Output, name: str, key_id: str) -> None:
    output.record({"name": name, "key_id": key_id}, f"the key {key_id} is {name}'s")


def show_revoked(output: Output, key_id: str, reason: str) -> None:
    output.record({"key_id": key_id, "reason": reason}, f"the key {key_id} is revoked: {reason}")


def show_exported(output: Output, file: Path, acts: int) -> None:
    output.record({"file": str(file), "acts": acts}, f"{file} holds {count_text(acts, 'act')}")


def show_keys(output: Output, found: Registry) -> None:
    for key_id, known in found.keys.items():
        revoked_at_ms, since = found.revoked.get(key_id), utc_text(known.registered_at_ms)
        revoked = None if revoked_at_ms is None else utc_text(revoked_at_ms)
        fields = {"key_id": key_id, "name": known.name, "registered_at": since, "revoked_at": revoked}
        until = "" if revoked is None else f", revoked {revoked}"
        output.record(fields, f"{key_id} {known.name} since {since}{until}")
    for login, bound in found.logins.items():
        revoked_at_ms, since = found.revoked.get(login), utc_text(bound.bound_at_ms)
        revoked = None if revoked_at_ms is None else utc_text(revoked_at_ms)
        fields = {"login": login, "name": bound.name, "issuer": bound.issuer, "bound_at": since, "revoked_at": revoked}
        until = "" if revoked is None else f", revoked {revoked}"
        output.record(fields, f"{login} login of {bound.name} at {bound.issuer} since {since}{until}")
