"""The ledger's lives in PostgreSQL: which one this is, and where the database stands."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from pipeline.io.postgres import Connection, statements

LOST: Final = "lived in a database that was lost"
"""The reason given for a life of which executions.v1 alone tells."""
_SQL: Final = statements("pipeline.execute.restoring", "lives")


class Home(NamedTuple):
    """A server's identity, and its timeline, which a restore to a point in time and a promotion raise."""

    system_identifier: int
    timeline: int


class Life(NamedTuple):
    """number: 0 where no life was ever begun. restored_to: the life that a restore leads to which was begun, and has
    not ended; 0 where none is under way."""

    number: int
    began_in: Home
    stands_in: Home
    restored_to: int


def present_life(connection: Connection) -> Life:
    row = connection.execute(_SQL["present"]).fetchone()
    assert row is not None, "the database has a home"
    number, *homes, restored_to = row
    return Life(number, Home(*homes[:2]), Home(*homes[2:]), restored_to)


def begin_restore(connection: Connection, life: int) -> None:
    """From now on steps may be taken over from the rail, and nothing is paid until the life has begun."""
    connection.execute(_SQL["begin_restore"], [life])


def begin_life(connection: Connection, number: int, reason: str, caught_up: Mapping[str, int]) -> None:
    """Begin a life, and any before it that the ledger has no row of, because they were lost with their database."""
    with connection.transaction():
        for lost in range(present_life(connection).number + 1, number):
            _begin(connection, lost, LOST, {})
        _begin(connection, number, reason, caught_up)


def _begin(connection: Connection, number: int, reason: str, caught_up: Mapping[str, int]) -> None:
    connection.execute(_SQL["begin"], {"number": number, "reason": reason, "caught_up": json.dumps(caught_up)})


def steps_of(connection: Connection, execution_ids: Sequence[str]) -> dict[str, int]:
    """How many steps each has taken, of those that the ledger knows."""
    rows = connection.execute(_SQL["steps"], [list(execution_ids)]).fetchall()
    return dict(rows)


def logged_since(connection: Connection, since: datetime) -> list[str]:
    """The executions whose decisions were logged since, or nobody knows when."""
    return [name for (name,) in connection.execute(_SQL["logged_since"], [since]).fetchall()]
