"""Takes a statement of the rail in: checked by itself, stored, and held against the ledger, all or nothing.

What differs is told on alerts.v1 before it is stored, so a crash in between tells it again under the same ids.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

from pipeline.alerts.catalogue import AlertCode, alert
from pipeline.alerts.publisher_topics import AlertPublisher
from pipeline.domain.alert import Alert
from pipeline.io.postgres import Connection, failures_named
from pipeline.reconcile.statement.camt_files import read_camt
from pipeline.reconcile.statement.comparing import (
    ALWAYS_NEW,
    Comparison,
    Difference,
    Found,
    bookings,
    gap_of,
    healed,
    no_statement,
    time_before,
    time_missing,
    twice,
)
from pipeline.reconcile.statement.csv_files import read_csv
from pipeline.reconcile.statement.entries import (
    Entry,
    Gap,
    Head,
    StatementUnusable,
    filled,
    fits,
    follows,
    is_gap,
)
from pipeline.reconcile.statement.statement_store import Statements

FILE_BYTES_MAX: Final = 4 * 1024**3
ENTRIES_MAX: Final = 2_000_000
"""Entries of one statement, which are compared in memory: about half a kilobyte each."""
GRACE: Final = timedelta(minutes=15)
"""What the ledger recorded within it before a statement's end may stand on the next: clocks differ, and an answer takes
its time."""
MISSED_AFTER: Final = timedelta(days=1)
"""How long before the end of the statements that came a payment must have been made, for a statement of its own
currency to be missed: a rail sends those of several currencies one after the other, each day."""
AROUND_BEFORE, AROUND_AFTER = timedelta(hours=1), timedelta(days=2)
"""Where executions are looked for first: the rail books between asking and the answer, or the answer after a doubt."""
ALERTS_MAX: Final = 100
_XML: Final = (b"<", b"\xef\xbb\xbf<", b"\xfe\xff", b"\xff\xfe")

Reader = Callable[[BinaryIO], Iterator[Head | Entry]]


class Taken(NamedTuple):
    """One statement that was taken in."""

    number: int  # as it is stored
    head: Head
    entries: int
    opened: list[Found]
    closed: list[Found]


class StatementIntake:
    """For one thread. Raises StatementUnusable, DatabaseUnavailable, DatabaseRefused and BrokerFailed."""

    def __init__(self, connection: Connection, account_id: str, alerts: AlertPublisher[None]) -> None:
        """account_id: ours at the rail; a statement of another is refused."""
        self._connection, self._account_id, self._alerts = connection, account_id, alerts
        self._statements = Statements(connection)

    def take(self, path: Path) -> list[Taken]:
        """Take in all statements of a file."""
        if path.stat().st_size > FILE_BYTES_MAX:
            raise StatementUnusable(f"the file is larger than {FILE_BYTES_MAX // 1024**3} GiB")
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").digest()
            file.seek(0)
            read = reader_of(file)
            with failures_named(), self._connection.transaction():
                self._statements.begin()
                taken = [self._take(*each, sha256) for each in statements_of(read(file))]
                self._look_for_other_currencies(taken)
                return taken

    def _take(self, head: Head, entries: Iterator[Entry], sha256: bytes) -> Taken:
        if head.account_id != self._account_id:
            raise StatementUnusable("the statement is of another account than FRAUD_RAIL_ACCOUNT")
        open_before = self._statements.open_findings(head.account_id, head.currency)
        missing = [each for each in open_before.values() if each.kind is Difference.TIME_MISSING]
        gaps = {gap_of(each): each for each in missing}
        befores = {gap: self._statements.around(head.account_id, head.currency, gap)[0] for gap in gaps}
        before_first = next((gap for gap, before_minor in befores.items() if before_minor is None), None)
        if (gap := filled(head, gaps, before_first)) is not None:
            return self._take_late(head, entries, sha256, gap, gaps[gap])
        last = self._statements.last(head.account_id, head.currency)
        now = self._statements.now()
        follows(head, None if last is None else last[0], now)
        # A statement may have been taken in before its end: what was recorded since was not due then.
        due_since = head.from_at if last is None else min(last[0].to_at, last[1]) - GRACE
        if last is None:
            paid_at = self._statements.first_paid(head.currency)
            after = [time_before(paid_at, head.from_at)] if paid_at and paid_at < head.from_at - GRACE else []
        else:
            after = [time_missing(last[0].to_at, head.from_at)] if is_gap(head, last[0]) else []
        return self._compared(head, entries, sha256, due_since, after, [])

    def _take_late(self, head: Head, entries: Iterator[Entry], sha256: bytes, gap: Gap, named: Found) -> Taken:
        """Take in a statement of time that was missing between two others. It fills that from its beginning on."""
        left = fits(head, gap, *self._statements.around(head.account_id, head.currency, gap))
        after = [] if left is None else [time_missing(*left)]
        return self._compared(head, entries, sha256, gap.ended_at - GRACE, after, [named])

    def _compared(
        self,
        head: Head,
        entries: Iterator[Entry],
        sha256: bytes,
        due_since: datetime,
        after: list[Found],
        filled_gaps: list[Found],
    ) -> Taken:
        """after: what differs by the statement's time alone. filled_gaps: differences that it ends."""
        comparison = Comparison(due_since.timestamp(), (head.to_at - GRACE).timestamp())
        number, count = self._statements.insert(head, _noting(entries, head, comparison), sha256)
        open_before = self._statements.open_findings(head.account_id, head.currency)
        self._carry(comparison, open_before.values())
        self._compare(head, comparison, min(due_since, head.from_at))
        on_earlier = self._statements.on_statements(comparison.not_on_it)
        found = comparison.end(on_earlier)
        found += [twice(*each) for each in self._statements.booked_before(number)] + after
        return self._end(head, (number, count), found, open_before, filled_gaps)

    def _end(
        self,
        head: Head,
        stored: tuple[int, int],
        found: list[Found],
        open_before: dict[str, Found],
        filled_gaps: list[Found],
    ) -> Taken:
        number, count = stored
        known = {(each.kind, each.key) for each in open_before.values() if each.kind not in ALWAYS_NEW}
        opened = [each for each in found if (each.kind, each.key) not in known]
        on_statements = self._statements.on_statements({each.key for each in open_before.values()})
        closed = [*healed(open_before.values(), found, on_statements), *filled_gaps]
        self._tell(head, opened)
        self._statements.store(head, number, opened, closed)
        return Taken(number, head, count, opened, closed)

    def _look_for_other_currencies(self, taken: Sequence[Taken]) -> None:
        """Name each currency that payments were made in, and of which a statement is a day late.

        By when the statements end that were taken in now: those of other currencies may come after them.
        """
        if not taken:
            return
        last = taken[-1]
        stated_until = min(max(each.head.to_at for each in taken), self._statements.now())
        for currency, until in self._statements.without_statement(self._account_id, stated_until - MISSED_AFTER):
            found, head = no_statement(currency, until), last.head._replace(currency=currency)
            known = self._statements.open_findings(self._account_id, currency).values()
            if (found.kind, found.key) not in {(each.kind, each.key) for each in known}:
                self._tell(head, [found])
                self._statements.store(head, last.number, [found], [])
                last.opened.append(found)

    def _carry(self, comparison: Comparison, findings: Iterable[Found]) -> None:
        """Look again at entries of earlier statements that the ledger had not come to."""
        late = (Difference.NOT_IN_LEDGER, Difference.DONE_OTHERWISE)
        keys = {each.key for each in findings if each.kind in late}
        for entry in self._statements.entries_of(keys - set(comparison.keys)):
            comparison.take(entry, "")

    def _compare(self, head: Head, comparison: Comparison, since: datetime) -> None:
        """Around the statement's time first, and over the whole ledger only where that leaves something unexplained."""
        since, until = since - AROUND_BEFORE, head.to_at + AROUND_AFTER
        self._look(head, comparison, since, until)
        if comparison.has_unexplained:
            self._look(head, comparison, until, None)
            self._look(head, comparison, None, since)

    def _look(self, head: Head, comparison: Comparison, since: datetime | None, until: datetime | None) -> None:
        for execution in self._statements.executions(head.currency, since, until):
            for booking in bookings(execution):
                comparison.look_at(booking)

    def _tell(self, head: Head, findings: list[Found]) -> None:
        at_ms = time.time_ns() // 1_000_000
        alerts = [_alert(head, each, at_ms) for each in findings[:ALERTS_MAX]]
        if len(findings) > ALERTS_MAX:
            evidence = {"account": head.account_id, "sequence": str(head.sequence), "count": str(len(findings))}
            text = (
                f"The rail's statement {head.sequence} and the ledger differ {len(findings):,} times; {ALERTS_MAX} of "
                "these are told one by one."
            )
            alerts.append(alert(AlertCode.STATEMENT_DIFFERENCES, text, "rail", evidence, at_ms))
        if alerts:
            self._alerts.publish(alerts)


def reader_of(file: BinaryIO) -> Reader:
    """By how the file begins: XML begins with an angle bracket, and a CSV with the name of its first column."""
    beginning = file.read(64).lstrip()
    file.seek(0)
    return read_camt if beginning.startswith(_XML) else read_csv


def statements_of(parts: Iterator[Head | Entry]) -> Iterator[tuple[Head, Iterator[Entry]]]:
    """Each statement's head with its entries, which must be read to their end before the next is asked for."""
    head = next(parts, None)
    while isinstance(head, Head):
        following: list[Head] = []
        yield head, _until_next(parts, following)
        head = following[0] if following else None


def _until_next(parts: Iterator[Head | Entry], following: list[Head]) -> Iterator[Entry]:
    for part in parts:
        if isinstance(part, Head):
            following.append(part)
            return
        yield part


def _noting(entries: Iterator[Entry], head: Head, comparison: Comparison) -> Iterator[Entry]:
    for entry in entries:
        if entry.number > ENTRIES_MAX:
            raise StatementUnusable(f"a statement has more than {ENTRIES_MAX} entries")
        comparison.take(entry, f"{head.name}:{entry.number}")
        yield entry


def _alert(head: Head, found: Found, at_ms: int) -> Alert:
    text = f"The rail's statement {head.sequence} and the ledger differ about a payment: {found.detail} ({found.kind})."
    evidence = {"account": head.account_id, "currency": head.currency, "key": found.key, "kind": found.kind.value}
    if found.kind in ALWAYS_NEW:
        evidence["from"] = head.from_at.isoformat()  # which of the statements that are named alike
    return alert(AlertCode.STATEMENT_DIFFERS, text, "rail", evidence, at_ms)
