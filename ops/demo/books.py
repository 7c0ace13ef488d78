"""The demonstration's questions to the database: how far everything has come, where the money is, and what moved it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from ops.demo.meter import Meter
from pipeline.execute.postings import RESERVE_SUFFIX
from pipeline.io.postgres import Connection, Positions
from pipeline.io.settings import Settings

_DECISION_READERS: Final = ("audit", "executor", "executor-settled", "review")
_WAITING: Final = b"""
    SELECT count(*) FROM ledger.execution_state
    WHERE state IS NULL OR state IN
        ('SUBMITTED', 'IN_DOUBT', 'RECALLING', 'RECALL_IN_DOUBT', 'PART_RECALLING', 'PART_RECALL_IN_DOUBT')
"""
_FUNDS: Final = b"""
    SELECT owned.currency, sum(entry.amount_minor)::bigint
    FROM ledger.entry JOIN ledger.account AS owned
        ON owned.currency = entry.currency AND owned.account_id = split_part(entry.account_id, '/', 1)
    GROUP BY owned.currency ORDER BY owned.currency
"""
"""Statement of the funds. Money that is held stands on ACCOUNT/held, and no customer's id has a slash."""

_OF_CUSTOMER: Final = b"""
    SELECT coalesce(sum(amount_minor) FILTER (WHERE account_id = %(account)s), 0)::bigint,
        coalesce(sum(amount_minor) FILTER (WHERE account_id <> %(account)s), 0)::bigint
    FROM ledger.entry WHERE account_id IN (%(account)s, %(account)s || %(suffix)s) AND currency = %(currency)s
"""
_LAST_NUMBER: Final = b"SELECT coalesce(max(number), 0) FROM ledger.posting"
_STRANGERS: Final = b"""
    SELECT count(*) FROM ledger.posting AS moved JOIN ledger.execution AS heard USING (execution_id)
    WHERE moved.number > %(after)s AND heard.transaction_id <> ALL (%(transactions)s::text[])
"""
_PAID: Final = b"""
    SELECT currency, sum(amount_minor)::bigint FROM ledger.execution_state
    WHERE transaction_id = ANY (%s::text[]) AND state = 'SETTLED' GROUP BY currency ORDER BY currency
"""
_ACCOUNTED: Final = b"""
    SELECT (SELECT count(*) FROM audit.ai_decision_log),
        (SELECT count(*) FROM audit.dead_letter WHERE source_topic = %s),
        (SELECT count(*) FROM audit.reversal_log),
        (SELECT count(*) FROM audit.review_log)
"""
_STATES: Final = b"SELECT coalesce(state, 'NEW'), count(*) FROM ledger.execution_state GROUP BY 1 ORDER BY 1"


class CustomerFunds(NamedTuple):
    """The funds of one customer in one currency; `held_minor` is set aside until a person decides."""

    account_id: str
    currency: str
    available_minor: int
    held_minor: int


class Funds(NamedTuple):
    """All customers' funds by currency, those held for review included, up to the posting with `number`."""

    by_currency: Mapping[str, int]
    number: int


class Accounted(NamedTuple):
    """Rows of the audit log by kind, and executions by the state that they rest in."""

    decisions: int
    dead_letters: int
    reversals: int
    reviews: int
    states: Mapping[str, int]


def at_rest(connection: Connection, settings: Settings, meter: Meter) -> bool:
    """Return whether everything that the meter has read is audited, executed, seen by review, and out of doubt."""
    decisions, letters = meter.decisions_read(), meter.dead_letters_read()
    have_come = [
        _have_come(connection, Positions(reader, settings.topic("decisions.v1")), decisions)
        for reader in _DECISION_READERS
    ]
    letters_log = Positions("audit-dead-letters", settings.topic("transactions.dead.v1"))
    return all(have_come) and _have_come(connection, letters_log, letters) and not _number(connection, _WAITING)


def funds(connection: Connection) -> Funds:
    number = _number(connection, _LAST_NUMBER)
    return Funds(dict(connection.execute(_FUNDS).fetchall()), number)


def customer_funds(connection: Connection, account_id: str, currency: str) -> CustomerFunds:
    asked = {"account": account_id, "suffix": RESERVE_SUFFIX, "currency": currency}
    row = connection.execute(_OF_CUSTOMER, asked).fetchone()
    assert row is not None, "a sum has one row"
    return CustomerFunds(account_id, currency, *row)


def strangers(connection: Connection, after: int, transactions: list[str]) -> int:
    """Count the postings after the one with number `after` that are about none of these transactions."""
    with connection.transaction():
        # Statistics of a minute ago know of no posting after that one, so the planner would walk one table once for
        # every row of the other: 12,000 times 36,000, which ran into the statement timeout. A hash join takes 0.1 s.
        connection.execute(b"SET LOCAL enable_nestloop = off")
        return _number(connection, _STRANGERS, {"after": after, "transactions": transactions})


def paid(connection: Connection, transactions: list[str]) -> dict[str, int]:
    """Return what these payments have moved to their beneficiaries, by currency."""
    return dict(connection.execute(_PAID, [transactions]).fetchall())


def accounted(connection: Connection, settings: Settings) -> Accounted:
    row = connection.execute(_ACCOUNTED, [settings.topic("transactions.v1")]).fetchone()
    assert row is not None, "counts have one row"
    decisions, dead_letters, reversals, reviews = row
    states: dict[str, int] = dict(connection.execute(_STATES).fetchall())
    return Accounted(decisions, dead_letters, reversals, reviews, states)


def _have_come(connection: Connection, positions: Positions, wanted: Mapping[int, int]) -> bool:
    stored = positions.read(connection, wanted)
    return all(stored[partition] >= end for partition, end in wanted.items())


def _number(connection: Connection, query: bytes, values: Mapping[str, object] | None = None) -> int:
    row = connection.execute(query, values).fetchone()
    assert row is not None, "it has one row"
    return int(row[0])
