"""An explanation as one HTML page: for whoever answers at nine on a Monday, and for a regulator's file.

In the order in which it is asked: what happened in short, then step by step, where the money went, why it was decided
so, and what proves all that.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from pipeline.decide.phrases import percent_of_bp, percent_of_ppm
from pipeline.domain.decision import Outcome
from pipeline.domain.features import NONE
from pipeline.domain.money import amount_text, money_text
from pipeline.domain.times import utc_text
from pipeline.explain.counterfactual.words import TITLE, otherwise_lines
from pipeline.explain.explanation import ModelAccount
from pipeline.explain.guardrails import Guardrail, RuleStanding
from pipeline.explain.life import Audited, NotShown
from pipeline.explain.moments import record_name
from pipeline.explain.timeline import Moment, Thread
from pipeline.explain.whole import Whole
from pipeline.explain.words import (
    NUMBERS_ARE,
    cover_words,
    decision_rows,
    leaf_words,
    log_odds,
    payment_rows,
    position_words,
    provenance_rows,
    value_words,
)
from pipeline.io.clock import now_ms
from pipeline.replay.regimes import Missing
from pipeline.replay.verify import Result
from pipeline.web.html import badge, cards, document, escape, table
from pipeline.web.page_files import write

_THREADS: Final = {
    Thread.DECISION: "decision",
    Thread.ROLLBACK: "rollback",
    Thread.AUDIT: "audit log",
    Thread.REVIEW: "review",
    Thread.EXECUTION: "execution",
}
Rows = Iterator[tuple[str, str]]


def write_page(path: Path, told: Whole) -> None:
    write(path, page(told, now_ms()))


def page(told: Whole, made_at_ms: int) -> str:
    transaction_id = told.explained.decision.snapshot.transaction.transaction_id
    return document(f"Payment {transaction_id}", _body(told, made_at_ms))


def _body(told: Whole, made_at_ms: int) -> Iterator[str]:
    payment = told.explained.decision.snapshot.transaction
    yield f"<h1>Payment <code>{escape(payment.transaction_id)}</code> {_badges(told)}</h1>"
    yield f"<p class=soft>As recorded up to {utc_text(made_at_ms)}; {escape(told.origin)}. All times are UTC.</p>"
    yield f'<div class="short">{"".join(f"<p>{escape(sentence)}</p>" for sentence in told.sentences)}</div>'
    yield f"<p><b>What the customer may be told:</b> {escape(_customer(told))}</p>"
    yield cards(_cards(told))
    yield from _timeline(told)
    yield from _postings(told)
    yield "<h2>The payment</h2>" + _pairs(payment_rows(told.explained))
    yield "<h2>The decision</h2>" + _pairs(decision_rows(told.explained))
    yield from _reasons(told)
    yield from _otherwise(told)
    yield from _guardrails(told)
    yield from _model(told)
    yield from _features(told)
    yield from _audit(told)
    yield "<h2>What the decision was made of</h2>" + _pairs(
        chain(provenance_rows(told.explained), [("trace", f"{told.trace.trace_id}  {told.trace.origin}")]), is_code=True
    )


def _customer(told: Whole) -> str:
    return f"Not shown: {told.customer.why}." if isinstance(told.customer, Missing) else told.customer


def _badges(told: Whole) -> str:
    state = None if isinstance(told.life, NotShown) else told.life.state
    return badge(told.explained.decision.outcome) + ("" if state is None else f" → {badge(state)}")


def _cards(told: Whole) -> Rows:
    decision = told.explained.decision
    yield "decided", decision.outcome
    if not isinstance(told.life, NotShown):
        yield "now in the ledger", told.life.state or "not heard of"
    yield "amount", amount_text(told.explained.decision.snapshot.transaction)
    yield "sure", percent_of_bp(decision.confidence_bp)
    ppm = decision.fraud_probability_ppm
    yield (
        "fraud, by the model",
        ("failed" if decision.has_model_failed else "not asked") if ppm == NONE else percent_of_ppm(ppm),
    )
    check = told.explained.check.result
    words = {Result.IDENTICAL: "identical", Result.DIFFERS: "DIFFERS", Result.UNVERIFIABLE: "not possible"}
    yield "decided again", words[check]


def _timeline(told: Whole) -> Iterator[str]:
    rows, day = [], ""
    for moment in told.timeline:
        today, _, clock = utc_text(moment.at_ms).removesuffix("Z").partition("T")
        if today != day:
            rows.append([f"<b>{today}</b>", "", "", "", ""])
            day = today
        rows.append([clock, _tag(moment), _what(moment), escape(moment.by), _place(moment.where)])
    head = ["When, UTC", "", "What", "By whom", "Recorded in"]
    yield f'<h2>What happened, step by step</h2><div class="lines steps">{table(head, rows)}</div>'
    if isinstance(told.life, NotShown):
        yield f'<p class="bad">{escape(told.life.why)}</p>'


def _tag(moment: Moment) -> str:
    return f'<span class="tag {moment.thread}">{_THREADS[moment.thread]}</span>'


def _what(moment: Moment) -> str:
    if moment.kind == "DECIDED":
        outcome = moment.what.partition(",")[0].removeprefix("Decided ")
        return f"{badge(outcome)} {escape(moment.what)}"
    return escape(moment.what)


def _place(where: str) -> str:
    return f"<code>{escape(where)}</code>"


def _postings(told: Whole) -> Iterator[str]:
    if isinstance(told.life, NotShown) or not told.life.rows.postings:
        return
    rows = [
        [utc_text(row.recorded_at_ms), row.step.replace("_", " ").lower(), _place(row.source_account_id),
         _place(row.destination_account_id), money_text(row.amount_minor, row.currency),
         "" if row.reverses is None else f"undoes <code>{row.reverses}</code>"]
        for row in told.life.rows.postings
    ]  # fmt: skip
    head = ["Recorded", "Step", "From", "To", "Amount", ""]
    yield f'<h2>Where the money went</h2><div class="lines">{table(head, rows, numbers=(4,))}</div>'
    yield "<p class=soft>Each line takes its amount from one account and gives it to another; none is ever changed.</p>"


def _reasons(told: Whole) -> Iterator[str]:
    rows = []
    for reason in told.explained.decision.reasons:
        limit, excess, micro = reason.limit, reason.excess, reason.contribution_micro
        rows.append([
            escape(reason.text), f"<code>{escape(reason.code)}</code>", value_words(reason.observed),
            "" if limit is None else f"{limit:,}", "" if excess is None else f"{excess:+,}",
            "" if micro is None else log_odds(micro),
        ])  # fmt: skip
    head = ["Reason, as recorded", "Code", "Observed", "Limit, or typical", "Difference", "Log-odds"]
    yield f'<h2>Why</h2><div class="lines">{table(head, rows, numbers=(2, 3, 4, 5))}</div>'
    yield f"<p class=soft>{NUMBERS_ARE}</p>"


def _otherwise(told: Whole) -> Iterator[str]:
    decision = told.explained.decision
    if decision.outcome is Outcome.ALLOW:
        return
    yield f"<h2>{TITLE}</h2>"
    for line in otherwise_lines(decision, told.explained.otherwise):
        is_item = line.startswith(("- ", "  "))
        yield f'<p class="item">{escape(line.removeprefix("- ").strip())}</p>' if is_item else f"<p>{escape(line)}</p>"


_STANDINGS: Final = {
    RuleStanding.TRIGGERED: "triggered",
    RuleStanding.MET: "met, did not count",
    RuleStanding.CLEAR: "clear",
    RuleStanding.NOT_ASKED: "not asked",
}


def _guardrails(told: Whole) -> Iterator[str]:
    yield "<h2>Every rule of the policy</h2>"
    found = told.explained.guardrails
    if isinstance(found, Missing):
        yield f"<p>Not shown: {escape(found.why)}.</p>"
        return
    rows = [row for guardrail in found for row in _rule_rows(guardrail)]
    yield f'<div class="lines rules">{table(["Rule", "Would", "", "Observed", "Limit", "How far"], rows)}</div>'
    yield "<p class=soft>A rule triggers where all of its lines are met. In the order in which they are asked.</p>"


def _rule_rows(guardrail: Guardrail) -> Iterator[list[str]]:
    standing = _STANDINGS[guardrail.standing]
    mark = f'<span class="bad">{standing}</span>' if guardrail.standing is RuleStanding.TRIGGERED else standing
    note = f"<br><span class=soft>{escape(guardrail.note)}</span>" if guardrail.note else ""
    head = [f"<code>{escape(guardrail.code)}</code>", _outcome(guardrail.outcome), mark + note]
    for condition in guardrail.conditions:
        far = f"<b>{escape(condition.distance_text)}</b>" if condition.is_met else escape(condition.distance_text)
        yield [*head, escape(condition.fact), escape(condition.limit_text), far]
        head = ["", "", ""]
    if not guardrail.conditions:
        yield [*head, "", "", ""]


def _outcome(outcome: str) -> str:
    return f'<span class="{escape(outcome)}">{escape(outcome)}</span>'


def _model(told: Whole) -> Iterator[str]:
    yield "<h2>The model's score, term by term</h2>"
    model = told.explained.model
    if isinstance(model, Missing):
        yield f"<p>Not shown: {escape(model.why)}.</p>"
        return
    rows = [["Every payment starts here", log_odds(model.intercept_micro), ""], *_share_rows(model)]
    silent = sum(1 for share in model.shares if not share.contribution_micro)
    if silent:
        rows.append([f"{silent} terms that say nothing here", log_odds(0), ""])
    agrees = "as recorded" if model.is_recorded_score else "NOT what the decision records"
    rows.append([f"<b>The sum, {agrees}</b>", f"<b>{log_odds(model.score_micro)}</b>", ""])
    head = ["What the term looks at", "Log-odds", "Less or more like fraud"]
    yield f'<div class="lines">{table(head, rows, numbers=(1,))}</div>'


def _share_rows(model: ModelAccount) -> Iterator[list[str]]:
    largest = max((abs(share.contribution_micro) for share in model.shares), default=0) or 1
    for share in model.shares:
        if share.contribution_micro:
            yield [escape(share.fact), log_odds(share.contribution_micro), _bar(share.contribution_micro, largest)]


def _bar(micro: int, largest: int) -> str:
    """Half of the cell is the largest share's; whole percents, for drawing only."""
    width = max(abs(micro) * 50 // largest, 1)
    side = "up" if micro > 0 else "down"
    margin = "" if micro > 0 else f"margin-left:{50 - width}%;"
    return f'<div class="bar"><i class="{side}" style="{margin}width:{width}%"></i></div>'


def _features(told: Whole) -> Iterator[str]:
    rows, group = [], ""
    for fact in told.explained.features:
        value = value_words(fact.value)
        title = f"<b>{escape(fact.group)}</b>" if fact.group != group else ""
        group = fact.group
        rows.append([title, f"<code>{escape(fact.name)}</code>", value, escape(fact.fact)])
    head = ["Of", "Feature", "Value", "What it counts"]
    yield f'<h2>What the decision saw</h2><div class="lines">{table(head, rows, numbers=(2,))}</div>'


def _audit(told: Whole) -> Iterator[str]:
    if isinstance(told.life, NotShown):
        return
    yield "<h2>Where it stands in the audit log</h2>"
    if not told.life.audited:
        yield "<p>The audit log has nothing about this decision yet.</p>"
    for audited in told.life.audited:
        yield f"<p><b>The {record_name(audited.content)}</b></p>" + _pairs_of(_proof(audited))
    decision_id = told.explained.decision.decision_id
    yield f"<p class=soft>The proof that a signed head includes it: <code>fraud audit prove {decision_id}</code>.</p>"


def _proof(audited: Audited) -> Iterator[list[str]]:
    row = audited.row
    yield ["Place", f"decisions.v1, partition {row.partition}, offset {row.offset}; {position_words(audited)}"]
    yield ["Recorded", utc_text(row.recorded_at_us // 1000)]
    yield ["Leaf hash", f"<code>{row.leaf.hex()}</code><br>{_warned(leaf_words(audited))}"]
    yield ["Chain hash", f"<code>{row.chain.hex()}</code>"]
    yield ["Signed head", escape(cover_words(audited))]


def _warned(words: str) -> str:
    return f'<span class="bad">{escape(words)}</span>' if "altered" in words else escape(words)


def _pairs(rows: Rows, *, is_code: bool = False) -> str:
    def cell(text: str) -> str:
        return f"<code>{escape(text)}</code>" if is_code else escape(text)

    return _pairs_of([escape(name[:1].upper() + name[1:]), cell(text)] for name, text in rows)


def _pairs_of(rows: Iterable[list[str]]) -> str:
    return f'<div class="pairs">{table(["", ""], rows)}</div>'
