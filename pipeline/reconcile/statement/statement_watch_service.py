"""The watch for statements that don't come, or that nobody vouches for: what was held against none of the rail's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.domain.alert import Alert
from pipeline.io.postgres import Connection, failures_named
from pipeline.reconcile.statement.comparing import Difference, Found, no_statement, not_vouched
from pipeline.reconcile.statement.statement_store import Statements

UNSTATED_AFTER: Final = timedelta(days=4)
"""How long ago a payment was made that no statement is of yet: banks make none at weekends and on holidays."""

VOUCHED_WITHIN: Final = UNSTATED_AFTER
"""How long after it was taken in two people have said that a statement is the rail's."""
TOLD_MAX: Final = 100
"""Alerts of one look, where nobody has vouched for years."""


class Unstated(NamedTuple):
    currency: str
    found: Found


def unstated(connection: Connection, account_id: str) -> list[Unstated]:
    """Currencies in which the rail made payments that no statement is of, though one must have come by now.

    By the server's clock. Raises psycopg's errors.
    """
    statements = Statements(connection)
    missed = statements.without_statement(account_id, statements.now() - UNSTATED_AFTER)
    return [Unstated(currency, no_statement(currency, until)) for currency, until in missed]


def unvouched(connection: Connection) -> list[Unstated]:
    """Statements that were taken in long ago, and no two people vouch for. Raises psycopg's errors."""
    statements = Statements(connection)
    missed_before = statements.now() - VOUCHED_WITHIN
    return [
        Unstated(each.currency, not_vouched(each.sequence, each.statement_number))
        for each in statements.unvouched(is_whole=False)
        if each.taken_at < missed_before
    ]


class StatementWatch:
    """For one thread."""

    def __init__(self, account_id: str, publish: Callable[[Sequence[Alert]], None], now_ms: Callable[[], int]) -> None:
        self._account_id, self._publish, self._now_ms = account_id, publish, now_ms

    def look(self, connection: Connection) -> list[Unstated]:
        """Return what no statement came of, or none that counts, having told of it, at each look under the same ids.

        Raises DatabaseUnavailable, DatabaseRefused and BrokerFailed.
        """
        with failures_named():
            found = (unstated(connection, self._account_id) + unvouched(connection))[:TOLD_MAX]
        if found:
            self._publish([_alert(self._account_id, each, self._now_ms()) for each in found])
        return found


def _alert(account_id: str, unstated: Unstated, at_ms: int) -> Alert:
    """Under the id by which whoever takes a statement in tells of the same."""
    currency, found = unstated
    so = "it may be made up" if found.kind is Difference.UNVOUCHED else "nothing was held against them"
    text = f"About the rail's statements: {found.detail}, so {so} ({found.kind})."
    evidence = {"account": account_id, "currency": currency, "key": found.key, "kind": found.kind.value}
    return alert(AlertCode.STATEMENT_DIFFERS, text, "rail", evidence, at_ms)
