"""Rulings that count: whoever would act on one proves first that two people have signed exactly that."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import structlog

from pipeline.io.postgres import Connection, statements
from pipeline.people.act_store import RegistryReader, proved, unproved
from pipeline.people.registry import Expected, Registry
from pipeline.people.roles import is_same
from pipeline.ruling.acts import Doubt, Line, Ruling, Subject, Verdict, confirmation, proposal

_SQL: Final = statements("pipeline.ruling", "ruling")
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


class Claim(NamedTuple):
    """A row of control.confirmed_ruling, from its id on; it is proved about the thing that it is looked up for."""

    ruling_id: str
    verdict: str
    evidence: str
    reason: str
    proposed_by: str
    proposed_act: str
    confirmed_by: str
    confirmed_act: str


class ProvedRulings:
    """For one thread. Raises psycopg's exceptions."""

    def __init__(self) -> None:
        self._people = RegistryReader()
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
        for execution_id, sequence, *claim in rows:
            doubt, one = wanted[execution_id], Claim(*claim)
            is_it = sequence == doubt.sequence and doubt not in found
            if is_it and self._counts(connection, doubt, one):
                found[doubt] = proved_ruling(doubt, one)
        return found

    def of_lines(self, connection: Connection) -> dict[tuple[int, int], Proved]:
        """Return what accounts for lines of statements, by statement and number; a line that has changed has nothing.

        What two people signed stays, though they leave.
        """
        rows = connection.execute(_SQL["rulings_of_lines"]).fetchall()
        claimed = [(Line(*row[:_LINE_COLUMNS]), Claim(*row[_LINE_COLUMNS:])) for row in rows]
        counting = proved(connection, self._people.read(connection), expected_acts(claimed))
        found: dict[tuple[int, int], Proved] = {}
        for line, claim in claimed:
            place, acts = (line.statement_number, line.number), {claim.proposed_act, claim.confirmed_act}
            if place not in found and acts <= counting and not is_same(claim.proposed_by, claim.confirmed_by):
                found[place] = proved_ruling(line, claim)
        return found

    def unproved_steps(self, connection: Connection) -> list[tuple[str, int]]:
        """Return the steps by rulings, as execution and sequence, that nobody proves two people to have ruled."""
        registry, found = self._people.read(connection), []
        for execution_id, sequence, subject, *claim in connection.execute(_SQL["rulings_taken"]).fetchall():
            doubt = _doubt(subject)
            is_it = doubt is not None and (doubt.execution_id, doubt.sequence) == (execution_id, sequence - 1)
            if doubt is None or not is_it or _fault(connection, registry, doubt, Claim(*claim), is_pending=False):
                found.append((execution_id, sequence))
        return found

    def _counts(self, connection: Connection, doubt: Doubt, claim: Claim) -> bool:
        if not self._proofs_left or claim.ruling_id in self._void_until_s:
            return False
        self._proofs_left -= 1
        fault = _fault(connection, self._people.read(connection), doubt, claim, is_pending=True)
        if fault is not None:
            self._void_until_s[claim.ruling_id] = time.monotonic() + VOID_S
            _log.error("ruling_unproved", ruling_id=claim.ruling_id, why=fault)
        return fault is None


def _fault(connection: Connection, registry: Registry, about: Subject, claim: Claim, *, is_pending: bool) -> str | None:
    if is_same(claim.proposed_by, claim.confirmed_by):
        return "one person has signed twice"
    return unproved(connection, registry, expected_acts([(about, claim)]), is_pending=is_pending)


def counts_as_proposed(connection: Connection, registry: Registry, ruling: Ruling, proposed_by: str, act: str) -> bool:
    """Whether somebody who has key and role still has signed just this proposal."""
    return unproved(connection, registry, {act: proposal(ruling, proposed_by)}, is_pending=True) is None


def expected_acts(claimed: Iterable[tuple[Subject, Claim]]) -> dict[str | None, Expected]:
    """What must have been signed, by the acts' digests."""
    found: dict[str | None, Expected] = {}
    for about, claim in claimed:
        ruling = ruling_of(about, claim)
        found[claim.proposed_act] = proposal(ruling, claim.proposed_by)
        found[claim.confirmed_act] = confirmation(ruling, claim.confirmed_by)
    return found


def proved_ruling(about: Subject, claim: Claim) -> Proved:
    return Proved(ruling_of(about, claim), claim.proposed_by, claim.confirmed_by, claim.confirmed_act)


def ruling_of(about: Subject, claim: Claim) -> Ruling:
    return Ruling(claim.ruling_id, about, Verdict(claim.verdict), claim.evidence, claim.reason)


def _doubt(subject: object) -> Doubt | None:
    """None where the row has another form than a doubt's."""
    if not isinstance(subject, dict) or subject.keys() != set(Doubt._fields):
        return None
    return Doubt(**subject)
