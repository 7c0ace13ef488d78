"""A rollback plan and all that followed from it, read for a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from pipeline.domain.decision import Decision
from pipeline.domain.identities import DecisionId, reversal_id
from pipeline.domain.payment import Transaction
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import Connection
from pipeline.rollback.blast_radius import radius_of_lines
from pipeline.rollback.derivation_store import Criteria
from pipeline.rollback.plan_content_store import read_content
from pipeline.rollback.plan_store import (
    ROWS_A_FETCH,
    Progress,
    ProgressKind,
    Settled,
    StoredPlan,
    decided_anew,
    heard_reversals,
    ledger_sums,
    logged_reversals,
    patient,
    read_approval,
    read_lines,
    read_progress,
    read_releases,
    select_decisions,
    settled,
)
from pipeline.rollback.reversal import (
    CHANGING,
    Approval,
    Disposition,
    PlanLine,
    ReleaseEnd,
    plan_digest,
    release_end,
    released_id,
)


class Report(NamedTuple):
    """A plan and everything that followed from it, from one moment of the database."""

    plan: StoredPlan
    # The stored bytes give the digest that was approved, the stored lines are those bytes, and they are about the
    # audited payments. Whoever applies the plan derives the rest of each line again.
    is_intact: bool
    approval: Approval | None
    progress: Sequence[Progress]
    releases: Mapping[ReleaseEnd, int]
    settled: Sequence[Settled]
    logged: int  # reversals in the audit log
    logged_distinct: int
    anew: Mapping[str, int]  # decisions about payments that were given back, by outcome
    ledger_sums: Mapping[str, int]
    lines: Sequence[PlanLine]
    payments: Mapping[str, Transaction]  # of the lines that change, by decision: as the audit log has them

    @property
    def appended(self) -> int:
        """As the last run says."""
        return self.progress[-1].appended if self.progress else 0

    @property
    def state(self) -> str:
        if self.approval is None:
            return "PLANNED"
        released = sum(line.disposition is Disposition.RELEASE for line in self.lines)
        is_said = any(each.kind is ProgressKind.COMPLETED for each in self.progress)
        is_so = self.logged_distinct == self.plan.changing and sum(self.releases.values()) == released
        return "COMPLETED" if is_said and is_so else "UNDER_WAY"

    @property
    def milestones(self) -> list[Progress]:
        """Without the steps in between; the last stays, whatever it is."""
        return [each for each in self.progress if each.kind is not ProgressKind.APPENDED or each is self.progress[-1]]


def read_report(connection: Connection, wire: WireFormat, plan: StoredPlan) -> Report:
    """Within the caller's transaction. The totals are added up from the lines, whatever was stored with the plan."""
    plan_id = plan.header.plan_id
    patient(connection)
    lines = list(read_lines(connection, plan_id))
    changing = [line for line in lines if line.disposition in CHANGING]
    payments = _payments(connection, wire, [line.decision_id for line in changing])
    radius = radius_of_lines(lines)
    released = [line for line in lines if line.disposition is Disposition.RELEASE]
    logged, distinct = logged_reversals(connection, plan_id)
    approved = read_approval(connection, plan_id)
    digest = plan.content_hash if approved is None else approved.content_hash
    return Report(
        plan._replace(blast_radius=radius),
        _is_intact(connection, plan, lines, digest)
        and (plan.decisions, plan.changing) == (radius.selected.decisions, radius.changing.decisions)
        and plan.blast_radius == radius
        and all(_is_about(line, payments.get(line.decision_id), wire) for line in changing),
        None if approved is None else approved.approval,
        read_progress(connection, plan_id),
        _releases(connection, plan_id, released),
        settled(connection, plan_id),
        logged,
        distinct,
        decided_anew(connection, [released_id(line.transaction_id, line.decision_id) for line in released]),
        ledger_sums(connection),
        lines,
        payments,
    )


def _releases(connection: Connection, plan_id: str, released: Sequence[PlanLine]) -> dict[ReleaseEnd, int]:
    """How giving payments back has ended: what is said of it, where the ledger bears it out."""
    told, counts = read_releases(connection, plan_id), Counter[ReleaseEnd]()
    for begin in range(0, len(released), ROWS_A_FETCH):
        names: list[str] = [line.decision_id for line in released[begin : begin + ROWS_A_FETCH]]
        heard = heard_reversals(connection, names, [reversal_id(plan_id, name) for name in names])
        for name in names:
            so, said = release_end(heard.get(name)), told.get(name)
            # What could not be had back may be overtaken later.
            if said is not None and (so is said or (said is ReleaseEnd.NOT_RECALLED and so is ReleaseEnd.OVERTAKEN)):
                counts[said] += 1
    return dict(sorted(counts.items()))


def _payments(connection: Connection, wire: WireFormat, decision_ids: Sequence[DecisionId]) -> dict[str, Transaction]:
    found: dict[str, Transaction] = {}
    for begin in range(0, len(decision_ids), ROWS_A_FETCH):
        wanted = Criteria(ids=tuple(decision_ids[begin : begin + ROWS_A_FETCH]))
        for selected in chain.from_iterable(select_decisions(connection, wanted.columns())):
            record = wire.decode_decision_record(selected.record)
            if isinstance(record, Decision):
                found[selected.decision_id] = record.snapshot.transaction
    return found


def _is_about(line: PlanLine, payment: Transaction | None, wire: WireFormat) -> bool:
    """Whether the line shows the payment that was audited, and gives back no other."""
    if payment is None:
        return False
    shown = line.transaction_id, line.account_id, line.currency, line.amount_minor
    is_released = line.disposition is Disposition.RELEASE
    given_back = wire.encode_transaction(payment).hex() if is_released else ""
    paid = payment.transaction_id, payment.account_id, payment.currency, payment.amount_minor
    return (*shown, line.payment_hex) == (*paid, given_back)


def _is_intact(connection: Connection, plan: StoredPlan, lines: Sequence[PlanLine], digest: bytes) -> bool:
    content = read_content(connection, plan.header.plan_id, digest)
    if content is None:
        return False
    content.close()
    return plan.content_hash == digest == plan_digest(plan.header, lines)
