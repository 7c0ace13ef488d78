"""The report on a rollback plan as one HTML page: nothing is loaded from elsewhere, and it prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from pipeline.domain.money import money_text
from pipeline.domain.payment import Transaction
from pipeline.domain.times import utc_text
from pipeline.replay.redecide import Basis
from pipeline.rollback.blast_radius import Share
from pipeline.rollback.report_store import Report
from pipeline.rollback.reversal import CHANGING, Disposition, regime_words
from pipeline.web.html import badge, cards, document, escape, table

LINES_MAX: Final = 2000
"""Rows that a browser still scrolls well; the JSON report has all."""


def page(report: Report) -> str:
    return document(f"Rollback {report.plan.header.plan_id}", _body(report))


def _body(report: Report) -> Iterator[str]:
    header, radius = report.plan.header, report.plan.blast_radius
    yield f"<h1>Rollback plan {badge(report.state)}</h1>"
    yield f"<p>{escape(header.reason)}</p><p class=soft><code>{escape(header.plan_id)}</code>"
    yield ". All times are UTC.</p>"
    yield from _cards(report)
    yield "<h2>Who, what and when</h2><div class=pairs>" + table(["", ""], _facts(report)) + "</div>"
    changes = [(_change(*change), share) for change, share in radius.by_change.items()]
    yield "<h2>What it changes</h2>" + table(_SHARE_HEAD, _shares(changes), (1, 2, 3))
    looked_at = [(escape(_DISPOSITIONS[each]), share) for each, share in radius.by_disposition.items()]
    yield "<h2>What was looked at</h2>" + table(_SHARE_HEAD, _shares(looked_at), (1, 2, 3))
    yield from _afterwards(report)
    yield from _each(report)


def _cards(report: Report) -> Iterator[str]:
    radius = report.plan.blast_radius
    values = {
        "decisions looked at": f"{report.plan.decisions:,}",
        "to be reversed": f"{report.plan.changing:,}",
        "customers": f"{radius.changing.customers:,}",
        "amount": _amounts(radius.changing.amount_minor) or "none",
        "with held funds": f"{radius.held_funds.decisions:,}",
        "under review": f"{radius.open_reviews.decisions:,}",
        "reversals appended": f"{report.appended:,}",
    }
    yield cards(values.items())


def _facts(report: Report) -> Iterator[list[str]]:
    header, approval = report.plan.header, report.approval
    asked = ", ".join(f"{name} {value}" for name, value in header.criteria.items())
    yield ["Selected", escape(asked)]
    yield [
        "Decided again under",
        escape(regime_words(header.good_model_version, header.good_policy_version, header.good_feeds)),
    ]
    is_recorded = header.breaker == Basis.RECORDED
    yield ["Circuit breaker", "as it was recorded" if is_recorded else "as if it had been closed throughout"]
    yield ["Requested", f"{escape(header.requested_by)}, {utc_text(header.requested_at_ms)}"]
    yield ["Expires", utc_text(header.expires_at_ms)]
    approved = "not yet" if approval is None else f"{escape(approval.approved_by)}, {utc_text(approval.approved_at_ms)}"
    yield ["Approved", approved]
    for each in report.milestones:
        said = f"{escape(each.applied_by)}, {utc_text(each.at_ms)}, {each.appended:,} appended so far"
        yield [each.kind.capitalize(), said]
    intact = (
        ""
        if report.is_intact
        else ' <span class="bad">The stored plan is not what was signed, or not about the audited payments.</span>'
    )
    yield ["SHA-256 of header and lines", f"<code>{report.plan.content_hash.hex()}</code>{intact}"]


def _afterwards(report: Report) -> Iterator[str]:
    if report.approval is None:
        return
    rows = [
        [_change(each.before, each.after), escape(each.state or "not there yet"), f"{each.decisions:,}",
         _amounts({each.currency: each.amount_minor})]
        for each in report.settled
    ]  # fmt: skip
    head = ["Change", "Payment in the ledger", "Decisions", "Amount"]
    yield "<h2>What became of it</h2>" + table(head, rows, numbers=(2, 3))
    logged = f"{report.logged:,} reversals of the plan stand in the audit log, "
    yield f"<p>{logged}{report.logged_distinct:,} different ones.</p>"
    if report.anew:
        anew = ", ".join(f"{count:,} {outcome}" for outcome, count in report.anew.items())
        yield f"<p>Payments given back and decided anew: {escape(anew)}.</p>"
    sums = _amounts(report.ledger_sums)
    if sums:
        yield f"<p>Sum over all entries of the ledger, by currency: {escape(sums)}.</p>"


def _each(report: Report) -> Iterator[str]:
    changing = [line for line in report.lines if line.disposition in CHANGING]
    yield "<h2>Each decision that changes</h2>"
    if len(changing) > LINES_MAX:
        yield f"<p class=soft>The first {LINES_MAX:,} of {len(changing):,}; the JSON report has all.</p>"
    rows = [
        [*_payment(report.payments.get(line.decision_id)), _change(line.before or "", line.after or ""),
         _DISPOSITIONS[line.disposition], escape(line.why)]
        for line in changing[:LINES_MAX]
    ]  # fmt: skip
    head = ["Transaction", "From", "To", "Amount", "Change", "How", "Why, under the good version"]
    yield f'<div class="lines">{table(head, rows, numbers=(3,))}</div>'


def _payment(payment: Transaction | None) -> list[str]:
    """As the audit log has it, whatever the plan says."""
    if payment is None:
        return ['<span class="bad">not in the audit log</span>', "", "", ""]
    names = payment.transaction_id, payment.account_id, payment.beneficiary_account_id
    amount = _amounts({payment.currency: payment.amount_minor})
    return [*(f"<code>{escape(name)}</code>" for name in names), amount]


_DISPOSITIONS: Final = {
    Disposition.NOT_EXECUTED: "Left: executed as another decision says",
    Disposition.UNSETTLED: "Left: under way or in doubt",
    Disposition.GIVEN_BACK: "Left: given back by an earlier reversal",
    Disposition.REVIEWED: "Left: a person decided",
    Disposition.RECOVERING: "Left: a person sees to money that was had back in part",
    Disposition.NOT_MADE: "Left: the payment failed for another reason",
    Disposition.UNDECIDABLE: "Left: the payment would be refused today",
    Disposition.UNCHANGED: "Left: the answer is the same",
    Disposition.REVERSE: "Reversed",
    Disposition.RELEASE: "Given back, to be decided anew",
}
_SHARE_HEAD: Final = ["", "Decisions", "Customers", "Amount"]


def _shares(shares: Iterable[tuple[str, Share]]) -> Iterator[list[str]]:
    """The rows of a table of shares; the words that name each share are HTML."""
    for words, share in shares:
        yield [words, f"{share.decisions:,}", f"{share.customers:,}", _amounts(share.amount_minor)]


def _change(before: str, after: str) -> str:
    return f'<span class="{before}">{before}</span> → <span class="{after}">{after}</span>'


def _amounts(amounts: Mapping[str, int]) -> str:
    return ", ".join(money_text(minor, currency) for currency, minor in amounts.items())
