"""Making a rollback plan: select decisions from the audit log, decide each again, and store what that comes to.

Invariants
1. A plan is made from one moment of the database and stored whole, lines and header in one transaction, or not at all.
2. Every selected decision has a line, also where nothing changes: the report says what was looked at.
3. The plan says up to where the audit log had been written; what came later is no part of it.
4. No plan is made while audit log, ledger or reviews lack a record that stood on the topic when it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from pipeline.domain.free_text import reason_fault, tidied
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import Connection, failures_named
from pipeline.people.act_store import read_registry, sign_act
from pipeline.people.key_files import Identity
from pipeline.people.registry import Registry
from pipeline.people.store import person_of
from pipeline.replay.redecide import AS_RECORDED, Good, Version
from pipeline.replay.regimes import RegimeOf
from pipeline.rollback.acts import planned
from pipeline.rollback.blast_radius import Adding
from pipeline.rollback.derivation_store import Criteria, Derivation, feeds_text
from pipeline.rollback.ends_service import READERS_PATIENCE_S, TopicEnds, wait_for_readers
from pipeline.rollback.plan_content_store import ContentWriter, PlanRefused
from pipeline.rollback.plan_store import (
    SELECTED_MAX,
    StoredPlan,
    audited_until,
    begin_plan,
    copy_lines,
    insert_plan,
)
from pipeline.rollback.reversal import PlanHeader, plan_refusal

_AS_RECORDED: Final = Version(AS_RECORDED, b"")


class Request(NamedTuple):
    """`criteria_text`: what was asked, in the words of the command, for people to read."""

    criteria: Criteria
    criteria_text: dict[str, str]
    good: Good
    reason: str
    requested_by: Identity


class Planner:
    """Raises PlanRefused, RegimeMissing, BrokerFailed, DatabaseUnavailable, DatabaseRefused."""

    def __init__(
        self,
        connection: Connection,
        wire: WireFormat,
        regime_of: RegimeOf,
        decisions: TopicEnds,
        lifetime_ms: int,
        patience_s: float = READERS_PATIENCE_S,
    ) -> None:
        """`patience_s`: for audit, executor and reviews to come to the topic's end."""
        self._connection, self._derivation = connection, Derivation(connection, wire, regime_of)
        self._decisions, self._lifetime_ms, self._patience_s = decisions, lifetime_ms, patience_s

    def plan(
        self, request: Request, plan_id: str, now_ms: int, advance: Callable[[int], None] = lambda _: None
    ) -> StoredPlan:
        if request.criteria.is_empty:
            raise PlanRefused("Nothing says which decisions are meant")
        with failures_named():
            behind = wait_for_readers(self._connection, self._decisions, self._patience_s)
        if behind is not None:
            raise PlanRefused(f"The plan would not be made on what is so: {behind}")
        with failures_named(), self._connection.transaction():
            begin_plan(self._connection)
            registry = read_registry(self._connection)
            if refusal := plan_refusal(person_of(registry, request.requested_by)):
                raise PlanRefused(refusal[:1].upper() + refusal[1:])
            if (fault := reason_fault(request.reason)) is not None:
                raise PlanRefused(f"The reason {fault}")
            header = self._header(request, plan_id, now_ms)
            return self._store(header, request, registry, advance)

    def _store(
        self, header: PlanHeader, request: Request, registry: Registry, advance: Callable[[int], None]
    ) -> StoredPlan:
        content, adding, done = ContentWriter(self._connection, header), Adding(), 0
        until = audited_until(self._connection, self._decisions.name)
        for lines in self._derivation.selected(request.criteria, request.good):
            if done + len(lines) > SELECTED_MAX:
                raise PlanRefused(f"The plan would hold over {SELECTED_MAX:,} decisions")
            copy_lines(self._connection, header.plan_id, done, lines)
            content.add(lines)
            for line in lines:
                adding.add(line)
            done += len(lines)
            advance(done)
        if not done:
            raise PlanRefused("No decision in the audit log is as described")
        radius, digest, by = adding.radius(), content.digest(), request.requested_by
        expected = planned(header, digest, done, radius.changing.decisions)
        act = sign_act(self._connection, by, expected.kind, expected.subject, registry)
        plan = StoredPlan(header, until, done, radius.changing.decisions, radius, digest, act)
        insert_plan(self._connection, plan)
        return plan

    def _header(self, request: Request, plan_id: str, now_ms: int) -> PlanHeader:
        good = request.good
        model, policy = good.model or _AS_RECORDED, good.policy or _AS_RECORDED
        return PlanHeader(
            plan_id,
            request.requested_by.name,
            now_ms,
            now_ms + self._lifetime_ms,
            tidied(request.reason),
            request.criteria_text,
            model.version,
            model.sha256.hex(),
            policy.version,
            policy.sha256.hex(),
            good.basis.value,
            feeds_text(good),
        )
