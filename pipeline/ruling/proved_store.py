"""Rulings that count: whoever would act on one proves first that two people have signed exactly that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import structlog

from pipeline.io.postgres import Connection, statements
from pipeline.people.act_store import RegistryReader, unproved
from pipeline.people.registry import Registry
from pipeline.people.roles import is_same
from pipeline.ruling.acts import Doubt, Line, Ruling, Verdict, confirmation, proposal

_SQL: Final = statements("pipeline.ruling", "ruling")
_LINE_COLUMNS: Final = len(Line._fields)
_log = structlog.stdlib.get_logger("ruling")


class Proved(NamedTuple):
    """`act`: the digest of what the one who confirmed it has signed, in hexadecimal."""

    ruling: Ruling
    proposed_by: str
    confirmed_by: str
    act: str


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


class ProvedRulings:
    """For one thread. Raises psycopg's exceptions."""

    def __init__(self) -> None:
        self._people = RegistryReader()
        self._told: set[str] = set()

    def of_doubts(self, connection: Connection, doubts: Sequence[Doubt]) -> dict[Doubt, Proved]:
        """Return the latest ruling on each of these doubts that counts now, while both people have key and role."""
        wanted = {doubt.execution_id: doubt for doubt in doubts}
        if not wanted:
            return {}
        rows = connection.execute(_SQL["rulings_of_executions"], [list(wanted)]).fetchall()
        found: dict[Doubt, Proved] = {}
        for execution_id, *claim in rows:
            doubt = wanted[execution_id]
            if doubt not in found and (proved := self._proved(connection, doubt, claim, is_pending=True)) is not None:
                found[doubt] = proved
        return found

    def of_lines(self, connection: Connection) -> dict[tuple[int, int], Proved]:
        """Return what accounts for lines of statements, by statement and number; a line that has changed has nothing.

        What two people signed stays, though they leave.
        """
        found: dict[tuple[int, int], Proved] = {}
        for row in connection.execute(_SQL["rulings_of_lines"]).fetchall():
            line, claim = Line(*row[:_LINE_COLUMNS]), row[_LINE_COLUMNS:]
            place = line.statement_number, line.number
            if place not in found and (proved := self._proved(connection, line, claim, is_pending=False)) is not None:
                found[place] = proved
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

    def _proved(
        self, connection: Connection, about: Doubt | Line, row: Sequence[Any], *, is_pending: bool
    ) -> Proved | None:
        claim = _Claim(*row)
        fault = _fault(connection, self._people.read(connection), about, claim, is_pending=is_pending)
        if fault is None:
            return Proved(_ruling(about, claim), claim.proposed_by, claim.confirmed_by, claim.confirmed_act)
        if claim.ruling_id not in self._told:
            self._told.add(claim.ruling_id)
            _log.error("ruling_unproved", ruling_id=claim.ruling_id, why=fault)
        return None


def _fault(
    connection: Connection, registry: Registry, about: Doubt | Line, claim: _Claim, *, is_pending: bool
) -> str | None:
    if is_same(claim.proposed_by, claim.confirmed_by):
        return "one person has signed twice"
    ruling = _ruling(about, claim)
    claims = {
        claim.proposed_act: proposal(ruling, claim.proposed_by),
        claim.confirmed_act: confirmation(ruling, claim.confirmed_by),
    }
    return unproved(connection, registry, claims, is_pending=is_pending)


def _ruling(about: Doubt | Line, claim: _Claim) -> Ruling:
    return Ruling(claim.ruling_id, about, Verdict(claim.verdict), claim.evidence, claim.reason)


def _doubt(subject: object) -> Doubt | None:
    """None where the row has another form than a doubt's."""
    if not isinstance(subject, dict) or subject.keys() != set(Doubt._fields):
        return None
    return Doubt(**subject)
