"""A rollback plan as it is shown: lines for people and pipes, and the report for Risk and Compliance."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pipeline.domain.free_text import shown
from pipeline.domain.money import count_text, money_text
from pipeline.domain.payment import Transaction
from pipeline.domain.times import utc_text
from pipeline.io.postgres import failures_named
from pipeline.io.settings import Settings
from pipeline.rollback.apply_service import Applied
from pipeline.rollback.blast_radius import Share, radius_json
from pipeline.rollback.page import page
from pipeline.rollback.plan_command import find_plan
from pipeline.rollback.plan_store import StoredPlan
from pipeline.rollback.report_store import Report, read_report
from pipeline.rollback.reversal import CHANGING, Disposition, PlanLine, ReleaseEnd, regime_words
from pipeline.terminal.configuration import wire_format
from pipeline.terminal.connection import connected
from pipeline.terminal.output import Output, coloured
from pipeline.web.page_files import write

_STORED: Final = ("blast_radius", "audited_until")
PAYMENTS_SHOWN_MAX: Final = 40
"""Payments that a person still reads on a terminal; the report has all."""


def report_of(settings: Settings, plan_id: str) -> Report:
    with connected(settings) as connection:
        plan = find_plan(connection, plan_id)
        with failures_named(), connection.transaction():
            return read_report(connection, wire_format(settings), plan)


def show_plan(output: Output, plan: StoredPlan, *, is_brief: bool = False) -> None:
    header = plan.header
    asked = ", ".join(f"{name} {value}" for name, value in header.criteria.items())
    line = f"{header.plan_id} by {header.requested_by} until {utc_text(header.expires_at_ms)}: {asked}. "
    line += f"Of {count_text(plan.decisions, 'decision')} {plan.changing:,} would be otherwise under {_good(plan)}."
    # Totals that were stored with a plan are nobody's word; the report adds them up from its lines.
    output.record({name: value for name, value in plan_json(plan).items() if not is_brief or name not in _STORED}, line)
    if not (is_brief or output.as_json):
        for sentence in radius_sentences(plan):
            output.line(f"  {sentence}")
        output.note(f"Another person applies it: `fraud rollback apply {header.plan_id}`.")


def show_applied(output: Output, applied: Applied) -> None:
    plan_id = applied.plan.header.plan_id
    fields = {
        "plan_id": plan_id,
        "appended": applied.appended,
        "here": applied.here,
        "changing": applied.plan.changing,
        "releases": dict(applied.releases),
        "waiting": applied.waiting,
        "is_complete": applied.is_complete,
        "seconds": round(applied.seconds, 3),
    }
    what = "All" if applied.appended == applied.plan.changing else f"Stopped: {applied.appended:,} of"
    line = f"{what} {applied.plan.changing:,} reversals stand on decisions.v1, {applied.here:,} by this run "
    output.record(fields, f"{line}in {applied.seconds:.1f} s.")
    if not output.as_json:
        for sentence in _release_sentences(applied.releases):
            output.line(f"  {sentence}")
        if applied.waiting:
            waiting = count_text(applied.waiting, "payment")
            output.line(f"  not released by the executor yet, so not published: {waiting}")
    if not applied.is_complete:
        output.note(f"Run `fraud rollback apply {plan_id}` again: it goes on from there.")


def show_report(output: Output, report: Report) -> None:
    """Show the report in short, for the terminal."""
    plan, state = report.plan, report.state
    line = f"{plan.header.plan_id} {coloured(state, _COLOUR[state], is_bold=True)} {report.appended:,} of "
    output.record(report_json(report), f"{line}{count_text(plan.changing, 'reversal')} appended. {plan.header.reason}")
    if output.as_json:
        return
    for sentence in [*radius_sentences(plan), *history_sentences(report), *outcome_sentences(report)]:
        output.line(f"  {sentence}")
    for sentence in payment_sentences(report):
        output.line(f"  {sentence}")


def show_whole_report(output: Output, report: Report) -> None:
    """One object for the plan, then one for each line."""
    output.record(report_json(report), "")
    for line in report.lines:
        output.record({**line._asdict(), "payment": _payment_json(report.payments.get(line.decision_id))}, "")


def write_page(path: Path, report: Report) -> None:
    write(path, page(report))


def plan_json(plan: StoredPlan) -> dict[str, object]:
    header = plan.header
    return {
        **header._asdict(),
        "requested_at": utc_text(header.requested_at_ms),
        "expires_at": utc_text(header.expires_at_ms),
        "decisions": plan.decisions,
        "changing": plan.changing,
        "blast_radius": radius_json(plan.blast_radius),
        "audited_until": plan.audited_until,
        "content_hash": plan.content_hash.hex(),
    }


def report_json(report: Report) -> dict[str, object]:
    approval = report.approval
    return {
        **plan_json(report.plan),
        "state": report.state,
        "is_intact": report.is_intact,
        "approved_by": None if approval is None else approval.approved_by,
        "approved_at": None if approval is None else utc_text(approval.approved_at_ms),
        "appended": report.appended,
        "releases": dict(report.releases),
        "progress": [{**each._asdict(), "at": utc_text(each.at_ms)} for each in report.milestones],
        "reversals_logged": report.logged,
        "reversals_logged_distinct": report.logged_distinct,
        "settled": [each._asdict() for each in report.settled],
        "decided_anew": dict(report.anew),
        "ledger_sums": dict(report.ledger_sums),
    }


def radius_sentences(plan: StoredPlan) -> list[str]:
    radius = plan.blast_radius
    changes = [f"{before} to {after}: {_share(share)}" for (before, after), share in radius.by_change.items()]
    within = {"of these with held funds": radius.held_funds, "of these under review": radius.open_reviews}
    more = [f"{words}: {_share(share)}" for words, share in within.items() if share.decisions]
    kept = [
        f"left as they are, {_KEPT[disposition]}: {_share(share)}"
        for disposition, share in radius.by_disposition.items()
        if disposition in _KEPT
    ]
    return [*changes, *more, *kept]


def history_sentences(report: Report) -> list[str]:
    altered = "The stored plan is NOT what was signed, or not about the audited payments: it was altered."
    said = [] if report.is_intact else [altered]
    if report.approval is not None:
        said.append(f"approved by {report.approval.approved_by} at {utc_text(report.approval.approved_at_ms)}")
    return said + [
        f"{each.kind.lower()} by {each.applied_by} at {utc_text(each.at_ms)}, {each.appended:,} appended"
        for each in report.milestones
    ]


def outcome_sentences(report: Report) -> list[str]:
    if report.approval is None:
        return []
    said = [f"{report.logged:,} of its reversals stand in the audit log, {report.logged_distinct:,} different ones"]
    for each in report.settled:
        where = f"{each.state} in the ledger" if each.state else "not in the ledger"
        said.append(f"{each.before} to {each.after}: {each.decisions:,} {where}")
    said += _release_sentences(report.releases)
    said += [f"given back and decided anew as {outcome}: {count:,}" for outcome, count in report.anew.items()]
    sums = ", ".join(money_text(total, currency) for currency, total in report.ledger_sums.items())
    return [*said, f"sum over the whole ledger: {sums}"] if sums else said


def payment_sentences(report: Report) -> list[str]:
    """The payments that the plan is about, as the audit log has them, the largest first."""
    changing = [line for line in report.lines if line.disposition in CHANGING]
    largest = sorted(changing, key=lambda line: (-line.amount_gbp_minor, line.decision_id))[:PAYMENTS_SHOWN_MAX]
    said = [_payment_sentence(line, report.payments.get(line.decision_id)) for line in largest]
    if len(changing) > len(said):
        said.append(f"and {len(changing) - len(said):,} more payments; `fraud rollback report` has all")
    return said


def _payment_sentence(line: PlanLine, payment: Transaction | None) -> str:
    change = f"{line.before} to {line.after}, {_HOW[line.disposition]}"
    if payment is None:
        return f"decision {line.decision_id}: {change}; the audit log has NO such decision"
    amount = money_text(payment.amount_minor, payment.currency)
    parties = f"from {shown(payment.account_id)} to {shown(payment.beneficiary_account_id)}"
    return f"{shown(payment.transaction_id)}: {amount} {parties}: {change}"


def _payment_json(payment: Transaction | None) -> dict[str, object] | None:
    """The audited payment, of a line that changes."""
    if payment is None:
        return None
    return {
        "transaction_id": payment.transaction_id,
        "account_id": payment.account_id,
        "beneficiary_account_id": payment.beneficiary_account_id,
        "currency": payment.currency,
        "amount_minor": payment.amount_minor,
    }


_HOW = {Disposition.REVERSE: "reversed", Disposition.RELEASE: "given back to be decided anew"}
_COLOUR = {"PLANNED": "yellow", "UNDER_WAY": "red", "COMPLETED": "green"}
_KEPT = {
    Disposition.NOT_EXECUTED: "because their payments are executed as other decisions say",
    Disposition.UNSETTLED: "because their payments are under way or in doubt",
    Disposition.GIVEN_BACK: "given back by an earlier reversal",
    Disposition.REVIEWED: "because a person decided",
    Disposition.RECOVERING: "because a person sees to money that was had back in part",
    Disposition.NOT_MADE: "because their payments failed for another reason than the decision",
    Disposition.UNDECIDABLE: "because their payments would be refused today",
    Disposition.UNCHANGED: "because the answer is the same",
}


_RELEASE_ENDS = {
    ReleaseEnd.PUBLISHED: "released by the ledger and published anew",
    ReleaseEnd.OVERTAKEN: "overtaken by a review or another reversal, so not published",
    ReleaseEnd.NOT_RECALLED: "not to be had back, so not published",
}


def _release_sentences(releases: Mapping[ReleaseEnd, int]) -> list[str]:
    return [f"{_RELEASE_ENDS[ending]}: {count_text(count, 'payment')}" for ending, count in releases.items()]


def _good(plan: StoredPlan) -> str:
    header = plan.header
    return regime_words(header.good_model_version, header.good_policy_version, header.good_feeds)


def _share(share: Share) -> str:
    amounts = ", ".join(money_text(minor, currency) for currency, minor in share.amount_minor.items())
    of_whom = f"{count_text(share.decisions, 'decision')} of {count_text(share.customers, 'customer')}"
    return f"{of_whom}, {amounts or 'no amount'}"
