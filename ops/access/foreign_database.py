"""Rights in PostgreSQL that reach beyond one role for each process, whoever gave them, and what else is otherwise than
the migrations made it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from ops.access.catalogue import differences
from ops.access.roles import ROLES
from pipeline.io.postgres import opened, statements
from pipeline.io.production import DATABASE_ROLES

OURS: Final = sorted({*ROLES, DATABASE_ROLES["worker"], "fraud_service"})
"""The roles of the migrations; fraud_service is the group of the services' roles, and nobody logs in as it."""

_SERVICES: Final = ("audit", "executor", "review", "rollback", "reconcile", "incident", "bias", "alerts", "shadow")
_MEMBERS: Final = (
    *((f"fraud_{name}", "fraud_service") for name in _SERVICES),
    ("fraud_rollback", "fraud_reader"),
    ("fraud_reconcile", "fraud_reader"),
    ("fraud_incident", "fraud_reader"),
    ("fraud_bias", "fraud_reader"),
)
"""Who is a member of what, by the migrations, and written down apart from them."""


def foreign_rights(url: str, expected: Collection[str] = ()) -> list[str]:
    """Return a sentence for each, in an order that doesn't change. url: the owner's.

    expected: roles of the bank's own whose rights are known. Raises psycopg.OperationalError and DatabaseRefused.
    """
    named = [role for role in expected if role.upper() != "PUBLIC"]
    with opened(url, autocommit=True) as connection:
        connection.execute("SET search_path = pg_catalog")
        values = [OURS, *map(list, zip(*_MEMBERS, strict=True))]
        rows = connection.execute(statements("ops.access", "foreign_database")["foreign_rights"], values).fetchall()
        foreign = [sentence for (sentence,) in rows]
        foreign += (sentence for sentence in differences(connection, OURS) if sentence not in foreign)
    return [sentence for sentence in foreign if sentence.split(" ")[0] not in named]
