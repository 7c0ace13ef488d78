"""What people say of the statements that were taken in: that one is the rail's, or that it isn't.

Whoever holds the credential that takes statements in can make one up, on which a theft looks clean. So a statement
counts as the rail's once two people have signed what each has in a copy of their own, and for nothing once two have
disowned it.
Every method raises psycopg's errors.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from pipeline.io.postgres import Connection, statements
from pipeline.people.act_store import RegistryReader, proved
from pipeline.people.roles import is_same
from pipeline.ruling.acts import Ruling, Statement, Verdict
from pipeline.ruling.proved_store import Claim, counts_as_proposed, expected_acts

_SQL: Final = statements("pipeline.ruling", "statement_word")


class TakenIn(NamedTuple):
    """A statement as it was taken in. `name`: the rail's own id of it. `taken_at`: by the database's clock."""

    statement_number: int
    account_id: str
    currency: str
    sequence: int
    name: str
    from_at: datetime
    to_at: datetime
    taken_at: datetime


class StatementWords:
    """For one thread."""

    def __init__(self) -> None:
        self._people = RegistryReader()

    def disowned(self, connection: Connection) -> set[int]:
        """Return the numbers of the statements that two people have disowned; they stay that, though people leave.

        With the one that they named, those of its account and currency that were taken in after it, until they said so.
        """
        rulings = [claim.ruling_id for _, claim in self._said(connection, Verdict.DISOWNED, is_whole=False)]
        return {number for (number,) in connection.execute(_SQL["disowned_by"], [rulings]).fetchall()}

    def unvouched(self, connection: Connection, *, is_whole: bool) -> list[TakenIn]:
        """Return the statements of which no two people have said anything that is proved, oldest first.

        is_whole: the lines of the last month's are hashed again, which takes long where they are millions.
        """
        known = self._vouched(connection, is_whole=is_whole) | self.disowned(connection)
        rows = connection.execute(_SQL["statements_but"], [sorted(known)]).fetchall()
        return [TakenIn(*row) for row in rows]

    def statement(self, connection: Connection, number: int) -> Statement | None:
        """Return a statement that was taken in, as people would sign it."""
        row = connection.execute(_SQL["statement"], [number]).fetchone()
        return None if row is None else Statement(*row)

    def standing(self, connection: Connection, copy: Statement) -> Statement | None:
        """Return the statement that was taken in under the sequence of somebody's copy, and is not disowned."""
        wanted = {**copy._asdict(), "disowned": sorted(self.disowned(connection))}
        row = connection.execute(_SQL["statement_like"], wanted).fetchone()
        return None if row is None else self.statement(connection, row[0])

    def is_vouched(self, connection: Connection, statement: Statement) -> bool:
        """Whether two people have proved to have said that it is the rail's, with just these lines."""
        return any(statement == said for said, _ in self._said(connection, Verdict.GENUINE, is_whole=False))

    def waiting(self, connection: Connection, statement: Statement, verdict: Verdict, name: str) -> Ruling | None:
        """Return what somebody else than `name` has proposed to say of just this statement, and still counts."""
        registry = self._people.read(connection)
        wanted = {"statement_number": statement.statement_number, "verdict": verdict.value}
        for ruling_id, evidence, reason, proposed_by, act in connection.execute(_SQL["waiting_words"], wanted):
            ruling = Ruling(ruling_id, statement, verdict, evidence, reason)
            if not is_same(proposed_by, name) and counts_as_proposed(connection, registry, ruling, proposed_by, act):
                return ruling
        return None

    def _vouched(self, connection: Connection, *, is_whole: bool) -> set[int]:
        said = self._said(connection, Verdict.GENUINE, is_whole=is_whole)
        return {statement.statement_number for statement, _ in said}

    def _said(self, connection: Connection, verdict: Verdict, *, is_whole: bool) -> list[tuple[Statement, Claim]]:
        """What two people have proved to have said this of, as it stands now."""
        wanted = {"verdict": verdict.value, "is_whole": is_whole}
        rows = connection.execute(_SQL["words_on_statements"], wanted).fetchall()
        if not rows:
            return []
        claimed = [(Statement(**subject), Claim(*claim)) for subject, *claim in rows]
        counting = proved(connection, self._people.read(connection), expected_acts(claimed))
        return [
            (statement, claim)
            for statement, claim in claimed
            if {claim.proposed_act, claim.confirmed_act} <= counting
            and not is_same(claim.proposed_by, claim.confirmed_by)
        ]
