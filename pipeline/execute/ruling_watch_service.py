"""Whether the rail says otherwise, after all, than two people have ruled: it is asked about those keys again.

Nothing is moved by it: whatever the rail says then, people find out which of the two is so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import structlog

from pipeline.execute.ledger_store import Ledger, NewRecovery, RuledKey
from pipeline.execute.notice_topics import Notices
from pipeline.execute.rail_client import Known, KnownTransfer, Rail, RailSilent
from pipeline.execute.saga import RULING_CONTRADICTED
from pipeline.io.postgres import Connection, failures_named

LOOK_INTERVAL_S: Final = 600.0
KEYS_MAX: Final = 2_000
"""Asked about in one look, the latest first: one request."""

log = structlog.get_logger("executor")


class RulingWatch:
    """For one thread."""

    def __init__(self, ledger: Ledger, rail: Rail, notices: Notices) -> None:
        self._ledger, self._rail, self._notices = ledger, rail, notices
        self._due_s = 0.0

    def look_if_due(self, connection: Connection, partitions: Sequence[int]) -> None:
        if time.monotonic() >= self._due_s:
            self.look(connection, partitions)
            self._due_s = time.monotonic() + LOOK_INTERVAL_S

    def look(self, connection: Connection, partitions: Sequence[int]) -> list[RuledKey]:
        """Open a case for each ruling that the rail contradicts, and tell it; return those."""
        with failures_named():
            keys = self._ledger.ruled_keys(connection, partitions, KEYS_MAX)
        if not keys:
            return []
        try:
            said = self._rail.look_up([each.key for each in keys])
        except RailSilent as error:
            log.warning("rulings_not_compared", keys=len(keys), why=str(error))
            return []
        found = [each for each in keys if is_contradicted(said[each.key], is_made=each.is_made)]
        with failures_named(), connection.transaction():
            self._ledger.append_recoveries(connection, [_case(each) for each in found])
        self._notices.raise_contradicted(found)
        return found


def is_contradicted(known: Known | None, *, is_made: bool) -> bool:
    """Whether what the rail has under a key is not what was ruled. That it knows nothing of it says nothing.

    is_made: what was ruled, that the rail did what it was asked.
    """
    if known is None:
        return False
    was_done = known.was_paid if isinstance(known, KnownTransfer) else known.was_taken_back
    return was_done is not is_made


def _case(ruled: RuledKey) -> NewRecovery:
    return NewRecovery(ruled.execution_id, ruled.sequence, RULING_CONTRADICTED, ruled.amount_minor, ruled.currency)
