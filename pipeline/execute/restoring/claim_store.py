"""Money that a restored ledger has set aside for people, and that somebody is said to have given free.

The database goes by the rows, since it can't check a signature. So whoever holds the review role's credential and
nobody's key could give free what the rail has taken already, to be spent a second time; the executor proves it first.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Final

import structlog

from pipeline.io.postgres import Connection, statements
from pipeline.people.act_store import RegistryReader, proved
from pipeline.review.recovery_store import closing

PROOFS_A_LOOK: Final = 100
"""Some 10 ms, so that rows that nobody signed stop no payment, however many there are; the others come next."""
AGAIN_S: Final = 600.0
"""Between readings from the first row on: one that was stored late may have a lower number than those read before."""
_SQL: Final = statements("pipeline.execute.restoring", "claims")
_log = structlog.stdlib.get_logger("execute")


class ReleasedClaims:
    """For one thread. Raises psycopg's exceptions."""

    def __init__(self) -> None:
        self._people = RegistryReader()
        self._freed: set[tuple[str, int]] = set()  # execution and sequence of the case
        self._reached, self._again_at_s = 0, 0.0

    def unproved_minor(self, connection: Connection, accounts: str, currencies: str) -> Mapping[tuple[str, str], int]:
        """How much of these accounts is given free by nobody who proved it; as arrays, each with its currency."""
        rows = connection.execute(_SQL["released_claims"], [accounts, currencies]).fetchall()
        if any((execution_id, sequence) not in self._freed for execution_id, sequence, *_ in rows):
            self._read_on(connection)
        found: Counter[tuple[str, str]] = Counter()
        for execution_id, sequence, account_id, currency, amount_minor in rows:
            if (execution_id, sequence) not in self._freed:
                found[account_id, currency] += int(amount_minor)
                _log.error("claim_unproved", execution_id=execution_id, sequence=sequence)
        return found

    def _read_on(self, connection: Connection) -> None:
        """Prove the next of those who are said to have given something free."""
        rows = connection.execute(_SQL["claim_closings"], [self._reached, PROOFS_A_LOOK]).fetchall()
        if not rows and time.monotonic() >= self._again_at_s:
            self._reached, self._again_at_s = 0, time.monotonic() + AGAIN_S
            rows = connection.execute(_SQL["claim_closings"], [self._reached, PROOFS_A_LOOK]).fetchall()
        if not rows:
            return
        expected = {act: closing(execution_id, at, name, reason) for _, execution_id, at, name, reason, act in rows}
        counting = proved(connection, self._people.read(connection), expected)
        self._freed |= {(execution_id, at) for _, execution_id, at, _, _, act in rows if act in counting}
        self._reached = rows[-1][0]
