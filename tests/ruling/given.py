"""Payments that the rail has forgotten, and people who rule on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from uuid import uuid4

import pytest

from pipeline.execute.batch_service import Executor
from pipeline.io.postgres import Connection
from pipeline.ruling.acts import Doubt, Line, Ruling, Verdict
from pipeline.ruling.ruling_store import append_proposal, confirm, doubt_of
from tests import known
from tests.execute.given import Desk, execution_of
from tests.known import identity

EVIDENCE = "the rail's letter 2026-118"
REASON = "the rail's people looked it up in their archive"


class Crash(Exception):
    """Stands for kill -9."""


def appoint(owner: Connection) -> None:
    """Ana is ADMIN, Rob proposes, Ada confirms, and Eve may do both."""
    both = ["ROLLBACK_REQUESTER", "ROLLBACK_APPROVER"]
    known.appoint(owner, {"rob": both[0], "ada": both[1], "eve": both}, admin="ana")


@contextmanager
def forgotten(desk: Desk, rail: str, *records) -> Iterator[Desk]:
    """Another executor, whose rail knows nothing of what the last record had the first one ask, and never will."""
    *before, last = records
    for record in before:
        desk.hear(record)

    def crash(*_arguments: object, **_named: object) -> None:
        raise Crash

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Executor, "_ask_rail", crash)
        with pytest.raises(Crash):
            desk.hear(last)
    appender = desk.execution._notices._appender
    with closing(Desk(desk.url, appender, rail, rail_keeps_keys_s=0.0)) as second:
        second.resume()
        second.next_offset = desk.next_offset
        assert second.retry() == 0
        yield second


def doubt(desk: Desk, record) -> Doubt:
    found = doubt_of(desk.as_role("fraud_rollback"), execution_of(record))
    assert found is not None
    return found


def ruling_on(about: Doubt | Line, verdict: Verdict) -> Ruling:
    return Ruling(str(uuid4()), about, verdict, EVIDENCE, REASON)


def ruled(connection: Connection, ruling: Ruling, by: tuple[str, str] = ("rob", "ada")) -> Ruling:
    """By fraud_rollback's connection, or the owner's."""
    append_proposal(connection, ruling, identity(by[0]))
    confirm(connection, ruling, identity(by[1]))
    return ruling


def rule(desk: Desk, record, verdict: str) -> Ruling:
    """Two people rule on the doubt that the payment is in."""
    return ruled(desk.as_role("fraud_rollback"), ruling_on(doubt(desk, record), Verdict(verdict)))
