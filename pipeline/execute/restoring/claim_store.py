"""Money that a restored ledger has set aside for people, and that somebody is said to have given free.

The database goes by the rows, since it can't check a signature. So whoever holds the review role's credential and
nobody's key could give free what the rail has taken already, to be spent a second time; the executor proves it first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import structlog

from pipeline.io.postgres import Connection, statements
from pipeline.people.act_store import RegistryReader, proved
from pipeline.people.registry import Expected
from pipeline.review.recovery_store import closing

ACTS_KNOWN_MAX: Final = 10_000
"""Proofs that are remembered, at some hundred bytes each; one costs a tenth of a millisecond to make again."""
_SQL: Final = statements("pipeline.execute.restoring", "claims")
_log = structlog.stdlib.get_logger("execute")


class ReleasedClaims:
    """For one thread. Raises psycopg's exceptions."""

    def __init__(self) -> None:
        self._people = RegistryReader()
        self._known: dict[str, bool] = {}  # whether an act counts, by its digest

    def unproved_minor(self, connection: Connection, accounts: str, currencies: str) -> Mapping[tuple[str, str], int]:
        """How much of these accounts is given free by nobody who proved it; as arrays, each with its currency."""
        rows = connection.execute(_SQL["released_claims"], [accounts, currencies]).fetchall()
        found: Counter[tuple[str, str]] = Counter()
        if not rows:
            return found
        self._judge(connection, rows)
        claims: dict[tuple[str, int], bool] = {}
        for execution_id, sequence, *_, act in rows:
            claims[execution_id, sequence] = claims.get((execution_id, sequence), False) or self._known[act]
        for execution_id, sequence, account_id, currency, amount_minor, *_ in rows:
            if claims.pop((execution_id, sequence), True):
                continue
            found[account_id, currency] += int(amount_minor)
            _log.error("claim_unproved", execution_id=execution_id, sequence=sequence)
        return found

    def _judge(self, connection: Connection, rows: list[tuple[Any, ...]]) -> None:
        if len(self._known) > ACTS_KNOWN_MAX:
            self._known.clear()
        wanted: dict[str | None, Expected] = {
            act: closing(execution_id, sequence, name, reason)
            for execution_id, sequence, _, _, _, name, reason, act in rows
            if act not in self._known
        }
        if wanted:
            counting = proved(connection, self._people.read(connection), wanted)
            self._known |= {act: act in counting for act in wanted if act is not None}
