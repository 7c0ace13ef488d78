"""`fraud people`: roles granted, revoked and listed."""

from __future__ import annotations

from pipeline.io.postgres import failures_named
from pipeline.io.settings import Settings
from pipeline.people.key_command import require
from pipeline.people.key_files import Identity
from pipeline.people.roles import Role
from pipeline.people.store import Granted, change_role, read_grants
from pipeline.terminal.connection import connected
from pipeline.terminal.output import Output


def change(settings: Settings, name: str, role: Role, by: Identity, *, is_held: bool) -> None:
    """Failure where the grant is refused, by the rules or by the database's rights."""
    with connected(settings) as connection, failures_named():
        require(change_role(connection, name, role, by, is_held=is_held))


def grants(settings: Settings) -> list[Granted]:
    with connected(settings) as connection, failures_named():
        return list(read_grants(connection))


def show_change(output: Output, name: str, role: Role, by: str, *, is_held: bool) -> None:
    fields = {"name": name, "role": role, "is_held": is_held, "granted_by": by}
    output.record(fields, f"{role} {_verb(is_held=is_held)} {name} by {by}")


def show_grant(output: Output, granted: Granted) -> None:
    at = granted.granted_at.isoformat(timespec="seconds")
    line = f"{at} {granted.role} {_verb(is_held=granted.is_held)} {granted.name} by {granted.granted_by}"
    unsigned = "" if granted.act is not None else "; nobody has signed this, so it counts as nothing"
    output.record({**granted._asdict(), "granted_at": at}, line + unsigned)


def _verb(*, is_held: bool) -> str:
    return "granted to" if is_held else "revoked from"
