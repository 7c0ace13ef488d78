"""The desk where people act on cases: each act is one transaction that locks the case, asks the core, and appends its
answer.

The functions are the command's and the console's alike. Who a person is, the caller has found out; what they may do,
the grants say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from pipeline.io.postgres import Connection, failures_named
from pipeline.people.roles import Person
from pipeline.people.store import read_person
from pipeline.review.case_store import CaseFile, CaseMoved, append_event, cases_by_name, cases_to_act_on, lock_cases
from pipeline.review.cases import CaseEvent, Judgement, ReviewRefusal, ReviewRules, claim, judge, release

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

    def open_cases(self, limit: int) -> list[CaseFile]:
        """That people may act on, soonest expiry first."""
        with failures_named(), self._connection.transaction():
            return cases_to_act_on(self._connection, min(limit, LISTED_MAX))

    def rounds(self, wanted: str) -> list[CaseFile]:
        """All cases of a decision, or of all about a transaction, oldest first; `wanted` is the id of either."""
        with failures_named(), self._connection.transaction():
            return self._rounds(wanted)

    def claim(self, wanted: str, name: str) -> Acted | ReviewRefusal:
        return self._act(wanted, name, lambda f, who, at_ms: claim(f.case, f.standing, who, at_ms, self._rules))

    def release(self, wanted: str, name: str) -> Acted | ReviewRefusal:
        return self._act(wanted, name, lambda f, who, at_ms: release(f.case, f.standing, who, at_ms))

    def judge(self, wanted: str, name: str, judgement: Judgement) -> Acted | ReviewRefusal:
        """Decides, proposes, or answers a proposal: the event's kind says which."""
        return self._act(
            wanted, name, lambda f, who, at_ms: judge(f.case, f.standing, who, judgement, at_ms, self._rules)
        )

    def _act(self, wanted: str, name: str, act: Act) -> Acted | ReviewRefusal:
        with failures_named():
            try:
                with self._connection.transaction():
                    return self._locked_act(wanted, name, act)
            except CaseMoved:
                return ReviewRefusal.ACTED_MEANWHILE

    def _locked_act(self, wanted: str, name: str, act: Act) -> Acted | ReviewRefusal:
        decision_id, *others = dict.fromkeys(file.case.decision_id for file in self._rounds(wanted))
        if others:
            raise SeveralDecisions([decision_id, *others])
        lock_cases(self._connection, [decision_id])
        file = self._rounds(decision_id)[-1]
        event = act(file, read_person(self._connection, name), self._clock_ms())
        if isinstance(event, ReviewRefusal):
            return event
        append_event(self._connection, file.case, event)
        return Acted(file._replace(events=(*file.events, event)), event)

    def _rounds(self, wanted: str) -> list[CaseFile]:
        files = cases_by_name(self._connection, wanted)
        if not files:
            raise NoSuchCase(wanted)
        return files
