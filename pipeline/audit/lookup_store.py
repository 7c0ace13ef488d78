"""The decisions in the audit log that carry an id."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pipeline.domain.identities import DecisionId
from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.terminal.decision_choice import Candidate, as_decision_id

_SQL = statements("pipeline.audit", "audit")


def candidates(connection: Connection, wanted: str) -> Sequence[Candidate]:
    """The decision with this id, and those about a transaction with this id, oldest first.

    Raises DatabaseUnavailable, DatabaseRefused.
    """
    return candidates_of(connection, [wanted])[wanted]


def latest_records(connection: Connection, limit: int, model_version: str | None = None) -> list[bytes]:
    """The stored bytes of the latest decisions, newest first. model_version: those that name it only.

    Raises DatabaseUnavailable, DatabaseRefused.
    """
    with failures_named():
        asked = {"limit": limit, "model_version": model_version}
        return [bytes(record) for (record,) in connection.execute(_SQL["latest_decisions"], asked).fetchall()]


def candidates_of(connection: Connection, wanted: Iterable[str]) -> Mapping[str, Sequence[Candidate]]:
    """The candidates of each id; raises as `candidates`."""
    found: dict[str, list[Candidate]] = {name: [] for name in wanted}
    own = {decision_id: name for name in found if (decision_id := as_decision_id(name)) is not None}
    with failures_named():
        by_id = connection.execute(_SQL["decisions_by_id"], [list(own)]).fetchall() if own else []
        of_transactions = connection.execute(_SQL["decisions_of_transactions"], [list(found)]).fetchall()
    for _, decision_id, *rest in by_id:
        found[own[DecisionId(decision_id)]].append(Candidate(DecisionId(decision_id), *rest))
    for transaction_id, decision_id, *rest in of_transactions:
        found[transaction_id].append(Candidate(DecisionId(decision_id), *rest))
    return found
