"""The aftermath of the demonstration's decisions, in lines and JSON: audited, executed, and taken back where wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from ops.demo.audit import Verified
from ops.demo.backstage import APPROVER, PLANNER
from ops.demo.books import Accounted, CustomerFunds
from ops.demo.rollback import Undone
from pipeline.domain.money import money_text
from pipeline.execute.saga import State
from pipeline.rollback.blast_radius import Change, Share
from pipeline.rollback.report_command import plan_json
from pipeline.rollback.report_store import Report
from pipeline.terminal.output import coloured

_STATE_WORDS: Final[Mapping[State, str]] = {
    State.SETTLED: "settled",
    State.HELD: "held for a person",
    State.REFUSED: "refused",
    State.REVERSED: "reversed",
    State.RELEASED: "given back to be decided anew",
}
"""Words for the states that a payment rests in; in any other state it is still under way."""


class Aftermath(NamedTuple):
    """The fate of the decisions.

    `undone` is None where the model never went wrong. `reversals` and `reviews` are as a reader of the topic saw them.
    `explained` is the reversed decision as `fraud explain` tells it, in text or parsed JSON; None without one.
    """

    accounted: Accounted
    verified: Verified
    undone: Undone | None
    reversals: int
    reviews: int
    explained: Any

    def is_whole(self, decisions: int, dead_letters: int) -> bool:
        """Return whether everything decided is audited and executed, each once, and rests (I1 and I4)."""
        seen = self.accounted
        return (
            seen.decisions == decisions == sum(seen.states.values())
            and seen.dead_letters == dead_letters
            and seen.reversals == self.reversals
            and seen.reviews == self.reviews
            and all(State(state) in _STATE_WORDS for state in seen.states)
        )

    @property
    def is_good(self) -> bool:
        return self.undone is not None and self.undone.is_good and self.verified.is_good


def aftermath_lines(after: Aftermath, decisions: int, dead_letters: int) -> Iterator[str]:
    seen = after.accounted
    states = ", ".join(f"{count:,} {_words(state)}" for state, count in seen.states.items())
    whole = _verdict(after.is_whole(decisions, dead_letters), "holds")
    yield f"  {decisions:,} decisions = {seen.decisions:,} audited = {sum(seen.states.values()):,} executed: {whole}"
    yield f"    {states}"
    if after.undone is not None:
        yield from _undone_lines(after.undone)
    yield "  the audit log, verified offline from an export and its signed heads:"
    yield f"    {_verified_text(after.verified)}"


def aftermath_json(after: Aftermath, decisions: int, dead_letters: int) -> dict[str, object]:
    return {
        "audited": after.accounted.decisions,
        "dead_letters_audited": after.accounted.dead_letters,
        "executions": dict(after.accounted.states),
        "is_executed_whole": after.is_whole(decisions, dead_letters),
        "reviews": after.accounted.reviews,
        "rollback": None if after.undone is None else _undone_json(after.undone),
        "audit_log": {**after.verified._asdict(), "is_good": after.verified.is_good},
        "explained": after.explained,
    }


def _undone_lines(undone: Undone) -> Iterator[str]:
    plan = undone.plan
    yield f"  the rollback {plan.header.plan_id}, planned by {PLANNER}, approved by {APPROVER}:"
    customers, kept = plan.blast_radius.changing.customers, plan.decisions - plan.changing
    yield f"    of {plan.decisions:,} decisions {kept:,} stay; {plan.changing:,} of {customers:,} customers change:"
    for change, share in plan.blast_radius.by_change.items():
        yield f"    {_change_line(undone.report, change, share)}"
    anew = ", ".join(f"{count:,} {outcome}" for outcome, count in undone.report.anew.items())
    yield f"    given back and decided anew: {anew or 'none'}"
    yield "  with all customers, before it and after it:"
    for currency, before in undone.before.by_currency.items():
        yield f"    {_moved(before, undone.after.by_currency[currency], currency)}"
    was, now = undone.customer_before, undone.customer_after
    yield f"  with customer {was.account_id}, whose {undone.shown.before} became {undone.shown.after}:"
    held = money_text(now.held_minor, now.currency)
    yield f"    {_moved(_total(was), _total(now), was.currency)}, of which {held} held"
    elsewhere = "nothing else moved" if not undone.strangers else f"{undone.strangers} postings of OTHER payments"
    yield f"    in that time {elsewhere}"
    sums = ", ".join(money_text(total, currency) for currency, total in undone.report.ledger_sums.items())
    yield f"  Σ of all accounts: {sums}: {_verdict(not any(undone.report.ledger_sums.values()), 'Σ = 0')}"
    for finding in undone.findings:
        yield f"    {finding.code}: {finding.detail}"


def _undone_json(undone: Undone) -> dict[str, object]:
    report = undone.report
    return {
        **plan_json(undone.plan),
        "own_plan_refused": undone.own_plan_refused,
        "approved_by": None if report.approval is None else report.approval.approved_by,
        "state": report.state,
        "appended": report.appended,
        "reversals_logged": report.logged,
        "settled": [each._asdict() for each in report.settled],
        "decided_anew": dict(report.anew),
        "paid_anew": dict(undone.paid_anew),
        "funds_before": dict(undone.before.by_currency),
        "funds_after": dict(undone.after.by_currency),
        "customer_before": undone.customer_before._asdict(),
        "customer_after": undone.customer_after._asdict(),
        "shown": {name: getattr(undone.shown, name) for name in ("decision_id", "transaction_id", "before", "after")},
        "ledger_sums": dict(report.ledger_sums),
        "findings": [finding._asdict() for finding in undone.findings],
        "postings_of_others": undone.strangers,
        "is_good": undone.is_good,
    }


def _change_line(report: Report, change: Change, share: Share) -> str:
    before, after = change
    states: Counter[str] = Counter()
    for each in report.settled:
        if (each.before, each.after) == (before, after):
            states[each.state or State.NEW] += each.decisions
    now = ", ".join(f"{count:,} {_words(state)}" for state, count in states.items())
    amounts = ", ".join(money_text(minor, currency) for currency, minor in share.amount_minor.items())
    return f"{before} to {after}: {share.decisions:,} ({amounts}), now {now}"


def _moved(before_minor: int, after_minor: int, currency: str) -> str:
    change_minor = after_minor - before_minor
    if not change_minor:
        return f"{money_text(after_minor, currency)}, as before"
    sign = "" if change_minor < 0 else "+"
    change = f"{sign}{money_text(change_minor, currency)}"
    return f"{money_text(before_minor, currency)} to {money_text(after_minor, currency)} ({change})"


def _total(of: CustomerFunds) -> int:
    return of.available_minor + of.held_minor


def _words(state: str) -> str:
    return _STATE_WORDS.get(State(state), f"still {state}")


def _verified_text(verified: Verified) -> str:
    rows = f"{verified.rows:,} rows of {verified.partitions} partitions"
    heads = f"{verified.heads} signed heads over {verified.signed:,} of them"
    found = _verdict(verified.is_good, f"{verified.findings or 'no'} findings", f"{verified.findings} findings")
    return f"{rows}, {heads}: {found}"


def _verdict(is_good: bool, good: str, bad: str = "BROKEN") -> str:
    return coloured(good, "green", is_bold=True) if is_good else coloured(bad, "red", is_bold=True)
