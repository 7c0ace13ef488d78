"""The database of a bench: its migration, accounts with money, and the progress of all services as it records it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import psycopg

from ops.bench.rig.services import url_of
from ops.bench.rig.threads import Thread
from ops.migrations.migrate import migrate
from ops.stack.real import RealStack
from pipeline.domain.payment import Transaction
from pipeline.execute.ledger_admin_store import append_openings
from pipeline.execute.references import Opening
from pipeline.io.clock import now_ms
from pipeline.io.postgres import Connection, connect
from pipeline.keys.key_files import create_signing_key, read_key_set, replace_key_set, set_path_beside
from pipeline.keys.key_sets import KeyUse, with_key

AMPLE_MINOR: Final = 10**13
"""Balance above what any account of the traffic spends, so that no payment remains unsettled for want of funds."""
CONNECT_S: Final = 2
SAMPLE_S: Final = 4.0


def prepare_database(stack: RealStack, directory: Path) -> None:
    """Migrate the database, and make the keys `directory`/key, which signs heads of the audit log, and witness.key."""
    migrate(stack.database_url)
    create_signing_key(directory / "key")
    key_set_path = set_path_beside(directory / "key")
    witness = create_signing_key(directory / "witness.key", KeyUse.WITNESS, with_set=False)
    replace_key_set(key_set_path, with_key(read_key_set(key_set_path), KeyUse.WITNESS, witness.public, now_ms()))


def open_payers(database_url: str, transactions: Iterable[Transaction], balance_minor: int = AMPLE_MINOR) -> int:
    """Open every account that pays, in each of its currencies, and return how many there are."""
    payers = {(transaction.account_id, transaction.currency): transaction.event_time_ms for transaction in transactions}
    openings = [Opening(account_id, currency, 0, balance_minor) for account_id, currency in sorted(payers)]
    return append_all(database_url, openings, min(payers.values(), default=0))


def append_all(database_url: str, openings: Iterable[Opening], opened_at_ms: int) -> int:
    """Open accounts in the treasurer's role, the only one that may."""
    with connect(url_of(database_url, "fraud_treasurer"), "bench") as connection:
        return append_openings(connection, list(openings), opened_at_ms)


def states(connection: Connection) -> dict[str, int]:
    """Count the executions in each state; the state is NEW where no step was taken yet."""
    rows = connection.execute(
        "SELECT coalesce(state, 'NEW'), count(*) FROM ledger.execution_state GROUP BY 1 ORDER BY 1"
    ).fetchall()
    return dict(rows)


def settled_offsets(database_url: str) -> dict[int, int]:
    """Return the offset up to which each partition of decisions.v1 is executed and announced.

    It is empty while the database is away.
    """
    return positions(database_url, "executor-settled")


def positions(database_url: str, consumer: str) -> dict[int, int]:
    """Return how far a consumer of decisions.v1 has come, by partition; empty while the database is away."""
    try:
        with psycopg.connect(database_url, connect_timeout=CONNECT_S) as connection:
            rows = connection.execute(
                "SELECT partition, next_offset FROM control.consumer_position"
                " WHERE consumer = %s AND topic LIKE '%%decisions.v1'",
                [consumer],
            ).fetchall()
            return dict(rows)
    except psycopg.OperationalError:
        return {}


class Sampler:
    """Checks again and again, while everything runs, that all accounts sum to zero and that none is overdrawn."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self.samples = 0
        self.wrong: list[str] = []
        self.thread = Thread("sampler", self._run)

    def _run(self) -> None:
        while not self.thread.stopping.wait(SAMPLE_S):
            with contextlib.suppress(psycopg.OperationalError):  # the server is away, which is one of the faults
                self._sample()

    def _sample(self) -> None:
        """Take one snapshot. It sums entry by entry, and doesn't use the ledger's own views."""
        with psycopg.connect(self._database_url, connect_timeout=CONNECT_S) as connection:
            rows = connection.execute(
                "WITH entry AS (SELECT currency, amount_minor FROM ledger.posting UNION ALL"
                " SELECT currency, -amount_minor FROM ledger.posting)"
                " SELECT currency, sum(amount_minor) FROM entry GROUP BY currency"
            ).fetchall()
            overdrawn = connection.execute(
                "WITH change AS (SELECT source_account_id AS account_id, currency, -amount_minor AS amount_minor"
                " FROM ledger.posting UNION ALL SELECT destination_account_id, currency, amount_minor"
                " FROM ledger.posting)"
                " SELECT account_id, currency FROM change WHERE account_id <> '/funding'"
                " GROUP BY account_id, currency HAVING sum(amount_minor) < 0"
            ).fetchall()
        self.samples += 1
        self.wrong += [f"{currency} sums to {total}" for currency, total in rows if total]
        self.wrong += [f"{account_id} is below zero in {currency}" for account_id, currency in overdrawn]
