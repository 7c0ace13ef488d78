"""Recovery cases: money that a reversal was to bring back, and that is still out. The executor opens them.

A case is settled by itself once a later recall has brought all of it back, or the payment was right after all; or a
person closes it, and says how.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple

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
    NOT_OPEN = "no recovery case of this payment is open, or not this one"
    SEVERAL_OPEN = "several cases of this payment are open; say which one by --case"
    TO_BE_RULED = "two people rule on whether it was made (`fraud ruling propose`); closing it ends nothing"


def open_recoveries(connection: Connection, limit: int) -> list[Recovery]:
    """Oldest first. One that somebody is said to have closed is open until that is proved."""
    with failures_named():
        return _open(connection, read_registry(connection), None)[:limit]


def close_recovery(
    connection: Connection,
    wanted: str,
    by: Identity,
    reason: str,
    reason_characters_min: int,
    sequence: int | None = None,
) -> Recovery | RecoveryRefusal:
    """Close the open case of a payment, by its decision's id or its own. `sequence`: of the case, where several are
    open."""
    with failures_named(), connection.transaction():
        registry = read_registry(connection)
        if not person_of(registry, by).holds(Role.SENIOR_REVIEWER):
            return RecoveryRefusal.NOT_AUTHORISED
        fault = reason_fault(reason, characters_min=reason_characters_min)
        if fault is not None:
            return RecoveryRefusal(f"the reason {fault}")
        found = [each for each in _open(connection, registry, wanted) if sequence is None or each.sequence == sequence]
        if not found:
            return RecoveryRefusal.NOT_OPEN
        if len(found) > 1:
            return RecoveryRefusal.SEVERAL_OPEN
        if found[0].reason == KEY_FORGOTTEN:
            return RecoveryRefusal.TO_BE_RULED
        _append_closing(connection, found[0], by, tidied(reason), registry)
        return found[0]


def closing(execution_id: str, sequence: int, name: str, reason: str) -> Expected:
    """Return what must have been signed by whoever is said to have closed a case."""
    subject: Subject = {"execution_id": execution_id, "sequence": sequence, "reason": reason}
    return Expected(ActKind.RECOVERY_CLOSED, name, subject, (Role.SENIOR_REVIEWER,))


def _open(connection: Connection, registry: Registry, wanted: str | None) -> list[Recovery]:
    """Those that nobody proved to have closed. A case comes once for each who is said to have; `wanted` None: of every
    payment."""
    rows = connection.execute(_SQL["standing_recoveries"], {"wanted": wanted}).fetchall()
    closings = {
        act: closing(row[0], row[1], name, why) for row in rows for name, why, act in [row[-3:]] if name is not None
    }
    closed = proved(connection, registry, closings)
    done = {row[:2] for row in rows if row[-1] in closed}
    return list(dict.fromkeys(Recovery(*row[:-3]) for row in rows if row[:2] not in done))


def _append_closing(connection: Connection, recovery: Recovery, by: Identity, reason: str, registry: Registry) -> None:
    expected = closing(recovery.execution_id, recovery.sequence, by.name, reason)
    act = sign_act(connection, by, expected.kind, expected.subject, registry)
    connection.execute(_SQL["close_recovery"], [recovery.execution_id, recovery.sequence, by.name, reason, act])
