"""Statements, their entries and what differs, in PostgreSQL; and the ledger's side of the comparison.

Every method runs in the transaction that the caller opened. Raises psycopg's errors.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final, NamedTuple, cast
from uuid import UUID, uuid5

from pipeline.io.postgres import Connection, statements
from pipeline.reconcile.statement.comparing import ALWAYS_NEW, Difference, Execution, Found
from pipeline.reconcile.statement.entries import Entry, Gap, Head, Kind, Sum
from pipeline.ruling.proved_store import Proved, ProvedRulings, StatementWords
from pipeline.ruling.proved_store import TakenIn as TakenIn  # what `Statements.unvouched` returns

EXECUTIONS_A_READ: Final = 5_000
_NAMESPACE: Final = UUID("8e1d5b0a-4c6f-5a3e-9f27-61c0d8a4b7f3")


class OpenFinding(NamedTuple):
    """A difference that nothing has healed yet, as it was found.

    explained: of a line that names no key of ours, what two people have ruled; None where nobody has accounted for it.
    """

    account_id: str
    currency: str
    found: Found
    at: datetime
    explained: Proved | None = None


class Stated(NamedTuple):
    """The statement up to whose end an account was compared in a currency."""

    account_id: str
    currency: str
    sequence: int
    until: datetime


class Statements:
    """For one thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sql = statements("pipeline.reconcile.statement", "statement")
        self._rulings = ProvedRulings()
        self._words = StatementWords()
        self._disowned_numbers: list[int] | None = None

    def begin(self) -> None:
        """In the transaction of a file."""
        self._connection.execute(self._sql["long_statements"])
        self._disowned_numbers = None

    @property
    def _disowned(self) -> list[int]:
        """The statements that two people have proved to have disowned, as of the first look or the last `begin`."""
        if self._disowned_numbers is None:
            self._disowned_numbers = sorted(self._words.disowned(self._connection))
        return self._disowned_numbers

    def last(self, account_id: str, currency: str) -> tuple[Head, datetime] | None:
        """The last statement, and when it was taken in."""
        wanted = {"account_id": account_id, "currency": currency, "disowned": self._disowned}
        row = self._connection.execute(self._sql["last_statement"], wanted).fetchone()
        return None if row is None else (Head(*row[:-1]), row[-1])

    def now(self) -> datetime:
        """By the server's clock."""
        row = self._connection.execute(self._sql["server_time"]).fetchone()
        assert row is not None, "it always says the time"
        return cast("datetime", row[0])

    def without_statement(self, account_id: str, missed_before: datetime) -> list[tuple[str, datetime | None]]:
        """Currencies that the rail has paid in before a time and no statement is of.

        Each with where its last one ended, None where none was ever taken in.
        """
        wanted = {"account_id": account_id, "missed_before": missed_before, "disowned": self._disowned}
        rows = self._connection.execute(self._sql["without_statement"], wanted).fetchall()
        return [(currency, until) for currency, until in rows]

    def first_paid(self, currency: str) -> datetime | None:
        """When the ledger first had the rail's word that it paid in a currency; None where it never had."""
        row = self._connection.execute(self._sql["first_paid"], [currency]).fetchone()
        return None if row is None else cast("datetime", row[0])

    def around(self, account_id: str, currency: str, gap: Gap) -> tuple[int | None, int | None]:
        """What the account had where a gap begins, and where it ends."""
        wanted = {"account_id": account_id, "currency": currency, **gap._asdict(), "disowned": self._disowned}
        row = self._connection.execute(self._sql["around_gap"], wanted).fetchone()
        assert row is not None, "it is one row, of two values"
        return row[0], row[1]

    def insert(self, head: Head, entries: Iterable[Entry], sha256: bytes) -> tuple[int, int]:
        """Store a statement; return its number and how many entries it has. Raises StatementUnusable in the end where
        they don't lead to its closing balance; nothing of the transaction may be kept then."""
        row = self._connection.execute(
            self._sql["insert_statement"],
            {**head._asdict(), "entries": head.entries or 0, "file_sha256": sha256, "disowned": self._disowned},
        ).fetchone()
        assert row is not None, "the row is returned"
        (number,) = row
        total = Sum(head)
        with self._connection.cursor() as cursor, cursor.copy(self._sql["copy_entries"]) as copy:
            for entry in entries:
                total.add(entry)
                kept = entry.number, entry.kind, entry.key, entry.amount_minor
                copy.write_row((number, *kept, entry.debtor_account_id, entry.creditor_account_id))
        total.check()
        return number, total.entries

    def booked_before(self, statement_number: int) -> list[tuple[str, int]]:
        """Keys, with the amount, that stand on an earlier statement too."""
        wanted = {"statement_number": statement_number, "disowned": self._disowned}
        rows = self._connection.execute(self._sql["booked_before"], wanted)
        return [(key, amount_minor) for key, amount_minor in rows.fetchall()]

    def on_statements(self, keys: Collection[str]) -> set[str]:
        wanted = {"keys": list(keys), "disowned": self._disowned}
        rows = self._connection.execute(self._sql["keys_on_statements"], wanted)
        return {key for (key,) in rows.fetchall()}

    def entries_of(self, keys: Collection[str]) -> list[Entry]:
        rows = self._connection.execute(self._sql["entries_of"], {"keys": list(keys), "disowned": self._disowned})
        return [Entry(number, Kind(kind), *rest) for number, kind, *rest in rows.fetchall()]

    def executions(self, currency: str, since: datetime | None, until: datetime | None) -> Iterator[Execution]:
        """Executions of which a step that the rail is asked about was recorded in [since, until); None: without end."""
        wanted = {"currency": currency, "since": since or "-infinity", "until": until or "infinity"}
        with self._connection.cursor(name="executions") as cursor:
            cursor.itersize = EXECUTIONS_A_READ
            for row in cursor.execute(self._sql["executions_between"], wanted):
                yield Execution(*row)

    def stated(self) -> list[Stated]:
        """The last statement of each account and currency."""
        rows = self._connection.execute(self._sql["last_statements"], {"disowned": self._disowned}).fetchall()
        return [Stated(*row) for row in rows]

    def unvouched(self, *, is_whole: bool) -> list[TakenIn]:
        """Statements that no two people have proved to be the rail's, oldest first; disowned ones are none.

        is_whole: the lines of the last month's are hashed again.
        """
        return self._words.unvouched(self._connection, is_whole=is_whole)

    # What differs

    def open_findings(self, account_id: str, currency: str) -> dict[str, Found]:
        """What differs still, by its id."""
        wanted = {"account_id": account_id, "currency": currency, "disowned": self._disowned}
        rows = self._connection.execute(self._sql["open_findings"], wanted).fetchall()
        return {name: Found(Difference(kind), *rest) for name, kind, *rest, _ in rows}

    def all_open(self, limit: int) -> list[OpenFinding]:
        """What differs and nobody has accounted for, then as many of those that people have."""
        ruled = self._rulings.of_lines(self._connection)
        return self._open(limit, ruled, are_explained=False) + self._open(limit, ruled, are_explained=True)

    def _open(self, limit: int, ruled: Mapping[tuple[int, int], Proved], *, are_explained: bool) -> list[OpenFinding]:
        places = {
            "statements": [statement for statement, _ in ruled],
            "numbers": [number for _, number in ruled],
            "disowned": self._disowned,
        }
        wanted = {**places, "are_explained": are_explained, "limit": limit}
        return [
            OpenFinding(
                account_id,
                currency,
                Found(Difference(kind), key, *rest),
                at,
                ruled[statement_number, int(key.rpartition(":")[2])] if are_explained else None,
            )
            for kind, account_id, currency, key, *rest, at, statement_number in self._connection.execute(
                self._sql["all_open_findings"], wanted
            ).fetchall()
        ]

    def store(self, head: Head, number: int, opened: Iterable[Found], closed: Iterable[Found]) -> None:
        for event, findings in (("OPENED", opened), ("CLOSED", closed)):
            for found in findings:
                self._connection.execute(self._sql["insert_finding"], _row(head, number, event, found))


def finding_id(account_id: str, currency: str, found: Found, statement_number: int) -> str:
    place = f"|{statement_number}" if found.kind in ALWAYS_NEW else ""
    return str(uuid5(_NAMESPACE, f"{found.kind}|{account_id}|{currency}|{found.key}{place}"))


def _row(head: Head, number: int, event: str, found: Found) -> Mapping[str, object]:
    return {
        **found._asdict(),
        "finding_id": finding_id(head.account_id, head.currency, found, number),
        "event": event,
        "account_id": head.account_id,
        "currency": head.currency,
        "statement_number": number,
    }
