"""The one decision that an id means. A transaction's id may come again after weeks, or in another system, so several
decisions may carry it; which of them is meant, only the asker can say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from pipeline.domain.decision import Decision
from pipeline.domain.identities import DecisionId
from pipeline.domain.times import utc_text
from pipeline.terminal.failures import Failure

CANDIDATES_SHOWN: Final = 10


class Candidate(NamedTuple):
    """A decision that carries an id."""

    decision_id: DecisionId
    account_id: str
    outcome: str
    decided_at_ms: int


def candidate_of(decision: Decision) -> Candidate:
    return Candidate(decision.decision_id, decision.account_id, decision.outcome, decision.decided_at_ms)


def the_one(wanted: str, account_id: str | None, candidates: Sequence[Candidate]) -> DecisionId | None:
    """The decision that `wanted` is the id of, or else the only one about a transaction with this id.

    None where there is none. Raises Failure where several are, of this account if it is given.
    """
    own = wanted.lower()
    if any(each.decision_id == own for each in candidates):
        return DecisionId(own)
    found = {each.decision_id: each for each in candidates if account_id is None or each.account_id == account_id}
    if len(found) > 1:
        raise Failure(f"{_listed(wanted, list(found.values()))}.", "Give the id of the decision.")
    return next(iter(found), None)


def as_decision_id(wanted: str) -> DecisionId | None:
    """The id as a decision's, which it may be; None where it can only be a transaction's."""
    try:
        is_uuid = str(UUID(wanted)) == wanted.lower()
    except ValueError:
        return None
    return DecisionId(wanted.lower()) if is_uuid else None


def _listed(wanted: str, candidates: Sequence[Candidate]) -> str:
    shown = [
        f"{each.decision_id} ({each.outcome} at {utc_text(each.decided_at_ms)}, account {each.account_id})"
        for each in candidates[:CANDIDATES_SHOWN]
    ]
    more = len(candidates) - len(shown)
    rest = f" and {more} more" if more else ""
    return f"{len(candidates)} decisions are about a transaction with the id {wanted}: {', '.join(shown)}{rest}"
