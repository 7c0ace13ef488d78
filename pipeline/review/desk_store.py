"""The desk where people act on cases: each act is one transaction that locks the case, asks the core, and appends its
answer.

The functions are the command's and the console's alike. Each act is signed by the person's own key; what they may do,
the registry says, as it is proved at that moment. What waited in the case and counts as nothing is voided first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from pipeline.io.postgres import Connection, failures_named
from pipeline.people.act_store import RegistryReader, sign_act
from pipeline.people.key_files import Identity
from pipeline.people.registry import Registry
from pipeline.people.roles import Person
from pipeline.people.store import person_of
from pipeline.review.case_store import CaseFile, CaseMoved, append_event, cases_by_name, cases_to_act_on, lock_cases
from pipeline.review.cases import (
    ACT_KINDS,
    CaseEvent,
    Judgement,
    ReviewRefusal,
    ReviewRules,
    State,
    claim,
    judge,
    release,
    subject_of,
)
from pipeline.review.proof_store import append_void, void_reason

LISTED_MAX: Final = 10_000


class NoSuchCase(Exception):
    """No decision or transaction with this id was ever escalated, as far as the review service has read."""


class SeveralDecisions(Exception):
    """Several decisions are about a transaction with this id; an act is on one of them."""

    def __init__(self, decision_ids: Sequence[str]) -> None:
        super().__init__(f"{len(decision_ids)} decisions")
        self.decision_ids = decision_ids


class Acted(NamedTuple):
    """The case after the act."""

    file: CaseFile
    event: CaseEvent


Act = Callable[[CaseFile, Person, int], CaseEvent | ReviewRefusal]


class ReviewDesk:
    """Raises DatabaseUnavailable and DatabaseRefused; NoSuchCase where an id leads to no case, and SeveralDecisions
    where an act is asked for on the id of several payments."""

    def __init__(self, connection: Connection, rules: ReviewRules, clock_ms: Callable[[], int]) -> None:
        self._connection, self._rules, self._clock_ms = connection, rules, clock_ms
        self._people = RegistryReader()

    def open_cases(self, limit: int) -> list[CaseFile]:
        """That people may act on, soonest expiry first."""
        with failures_named(), self._connection.transaction():
            return cases_to_act_on(self._connection, min(limit, LISTED_MAX))

    def rounds(self, wanted: str) -> list[CaseFile]:
        """All cases of a decision, or of all about a transaction, oldest first; `wanted` is the id of either."""
        with failures_named(), self._connection.transaction():
            return self._rounds(wanted)

    def claim(self, wanted: str, by: Identity) -> Acted | ReviewRefusal:
        return self._act(wanted, by, lambda f, who, at_ms: claim(f.case, f.standing, who, at_ms, self._rules))

    def release(self, wanted: str, by: Identity) -> Acted | ReviewRefusal:
        return self._act(wanted, by, lambda f, who, at_ms: release(f.case, f.standing, who, at_ms))

    def judge(self, wanted: str, by: Identity, judgement: Judgement) -> Acted | ReviewRefusal:
        """Decides, proposes, or answers a proposal: the event's kind says which."""
        return self._act(
            wanted, by, lambda f, who, at_ms: judge(f.case, f.standing, who, judgement, at_ms, self._rules)
        )

    def _act(self, wanted: str, by: Identity, act: Act) -> Acted | ReviewRefusal:
        with failures_named():
            try:
                with self._connection.transaction():
                    return self._locked_act(wanted, by, act)
            except CaseMoved:
                return ReviewRefusal.ACTED_MEANWHILE

    def _locked_act(self, wanted: str, by: Identity, act: Act) -> Acted | ReviewRefusal:
        decision_id, *others = dict.fromkeys(file.case.decision_id for file in self._rounds(wanted))
        if others:
            raise SeveralDecisions([decision_id, *others])
        lock_cases(self._connection, [decision_id])
        registry, now_ms = self._people.read(self._connection), self._clock_ms()
        file = self._rounds(decision_id)[-1]
        if (fault := self._fault_of_what_waits(registry, file)) is not None:
            file, _ = append_void(self._connection, file, fault, now_ms)
        event = act(file, person_of(registry, by), now_ms)
        if isinstance(event, ReviewRefusal):
            return event
        signed = sign_act(self._connection, by, ACT_KINDS[event.kind], subject_of(file.case, event), registry)
        event = event._replace(act=signed)
        append_event(self._connection, file.case, event)
        return Acted(file._replace(events=(*file.events, event)), event)

    def _fault_of_what_waits(self, registry: Registry, file: CaseFile) -> str | None:
        """Look at a claim or a proposal. An outcome is the service's to void, which knows whether it has sent it."""
        if file.standing.state is State.DECIDED:
            return None
        return void_reason(self._connection, registry, file, self._rules)

    def _rounds(self, wanted: str) -> list[CaseFile]:
        files = cases_by_name(self._connection, wanted)
        if not files:
            raise NoSuchCase(wanted)
        return files
