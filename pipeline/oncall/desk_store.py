"""What people do about alerts, appended with the act that they signed."""

from __future__ import annotations

from typing import Final

from psycopg import errors

from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.oncall.acts import SilenceWish, group_act, silence_act, unsilence_act
from pipeline.oncall.groups import EventKind
from pipeline.people.act_store import read_registry, sign_act
from pipeline.people.key_files import Identity
from pipeline.people.registry import Expected
from pipeline.people.roles import UNKNOWN_KEY
from pipeline.people.store import is_known

_SQL: Final = statements("pipeline.oncall", "oncall")


class DeskRefused(Exception):
    """The database refused an act, and says why."""


def append_group_act(connection: Connection, kind: EventKind, group_id: str, note: str, by: Identity) -> None:
    """Raises DeskRefused, DatabaseRefused, DatabaseUnavailable."""
    fields: dict[str, object] = {"group_id": group_id, "kind": kind.value, "by": by.name, "note": note}
    _append(connection, "append_act", by, group_act(kind, group_id, note, by.name), fields)


def end_group(connection: Connection, group_id: str, note: str, by: Identity) -> None:
    """Say that what a group is about is over. Raises DeskRefused, DatabaseRefused, DatabaseUnavailable."""
    append_group_act(connection, EventKind.RESOLVED, group_id, note, by)


def append_silence(connection: Connection, wish: SilenceWish, by: Identity) -> None:
    """Raises DeskRefused, DatabaseRefused, DatabaseUnavailable."""
    _append(connection, "append_silence", by, silence_act(wish, by.name), {**wish._asdict(), "by": by.name})


def append_silence_end(connection: Connection, silence_id: str, by: Identity) -> None:
    """Raises DeskRefused, DatabaseRefused, DatabaseUnavailable."""
    fields: dict[str, object] = {"silence_id": silence_id, "by": by.name}
    _append(connection, "append_silence_end", by, unsilence_act(silence_id, by.name), fields)


def _append(connection: Connection, name: str, by: Identity, expected: Expected, fields: dict[str, object]) -> None:
    with failures_named():
        registry = read_registry(connection)
        if not is_known(registry, by):
            raise DeskRefused(UNKNOWN_KEY)
        try:
            with connection.transaction():
                act = sign_act(connection, by, expected.kind, expected.subject, registry)
                connection.execute(_SQL[name], {**fields, "act": act})
        except errors.UniqueViolation:
            raise DeskRefused("that was done before") from None
        except errors.CheckViolation as error:
            # Our own triggers' sentences quote nothing of a row; a constraint's message would.
            said = "a note has 1 to 2,000 characters, a reason 10 to 2,000" if error.diag.constraint_name else None
            raise DeskRefused(said or error.diag.message_primary or "a check failed") from None
