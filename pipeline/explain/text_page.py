"""An explanation as a page for the terminal: words and columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pipeline.domain.decision import Outcome
from pipeline.domain.times import utc_text
from pipeline.explain.as_json import whole_json
from pipeline.explain.counterfactual.words import TITLE, otherwise_lines
from pipeline.explain.explanation import Explanation
from pipeline.explain.guardrails import RuleStanding
from pipeline.explain.life import Audited, NotShown
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
    reason_rows,
    value_words,
)
from pipeline.replay.regimes import Missing
from pipeline.terminal.output import OUTCOME_COLOUR, Output, coloured

_LABEL_WIDTH = 20


def show_whole(output: Output, told: Whole) -> None:
    if output.as_json:
        output.record(whole_json(told), "")
        return
    for line in whole_lines(told):
        output.line(line)


def whole_lines(told: Whole) -> Iterator[str]:
    """The lines of an explanation: three sentences, the timeline, then everything that the decision saw and says."""
    yield from told.sentences
    yield ""
    yield coloured("What the customer may be told", None, is_bold=True)
    yield f"  {customer_words(told)}"
    yield from _timeline(told)
    yield from _audit(told)
    yield ""
    yield from explanation_lines(told.explained)
    yield f"  {'trace':<{_LABEL_WIDTH}} {told.trace.trace_id}  {told.trace.origin}"
    yield f"  {'this text':<{_LABEL_WIDTH}} {told.origin}"


def customer_words(told: Whole) -> str:
    return f"Not shown: {told.customer.why}." if isinstance(told.customer, Missing) else told.customer


def explanation_lines(explained: Explanation) -> Iterator[str]:
    decision = explained.decision
    yield coloured(f"{decision.outcome}  {decision.transaction_id}", OUTCOME_COLOUR[decision.outcome], is_bold=True)
    yield decision.summary
    yield from _section("Payment", payment_rows(explained))
    yield from _section("Decision", decision_rows(explained))
    yield from _section("Reasons", [*reason_rows(explained), ("", NUMBERS_ARE)])
    yield from _otherwise(explained)
    yield from _guardrails(explained)
    yield from _features(explained)
    yield from _model(explained)
    yield from _section("Provenance", provenance_rows(explained))


def _section(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield ""
    yield coloured(title, None, is_bold=True)
    for label, text in rows:
        yield f"  {label:<{_LABEL_WIDTH}} {text}".rstrip()


def _otherwise(explained: Explanation) -> Iterator[str]:
    if explained.decision.outcome is Outcome.ALLOW:
        return
    yield ""
    yield coloured(TITLE, None, is_bold=True)
    for line in otherwise_lines(explained.decision, explained.otherwise):
        yield f"  {line}"


def _guardrails(explained: Explanation) -> Iterator[str]:
    yield ""
    yield coloured("Every rule of the policy", None, is_bold=True)
    if isinstance(explained.guardrails, Missing):
        yield f"  Not shown: {explained.guardrails.why}."
        return
    for rule in explained.guardrails:
        colour = OUTCOME_COLOUR[rule.outcome] if rule.standing is RuleStanding.TRIGGERED else None
        word = coloured(f"{rule.standing.replace('_', ' '):<9}", colour, is_bold=colour is not None)
        yield f"  {word} {rule.code} to {rule.outcome}{f': {rule.note}' if rule.note else ''}"
        for condition in rule.conditions:
            yield f"            {condition.fact}; {condition.limit_text}: {condition.distance_text}"


def _timeline(told: Whole) -> Iterator[str]:
    yield ""
    yield coloured("What happened, in order of time (UTC)", None, is_bold=True)
    for moment in told.timeline:
        yield f"  {utc_text(moment.at_ms)}  {moment.what}"
        yield f"  {'':<24}  by {moment.by}; {moment.where}"


def _audit(told: Whole) -> Iterator[str]:
    if isinstance(told.life, NotShown):
        return
    yield ""
    yield coloured("In the audit log", None, is_bold=True)
    if not told.life.audited:
        yield "  It has nothing about this decision yet."
    for audited in told.life.audited:
        yield from _audited(audited)


def _audited(audited: Audited) -> Iterator[str]:
    row = audited.row
    yield f"  {type(audited.content).__name__} at decisions.v1 {row.partition}:{row.offset}, {position_words(audited)}"
    yield f"    leaf   {row.leaf.hex()}  {leaf_words(audited)}"
    yield f"    chain  {row.chain.hex()}"
    yield f"    {cover_words(audited)}"


def _features(explained: Explanation) -> Iterator[str]:
    yield ""
    yield coloured("What the decision saw", None, is_bold=True)
    group = ""
    for fact in explained.features:
        if fact.group != group:
            group = fact.group
            yield f"  of {group}" if group.startswith("the ") else f"  {group}"
        value = value_words(fact.value)
        yield f"    {fact.name:<40} {value:>16}  {fact.fact}"


def _model(explained: Explanation) -> Iterator[str]:
    yield ""
    yield coloured("The model's score, term by term", None, is_bold=True)
    model = explained.model
    if isinstance(model, Missing):
        yield f"  Not shown: {model.why}."
        return
    yield f"  {log_odds(model.intercept_micro):>11}  every payment starts here"
    for share in model.shares:
        if share.contribution_micro:
            yield f"  {log_odds(share.contribution_micro):>11}  {share.fact}"
    silent = sum(1 for share in model.shares if not share.contribution_micro)
    if silent:
        yield f"  {log_odds(0):>11}  {silent} terms that say nothing here"
    agrees = "as recorded" if model.is_recorded_score else "NOT what the decision records"
    yield f"  {log_odds(model.score_micro):>11}  the sum: the score in log-odds, {agrees}"
