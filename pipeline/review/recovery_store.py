"""Recovery cases: money that a reversal was to bring back, and that is still out. The executor opens them.

A case is settled by itself once a later recall has brought all of it back, or the payment was right after all; or a
person closes it, and says how.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from psycopg.errors import UniqueViolation

from pipeline.domain.free_text import ReasonFault, reason_fault, tidied
from pipeline.io.postgres import Connection, failures_named, statements
from pipeline.people.act_store import proved, read_registry, sign_act
from pipeline.people.acts import ActKind, Subject
from pipeline.people.key_files import Identity
from pipeline.people.registry import Expected, Registry
from pipeline.people.roles import Role
from pipeline.people.store import person_of

_SQL: Final = statements("pipeline.review", "review")
KEY_FORGOTTEN: Final = "RAIL_KEY_FORGOTTEN"
"""The executor's reason for a case that stays open for as long as the payment is in doubt."""


class Recovery(NamedTuple):
    """A case that is open. `amount_minor`: of the payment; `missing_minor`: of it, what is still out."""

    execution_id: str
    sequence: int
    decision_id: str
    transaction_id: str
    account_id: str
    beneficiary_account_id: str
    currency: str
    amount_minor: int
    missing_minor: int
    reason: str
    opened_at_ms: int


class RecoveryRefusal(StrEnum):
    """Refusals to close a case, in order of precedence; each is the sentence that the person reads."""

    NOT_AUTHORISED = "only a SENIOR_REVIEWER closes a recovery case"
    REASON_HIDDEN = f"the reason {ReasonFault.HIDDEN}"
    REASON_TOO_SHORT = f"the reason {ReasonFault.TOO_SHORT}"
    REASON_TOO_LONG = f"the reason {ReasonFault.TOO_LONG}"
    NOT_OPEN = "no recovery case of this payment is open"
    TO_BE_RULED = "two people rule on whether it was made (`fraud ruling propose`); closing it ends nothing"


def open_recoveries(connection: Connection, limit: int) -> list[Recovery]:
    """Oldest first. One that somebody is said to have closed is open until that is proved."""
    with failures_named():
        registry = read_registry(connection)
        rows = connection.execute(_SQL["standing_recoveries"]).fetchall()
        closings = {row[-1]: _closed(row) for row in rows if row[-3] is not None}
        closed = proved(connection, registry, closings)
        return [Recovery(*row[:-3]) for row in rows if row[-3] is None or row[-1] not in closed][:limit]


def close_recovery(
    connection: Connection, decision_id: str, by: Identity, reason: str, reason_characters_min: int
) -> Recovery | RecoveryRefusal:
    """Close the open case of a decision's payment."""
    with failures_named(), connection.transaction():
        registry = read_registry(connection)
        if not person_of(registry, by).holds(Role.SENIOR_REVIEWER):
            return RecoveryRefusal.NOT_AUTHORISED
        fault = reason_fault(reason, characters_min=reason_characters_min)
        if fault is not None:
            return RecoveryRefusal(f"the reason {fault}")
        row = connection.execute(_SQL["open_recovery_of"], [decision_id]).fetchone()
        if row is None:
            return RecoveryRefusal.NOT_OPEN
        recovery = Recovery(*row)
        if recovery.reason == KEY_FORGOTTEN:
            return RecoveryRefusal.TO_BE_RULED
        try:
            with connection.transaction():
                _append_closing(connection, recovery, by, tidied(reason), registry)
        except UniqueViolation:
            return RecoveryRefusal.NOT_OPEN  # somebody else has closed it at the same moment
        return recovery


def _closed(row: Sequence[Any]) -> Expected:
    """Return what must have been signed by whoever is said to have closed a case."""
    name, reason, _ = row[-3:]
    return Expected(ActKind.RECOVERY_CLOSED, name, _subject(row[0], row[1], reason), (Role.SENIOR_REVIEWER,))


def _subject(execution_id: str, sequence: int, reason: str) -> Subject:
    return {"execution_id": execution_id, "sequence": sequence, "reason": reason}


def _append_closing(connection: Connection, recovery: Recovery, by: Identity, reason: str, registry: Registry) -> None:
    subject = _subject(recovery.execution_id, recovery.sequence, reason)
    act = sign_act(connection, by, ActKind.RECOVERY_CLOSED, subject, registry)
    connection.execute(_SQL["close_recovery"], [recovery.execution_id, recovery.sequence, by.name, reason, act])
