"""Live drills in PostgreSQL: what one person proposed, another confirmed, and one of the two began."""

from __future__ import annotations

from typing import Final, NamedTuple

from psycopg import errors

from pipeline.drills.consents import Consent, LiveDrill, begin, confirmation, proposal
from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.people.act_store import read_acts, read_registry, sign_act, unproved
from pipeline.people.key_files import Identity
from pipeline.people.registry import Expected
from pipeline.people.roles import UNKNOWN_KEY
from pipeline.people.store import is_known

_SQL: Final = statements("pipeline.drills", "consents")


class ConsentRefused(Exception):
    """The database refused an act, or nobody is proved to have signed it; the message says why."""


class ProposedDrill(NamedTuple):
    """A live drill with what became of it; what has not happened is None. The acts are digests.

    is_late: the time in which it may begin is over, by the database's clock. verdict: of its record.
    """

    live: LiveDrill
    proposed_by: str
    proposed_act: str
    confirmed_by: str | None
    confirmed_act: str | None
    begun_by: str | None
    begun_at_ms: int | None
    verdict: str | None
    is_late: bool


class Paged(NamedTuple):
    """A message about a drill that arrived. at_ms: by the database's clock."""

    at_ms: int
    sink: str


def append_proposal(connection: Connection, live: LiveDrill, by: Identity) -> None:
    """Raises ConsentRefused, DatabaseRefused, DatabaseUnavailable."""
    _append(connection, "append_proposal", by, proposal(live, by.name), live._asdict())


def append_consent(connection: Connection, live: LiveDrill, by: Identity) -> None:
    """Raises ConsentRefused, DatabaseRefused, DatabaseUnavailable."""
    _append(connection, "append_consent", by, confirmation(live, by.name), live._asdict())


def append_begin(connection: Connection, live: LiveDrill, by: Identity) -> None:
    """Use a consent up. Raises ConsentRefused, DatabaseRefused, DatabaseUnavailable."""
    _append(connection, "append_begin", by, begin(live, by.name), live._asdict())


def read_live_drills(connection: Connection, limit: int, drill_id: str | None = None) -> list[ProposedDrill]:
    """Return the latest first; only the one of this id where one is given."""
    with failures_named():
        rows = connection.execute(_SQL["read_live_drills"], {"limit": limit, "wanted": drill_id}).fetchall()
    return [ProposedDrill(LiveDrill(*row[:8]), *row[8:]) for row in rows]


def proved_consent(connection: Connection, found: ProposedDrill) -> Consent:
    """Return both signatures, once they are proved. Raises ConsentRefused, DatabaseRefused, DatabaseUnavailable."""
    live = found.live
    if found.confirmed_by is None or found.confirmed_act is None:
        raise ConsentRefused("only one person has consented to it")
    claims: dict[str | None, Expected] = {
        found.proposed_act: proposal(live, found.proposed_by),
        found.confirmed_act: confirmation(live, found.confirmed_by),
    }
    with failures_named():
        fault = unproved(connection, read_registry(connection), claims, is_pending=True)
        acts = read_acts(connection, (found.proposed_act, found.confirmed_act))
    if fault is not None:
        raise ConsentRefused(f"the consent is not proved: {fault}")
    proposed, confirmed = acts[found.proposed_act], acts[found.confirmed_act]
    return Consent(live, found.proposed_by, proposed, found.confirmed_by, confirmed)


def pages_of(connection: Connection, drill_id: str) -> list[Paged]:
    """Return the messages about a drill that arrived, the first of them first."""
    with failures_named():
        return [Paged(*row) for row in connection.execute(_SQL["page_of_drill"], {"drill_id": drill_id}).fetchall()]


def incident_of(connection: Connection, drill_id: str) -> tuple[str, str] | None:
    """Return the id and the kind of a drill's incident, or None where it has none."""
    with failures_named():
        row = connection.execute(_SQL["incident_of_drill"], {"drill_id": drill_id}).fetchone()
    return None if row is None else (str(row[0]), str(row[1]))


def _append(connection: Connection, name: str, by: Identity, expected: Expected, fields: dict[str, object]) -> None:
    with failures_named():
        registry = read_registry(connection)
        if not is_known(registry, by):
            raise ConsentRefused(UNKNOWN_KEY)
        try:
            with connection.transaction():
                act = sign_act(connection, by, expected.kind, expected.subject, registry)
                connection.execute(_SQL[name], {**fields, "by": by.name, "act": act})
        except errors.UniqueViolation:
            raise ConsentRefused("that was done before, and a consent is given and used once") from None
        except errors.ForeignKeyViolation:
            raise ConsentRefused("two people have not consented to it") from None
        except errors.CheckViolation as error:
            # Our own triggers' sentences quote nothing of a row; a constraint's message would.
            said = "it is nothing that people can consent to" if error.diag.constraint_name else None
            raise ConsentRefused(said or error.diag.message_primary or "a check failed") from None
