"""The demonstration's rollback of what the wrong model decided: a plan, two people, and where the money is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ops.demo.backstage import APPROVER, PLANNER
from ops.demo.books import CustomerFunds, Funds, customer_funds, funds, paid, strangers
from ops.demo.scene import Scene
from ops.processes.people import People
from pipeline.domain.decision import Outcome
from pipeline.execute.ledger_admin_store import Finding, check
from pipeline.io.avro.wire import WireFormat
from pipeline.io.postgres import Connection
from pipeline.replay.redecide import Basis
from pipeline.rollback.plan_command import Asked, apply_plan, make_plan
from pipeline.rollback.plan_store import StoredPlan, read_lines
from pipeline.rollback.report_command import report_of
from pipeline.rollback.report_store import Report
from pipeline.rollback.reversal import CHANGING, Disposition, PlanLine, released_id
from pipeline.terminal.failures import Failure

REVERSALS_A_SECOND: Final = 500.0
EXPLAIN_S: Final = 120
REASON: Final = "A model was rolled out that takes fraud for honest and honest for fraud"
_TELLING: Final = (
    (Outcome.ALLOW, Outcome.BLOCK),  # fraud that was paid, whose money comes back
    (Outcome.ALLOW, Outcome.ESCALATE),
    (Outcome.BLOCK, Outcome.ALLOW),
    (Outcome.ESCALATE, Outcome.ALLOW),
)
"""Changes in the order in which one is chosen to be shown in full: first the one that moves most."""


class Undone(NamedTuple):
    """The result of the rollback. `shown` is the line explained in full; `before` and `after` are its customer's."""

    plan: StoredPlan
    own_plan_refused: str
    report: Report
    before: Funds
    after: Funds
    shown: PlanLine
    customer_before: CustomerFunds
    customer_after: CustomerFunds
    findings: Sequence[Finding]
    strangers: int
    paid_anew: Mapping[str, int]  # what payments that were given back have paid since, by currency

    @property
    def released(self) -> int:
        return len(_released(self.report.lines))

    @property
    def is_good(self) -> bool:
        """Return whether all that was planned is done, and nothing else, and the books are whole."""
        report = self.report
        return (
            report.state == "COMPLETED"
            and report.is_intact
            and report.appended == report.logged == report.logged_distinct == self.plan.changing
            and sum(report.anew.values()) == self.released
            and not any(report.ledger_sums.values())
            and not self.findings
            and not self.strangers
        )


@dataclass(slots=True)
class Rollback:
    """A rollback in the demonstration.

    `tell` tells a step of the story. `wait` waits until that many reversals and payments given back are dealt with.
    """

    scene: Scene
    people: People
    wire: WireFormat
    connection: Connection
    tell: Callable[[str], None]
    wait: Callable[[int, int], None]

    def carry_out(self, version: str) -> Undone:
        """Take back all that the model `version` decided. Raises Failure where that can't be done."""
        settings = self.scene.as_role("fraud_rollback")
        plan = make_plan(settings, self.wire, self._asked(version), _silent)
        plan_id = plan.header.plan_id
        with self.connection.transaction():
            lines = list(read_lines(self.connection, plan_id))
        shown = _telling(lines)
        self._tell_plan(plan)
        before, customer = funds(self.connection), self._customer(shown)
        refused = self._refused_own(plan_id)
        self.tell(f"{PLANNER} may not apply it: {refused}")
        with _own_signals():
            applied = apply_plan(settings, self.wire, plan_id, self.people[APPROVER], REVERSALS_A_SECOND, _silent)
        self.tell(f"{APPROVER} approves: {applied.appended:,} reversals appended to decisions.v1")
        self.wait(plan.changing, len(_released(lines)))
        after = funds(self.connection)
        report, (findings, _) = report_of(settings, plan_id), check(settings)
        concerned = [name for line in lines for name in (line.transaction_id, _released_name(line))]
        foreign = strangers(self.connection, before.number, concerned)
        paid_anew = paid(self.connection, [_released_name(line) for line in _released(lines)])
        undone = Undone(
            plan, refused, report, before, after, shown, customer, self._customer(shown), findings, foreign, paid_anew
        )
        self.tell("the executor has compensated, the worker has decided again what was given back")
        return undone

    def _customer(self, line: PlanLine) -> CustomerFunds:
        return customer_funds(self.connection, line.account_id, line.currency)

    def _asked(self, version: str) -> Asked:
        return Asked(
            by=self.people[PLANNER],
            reason=REASON,
            good_model=self.scene.good_version,
            good_policy=None,
            model=version,
            policy=None,
            since=None,
            until=None,
            segment=None,
            rule=None,
            route=None,
            outcome=None,
            ids_file=None,
            basis=Basis.RECORDED,
        )

    def _refused_own(self, plan_id: str) -> str:
        """Return what the person who made the plan is told when they apply it."""
        settings = self.scene.as_role("fraud_rollback")
        try:
            with _own_signals():
                apply_plan(settings, self.wire, plan_id, self.people[PLANNER], REVERSALS_A_SECOND, _silent)
        except Failure as refusal:
            return refusal.what.removeprefix("Refused: ").rstrip(".")
        raise Failure(f"{PLANNER} could apply a plan of their own.", "Look at pipeline/rollback/reversal.py.")

    def _tell_plan(self, plan: StoredPlan) -> None:
        customers = plan.blast_radius.changing.customers
        self.tell(
            f"{PLANNER} plans a rollback: of {plan.decisions:,} decisions that the wrong model answers for, "
            f"{plan.changing:,} would be otherwise under {self.scene.good_version}, of {customers:,} customers"
        )


def explained_by_command(scene: Scene, line: PlanLine, *, as_json: bool) -> Any:
    """Return what `fraud explain` says of the payment: its text, or its parsed JSON."""
    command = [sys.executable, "-m", "ops.cli", "explain", line.transaction_id, "--account", line.account_id]
    done = subprocess.run(  # noqa: S603 - the command is ours
        [*command, "--json"] if as_json else command,
        env={**os.environ, **scene.environment(), "FRAUD_DATABASE_URL": scene.as_role("fraud_reader").database_url},
        capture_output=True,
        text=True,
        timeout=EXPLAIN_S,
        check=False,
    )
    if done.returncode:
        raise Failure("The reversed decision can't be explained.", done.stderr.strip())
    return json.loads(done.stdout) if as_json else done.stdout


def _released_name(line: PlanLine) -> str:
    return released_id(line.transaction_id, line.decision_id)


def _released(lines: Sequence[PlanLine]) -> list[PlanLine]:
    return [line for line in lines if line.disposition is Disposition.RELEASE]


def _telling(lines: Sequence[PlanLine]) -> PlanLine:
    """Choose the largest line of the first kind in _TELLING that there is.

    Raises Failure where the plan changes nothing.
    """
    changing = [line for line in lines if line.disposition in CHANGING]
    for change in _TELLING:
        alike = [line for line in changing if (line.before, line.after) == change]
        if alike:
            return max(alike, key=lambda line: line.amount_gbp_minor)
    if changing:
        return changing[0]
    raise Failure("The wrong model decided nothing that the good one would not.", "Let payments come for longer.")


@contextmanager
def _own_signals() -> Iterator[None]:
    """Restore the demonstration's signal handlers on leaving, so that it decides again what Ctrl-C does."""
    numbers = (signal.SIGTERM, signal.SIGINT)
    kept = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _silent(_count: int) -> None:
    """Show no progress, because it takes only a second or two."""
