"""The report on a rollback plan as one HTML page: nothing is loaded from elsewhere, and it prints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import Any, Final

from pipeline.domain.money import money_text
from pipeline.web.html import badge, cards, document, table

LINES_MAX: Final = 2000
"""Rows that a browser still scrolls well; the JSON report has all."""


def page(report: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> str:
    """`report` as report_json gives it; `lines` of the plan, in order."""
    return document(f"Rollback {report['plan_id']}", _body(report, lines))


def _body(report: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    radius = report["blast_radius"]
    state = report["state"]
    yield f"<h1>Rollback plan {badge(state)}</h1>"
    yield f"<p>{escape(report['reason'])}</p><p class=soft><code>{escape(report['plan_id'])}</code></p>"
    yield from _cards(report, radius)
    yield "<h2>Who, what and when</h2>" + table(["", ""], _facts(report))
    yield "<h2>What it changes</h2>" + table(_SHARE_HEAD, _shares(radius["by_change"].items()), (1, 2, 3))
    yield "<h2>What was looked at</h2>" + table(
        _SHARE_HEAD,
        _shares((_DISPOSITIONS[name], share) for name, share in radius["by_disposition"].items()),
        (1, 2, 3),
    )
    yield from _afterwards(report)
    yield from _each(lines)


def _cards(report: Mapping[str, Any], radius: Mapping[str, Any]) -> Iterator[str]:
    changing = radius["changing"]
    values = {
        "decisions looked at": f"{report['decisions']:,}",
        "to be reversed": f"{report['changing']:,}",
        "customers": f"{changing['customers']:,}",
        "amount": _amounts(changing["amount_minor"]) or "none",
        "with held funds": f"{radius['held_funds']['decisions']:,}",
        "under review": f"{radius['open_reviews']['decisions']:,}",
        "reversals appended": f"{report['appended']:,}",
    }
    yield cards(values.items())


def _facts(report: Mapping[str, Any]) -> Iterator[list[str]]:
    asked = ", ".join(f"{name} {value}" for name, value in report["criteria"].items())
    yield ["Selected", escape(asked)]
    yield [
        "Decided again under",
        escape(f"model {report['good_model_version']}, policy {report['good_policy_version']}"),
    ]
    breaker = "as it was recorded" if report["breaker"] == "RECORDED" else "as if it had been closed throughout"
    yield ["Circuit breaker", breaker]
    yield ["Requested", f"{escape(report['requested_by'])}, {report['requested_at']}"]
    yield ["Expires", report["expires_at"]]
    approved = (
        "not yet" if report["approved_by"] is None else f"{escape(report['approved_by'])}, {report['approved_at']}"
    )
    yield ["Approved", approved]
    for each in report["progress"]:
        said = f"{escape(each['applied_by'])}, {each['at']}, {each['appended']:,} appended so far"
        yield [each["kind"].capitalize(), said]
    intact = (
        ""
        if report["is_intact"]
        else ' <span class="bad">The stored lines do not give it: the plan was altered.</span>'
    )
    yield ["SHA-256 of header and lines", f"<code>{report['content_hash']}</code>{intact}"]


def _afterwards(report: Mapping[str, Any]) -> Iterator[str]:
    if report["approved_by"] is None:
        return
    rows = [
        [_change(each["before"], each["after"]), escape(each["state"] or "not there yet"), f"{each['decisions']:,}",
         _amounts({each["currency"]: each["amount_minor"]})]
        for each in report["settled"]
    ]  # fmt: skip
    head = ["Change", "Payment in the ledger", "Decisions", "Amount"]
    yield "<h2>What became of it</h2>" + table(head, rows, numbers=(2, 3))
    logged = f"{report['reversals_logged']:,} reversals of the plan stand in the audit log, "
    yield f"<p>{logged}{report['reversals_logged_distinct']:,} different ones.</p>"
    if report["decided_anew"]:
        anew = ", ".join(f"{count:,} {outcome}" for outcome, count in report["decided_anew"].items())
        yield f"<p>Payments given back and decided anew: {escape(anew)}.</p>"
    sums = _amounts(report["ledger_sums"])
    if sums:
        yield f"<p>Sum over all entries of the ledger, by currency: {escape(sums)}.</p>"


def _each(lines: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    changing = [line for line in lines if line["disposition"] in ("REVERSE", "RELEASE")]
    yield "<h2>Each decision that changes</h2>"
    if len(changing) > LINES_MAX:
        yield f"<p class=soft>The first {LINES_MAX:,} of {len(changing):,}; the JSON report has all.</p>"
    rows = [
        [f"<code>{escape(line['transaction_id'])}</code>", f"<code>{escape(line['account_id'])}</code>",
         _amounts({line["currency"]: line["amount_minor"]}), _change(line["before"], line["after"]),
         _DISPOSITIONS[line["disposition"]], escape(line["why"])]
        for line in changing[:LINES_MAX]
    ]  # fmt: skip
    head = ["Transaction", "Account", "Amount", "Change", "How", "Why, under the good version"]
    yield f'<div class="wide lines">{table(head, rows, numbers=(2,))}</div>'


_DISPOSITIONS: Final = {
    "GIVEN_BACK": "Left: given back by an earlier reversal",
    "REVIEWED": "Left: a person decided",
    "UNDECIDABLE": "Left: the payment would be refused today",
    "UNCHANGED": "Left: the answer is the same",
    "REVERSE": "Reversed",
    "RELEASE": "Given back, to be decided anew",
}
_SHARE_HEAD: Final = ["", "Decisions", "Customers", "Amount"]


def _shares(shares: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[list[str]]:
    for name, share in shares:
        before, found, after = name.partition("->")
        words = _change(before, after) if found else escape(name)
        yield [words, f"{share['decisions']:,}", f"{share['customers']:,}", _amounts(share["amount_minor"])]


def _change(before: str, after: str) -> str:
    return f'<span class="{before}">{before}</span> → <span class="{after}">{after}</span>'


def _amounts(amounts: Mapping[str, int]) -> str:
    return ", ".join(money_text(minor, currency) for currency, minor in amounts.items())
