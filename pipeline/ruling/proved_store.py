"""Rulings that count: whoever would act on one proves first that two people have signed exactly that.

Whoever holds the credential that takes statements in can make one up, on which a theft looks clean. So a statement
counts as the rail's once two people have signed what each has in a copy of their own, and for nothing once two have
disowned it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import structlog

from pipeline.io.postgres import Connection, statements
from pipeline.people.act_store import RegistryReader, proved, unproved
from pipeline.people.registry import Expected, Registry
from pipeline.people.roles import is_same
from pipeline.ruling.acts import Doubt, Line, Matter, Ruling, Statement, Verdict, confirmation, proposal

_SQL: Final = statements("pipeline.ruling", "ruling")
_WORDS_SQL: Final = statements("pipeline.ruling", "statement_word")
PROOFS_A_LOOK: Final = 50
"""Rulings on doubts that are proved in one look, so that rows that nobody signed stop nobody; the others come next."""
VOID_S: Final = 600.0
"""How long a ruling that was not proved is left alone: a role may be granted again."""
_LINE_COLUMNS: Final = len(Line._fields)
_log = structlog.stdlib.get_logger("ruling")


class Proved(NamedTuple):
    """`act`: the digest of what the one who confirmed it has signed, in hexadecimal."""

    ruling: Ruling
    proposed_by: str
    confirmed_by: str
    act: str


RulingByDoubt = dict[Doubt, Proved]


class _Claim(NamedTuple):
    """A row of control.confirmed_ruling, from its id on; it is proved about the thing that it is looked up for."""

    ruling_id: str
    verdict: str
    evidence: str
    reason: str
    proposed_by: str
    proposed_act: str
    confirmed_by: str
    confirmed_act: str


class TakenIn(NamedTuple):
    """A statement as it was taken in. `name`: the rail's own id of it. `taken_at`: by the database's clock."""

    statement_number: int
    account_id: str
    currency: str
    sequence: int
    name: str
    from_at: datetime
    to_at: datetime
    taken_at: datetime


class ProvedRulings:
    """For one thread. Raises psycopg's exceptions."""

    def __init__(self) -> None:
        self._people, self._words = RegistryReader(), StatementWords()
        self._void_until_s: dict[str, float] = {}
        self._proofs_left = 0

    def of_doubts(self, connection: Connection, doubts: Sequence[Doubt]) -> RulingByDoubt:
        """Return the latest ruling on each of these doubts that counts now, while both people have key and role."""
        wanted = {doubt.execution_id: doubt for doubt in doubts}
        if not wanted:
            return {}
        self._proofs_left, now_s = PROOFS_A_LOOK, time.monotonic()
        self._void_until_s = {name: until_s for name, until_s in self._void_until_s.items() if until_s > now_s}
        rows = connection.execute(_SQL["rulings_of_executions"], [list(wanted)]).fetchall()
        found: RulingByDoubt = {}
        disowned = self._words.disowned(connection) if any(stated_on for _, _, stated_on, *_ in rows) else set()
        for execution_id, sequence, stated_on, *claim in rows:
            doubt, one = wanted[execution_id], _Claim(*claim)
            is_it = sequence == doubt.sequence and doubt not in found and disowned.issuperset(stated_on)
            if is_it and self._counts(connection, doubt, one):
                found[doubt] = _proved(doubt, one)
        return found

    def of_lines(self, connection: Connection) -> dict[tuple[int, int], Proved]:
        """Return what accounts for lines of statements, by statement and number; a line that has changed has nothing.

        What two people signed stays, though they leave.
        """
        rows = connection.execute(_SQL["rulings_of_lines"]).fetchall()
        claimed = [(Line(*row[:_LINE_COLUMNS]), _Claim(*row[_LINE_COLUMNS:])) for row in rows]
        counting = proved(connection, self._people.read(connection), _expected(claimed))
        found: dict[tuple[int, int], Proved] = {}
        for line, claim in claimed:
            place, acts = (line.statement_number, line.number), {claim.proposed_act, claim.confirmed_act}
            if place not in found and acts <= counting and not is_same(claim.proposed_by, claim.confirmed_by):
                found[place] = _proved(line, claim)
        return found

    def unproved_steps(self, connection: Connection) -> list[tuple[str, int]]:
        """Return the steps by rulings, as execution and sequence, that nobody proves two people to have ruled."""
        registry, found = self._people.read(connection), []
        for execution_id, sequence, subject, *claim in connection.execute(_SQL["rulings_taken"]).fetchall():
            doubt = _doubt(subject)
            is_it = doubt is not None and (doubt.execution_id, doubt.sequence) == (execution_id, sequence - 1)
            if doubt is None or not is_it or _fault(connection, registry, doubt, _Claim(*claim), is_pending=False):
                found.append((execution_id, sequence))
        return found

    def _counts(self, connection: Connection, doubt: Doubt, claim: _Claim) -> bool:
        if not self._proofs_left or claim.ruling_id in self._void_until_s:
            return False
        self._proofs_left -= 1
        fault = _fault(connection, self._people.read(connection), doubt, claim, is_pending=True)
        if fault is not None:
            self._void_until_s[claim.ruling_id] = time.monotonic() + VOID_S
            _log.error("ruling_unproved", ruling_id=claim.ruling_id, why=fault)
        return fault is None


class StatementWords:
    """What people say of the statements that were taken in. For one thread. Raises psycopg's exceptions."""

    def __init__(self) -> None:
        self._people = RegistryReader()

    def disowned(self, connection: Connection) -> set[int]:
        """Return the numbers of the statements that two people have disowned; they stay that, though people leave.

        With the one that they named, those of its account and currency that were taken in after it, until they said so.
        """
        rulings = [claim.ruling_id for _, claim in self._said(connection, Verdict.DISOWNED, is_whole=False)]
        return {number for (number,) in connection.execute(_WORDS_SQL["disowned_by"], [rulings]).fetchall()}

    def unvouched(self, connection: Connection, *, is_whole: bool) -> list[TakenIn]:
        """Return the statements of which no two people have said anything that is proved, oldest first.

        is_whole: the lines of the last month's are hashed again, which takes long where they are millions.
        """
        known = self._vouched(connection, is_whole=is_whole) | self.disowned(connection)
        rows = connection.execute(_WORDS_SQL["statements_but"], [sorted(known)]).fetchall()
        return [TakenIn(*row) for row in rows]

    def statement(self, connection: Connection, number: int) -> Statement | None:
        """Return a statement that was taken in, as people would sign it."""
        row = connection.execute(_WORDS_SQL["statement"], [number]).fetchone()
        return None if row is None else Statement(*row)

    def standing(self, connection: Connection, copy: Statement) -> Statement | None:
        """Return the statement that was taken in under the sequence of somebody's copy, and is not disowned."""
        wanted = {**copy._asdict(), "disowned": sorted(self.disowned(connection))}
        row = connection.execute(_WORDS_SQL["statement_like"], wanted).fetchone()
        return None if row is None else self.statement(connection, row[0])

    def is_vouched(self, connection: Connection, statement: Statement) -> bool:
        """Whether two people have proved to have said that it is the rail's, with just these lines."""
        return any(statement == said for said, _ in self._said(connection, Verdict.GENUINE, is_whole=False))

    def waiting(self, connection: Connection, statement: Statement, verdict: Verdict, name: str) -> Ruling | None:
        """Return what somebody else than `name` has proposed to say of just this statement, and still counts."""
        registry = self._people.read(connection)
        wanted = {"statement_number": statement.statement_number, "verdict": verdict.value}
        for ruling_id, evidence, reason, proposed_by, act in connection.execute(_WORDS_SQL["waiting_words"], wanted):
            ruling = Ruling(ruling_id, statement, verdict, evidence, reason)
            if not is_same(proposed_by, name) and _counts_as_proposed(connection, registry, ruling, proposed_by, act):
                return ruling
        return None

    def _vouched(self, connection: Connection, *, is_whole: bool) -> set[int]:
        said = self._said(connection, Verdict.GENUINE, is_whole=is_whole)
        return {statement.statement_number for statement, _ in said}

    def _said(self, connection: Connection, verdict: Verdict, *, is_whole: bool) -> list[tuple[Statement, _Claim]]:
        """What two people have proved to have said this of, as it stands now."""
        wanted = {"verdict": verdict.value, "is_whole": is_whole}
        rows = connection.execute(_WORDS_SQL["words_on_statements"], wanted).fetchall()
        if not rows:
            return []
        claimed = [(Statement(**subject), _Claim(*claim)) for subject, *claim in rows]
        counting = proved(connection, self._people.read(connection), _expected(claimed))
        return [
            (statement, claim)
            for statement, claim in claimed
            if {claim.proposed_act, claim.confirmed_act} <= counting
            and not is_same(claim.proposed_by, claim.confirmed_by)
        ]


def _fault(connection: Connection, registry: Registry, about: Matter, claim: _Claim, *, is_pending: bool) -> str | None:
    if is_same(claim.proposed_by, claim.confirmed_by):
        return "one person has signed twice"
    return unproved(connection, registry, _expected([(about, claim)]), is_pending=is_pending)


def _counts_as_proposed(connection: Connection, registry: Registry, ruling: Ruling, proposed_by: str, act: str) -> bool:
    """Whether somebody who has key and role still has signed just this proposal."""
    return unproved(connection, registry, {act: proposal(ruling, proposed_by)}, is_pending=True) is None


def _expected(claimed: Iterable[tuple[Matter, _Claim]]) -> dict[str | None, Expected]:
    """What must have been signed, by the acts' digests."""
    found: dict[str | None, Expected] = {}
    for about, claim in claimed:
        ruling = _ruling(about, claim)
        found[claim.proposed_act] = proposal(ruling, claim.proposed_by)
        found[claim.confirmed_act] = confirmation(ruling, claim.confirmed_by)
    return found


def _proved(about: Matter, claim: _Claim) -> Proved:
    return Proved(_ruling(about, claim), claim.proposed_by, claim.confirmed_by, claim.confirmed_act)


def _ruling(about: Matter, claim: _Claim) -> Ruling:
    return Ruling(claim.ruling_id, about, Verdict(claim.verdict), claim.evidence, claim.reason)


def _doubt(subject: object) -> Doubt | None:
    """None where the row has another form than a doubt's."""
    if not isinstance(subject, dict) or subject.keys() != set(Doubt._fields):
        return None
    return Doubt(**subject)
