"""Rulings in PostgreSQL: what waits for one, what was proposed, and what another person confirmed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from psycopg import errors
from psycopg.types.json import Jsonb

from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.people.act_store import read_registry, sign_act
from pipeline.people.key_files import Identity
from pipeline.people.registry import Expected
from pipeline.people.roles import UNKNOWN_KEY
from pipeline.people.store import is_known
from pipeline.ruling.acts import FORMS, About, Doubt, Line, Ruling, Verdict, about_of, confirmation, proposal
from pipeline.ruling.proved_store import StatementWords

_SQL: Final = statements("pipeline.ruling", "ruling")


class RulingRefused(Exception):
    """The database refused an act, and says why."""


class Proposal(NamedTuple):
    """confirmed_by is None until another person has confirmed it. is_expired: by the database's clock.

    taken_sequence: of the step that the executor took by it; None where it has not, or the ruling is on no doubt.
    """

    ruling: Ruling
    proposed_by: str
    proposed_at_ms: int
    confirmed_by: str | None
    confirmed_at_ms: int | None
    is_expired: bool
    taken_sequence: int | None


def waiting_doubts(connection: Connection, limit: int) -> list[Doubt]:
    with failures_named():
        return [Doubt(*row) for row in connection.execute(_SQL["waiting_doubts"], [limit]).fetchall()]


def doubt_of(connection: Connection, wanted: str) -> Doubt | None:
    """wanted: the id of a decision or an execution."""
    with failures_named():
        row = connection.execute(_SQL["doubt_of"], {"wanted": wanted}).fetchone()
    return None if row is None else Doubt(*row)


def unexplained_lines(connection: Connection) -> list[Line]:
    """Those that were accounted for among them."""
    with failures_named():
        return [Line(*row) for row in connection.execute(_SQL["unexplained_lines"]).fetchall()]


def append_proposal(connection: Connection, ruling: Ruling, by: Identity) -> None:
    """Raises RulingRefused, DatabaseRefused, DatabaseUnavailable."""
    fields: dict[str, object] = {
        "about": about_of(ruling).value,
        "subject": Jsonb(ruling.about._asdict()),
        "verdict": ruling.verdict.value,
        "evidence": ruling.evidence,
        "reason": ruling.reason,
    }
    _append(connection, "append_proposal", ruling, by, proposal(ruling, by.name), fields)


def confirm(connection: Connection, ruling: Ruling, by: Identity) -> None:
    """Confirm what was proposed. Raises RulingRefused, DatabaseRefused, DatabaseUnavailable."""
    _append(connection, "confirm", ruling, by, confirmation(ruling, by.name), {})


def read_proposals(connection: Connection, limit: int, wanted: str | None = None) -> list[Proposal]:
    """The latest first; `wanted`: only that one."""
    with failures_named():
        rows = connection.execute(_SQL["read_proposals"], {"limit": limit, "wanted": wanted}).fetchall()
    return [_proposal(row) for row in rows]


def _proposal(row: Sequence[Any]) -> Proposal:
    ruling_id, about, subject, verdict, evidence, reason, *rest = row
    of_it = FORMS[About(about)](**subject)
    return Proposal(Ruling(ruling_id, of_it, Verdict(verdict), evidence, reason), *rest)


def _append(
    connection: Connection, name: str, ruling: Ruling, by: Identity, expected: Expected, fields: dict[str, object]
) -> None:
    with failures_named():
        if isinstance(ruling.about, Doubt) and ruling.verdict is Verdict.NOT_MADE:
            stated_on = {number for (number,) in connection.execute(_SQL["stated_on"], ruling.about._asdict())}
            if stated_on - StatementWords().disowned(connection):
                raise RulingRefused("a statement of the rail says that it was made")
        registry = read_registry(connection)
        if not is_known(registry, by):
            raise RulingRefused(UNKNOWN_KEY)
        try:
            with connection.transaction():
                act = sign_act(connection, by, expected.kind, expected.subject, registry)
                connection.execute(_SQL[name], {**fields, "ruling_id": ruling.ruling_id, "by": by.name, "act": act})
        except errors.UniqueViolation:
            raise RulingRefused("it was confirmed before") from None
        except errors.CheckViolation as error:
            # Our own triggers' sentences name no payment; a constraint's message would quote one.
            said = "reason or evidence is too short or too long" if error.diag.constraint_name else None
            raise RulingRefused(said or error.diag.message_primary or "a check failed") from None
