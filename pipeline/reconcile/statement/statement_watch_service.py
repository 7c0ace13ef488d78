"""The watch for statements that don't come: what no statement is of was held against nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.domain.alert import Alert
from pipeline.io.postgres import Connection, failures_named
from pipeline.reconcile.statement.comparing import Found, no_statement
from pipeline.reconcile.statement.statement_store import Statements

UNSTATED_AFTER: Final = timedelta(days=4)
"""How long ago a payment was made that no statement is of yet: banks make none at weekends and on holidays."""


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


class StatementWatch:
    """For one thread."""

    def __init__(self, account_id: str, publish: Callable[[Sequence[Alert]], None], now_ms: Callable[[], int]) -> None:
        self._account_id, self._publish, self._now_ms = account_id, publish, now_ms

    def look(self, connection: Connection) -> list[Unstated]:
        """Return what no statement came of, having told of it, at each look under the same ids.

        Raises DatabaseUnavailable, DatabaseRefused and BrokerFailed.
        """
        with failures_named():
            found = unstated(connection, self._account_id)
        if found:
            self._publish([_alert(self._account_id, each, self._now_ms()) for each in found])
        return found


def _alert(account_id: str, unstated: Unstated, at_ms: int) -> Alert:
    """Under the id by which whoever takes a statement in tells of the same."""
    currency, found = unstated
    text = f"{found.kind}: {found.detail}, so nothing was held against them."
    evidence = {"account": account_id, "currency": currency, "key": found.key, "kind": found.kind.value}
    return alert(AlertCode.STATEMENT_DIFFERS, text, "rail", evidence, at_ms)
