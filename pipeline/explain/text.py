"""An explanation in words and columns."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.decide.decision_topics import amount_text
from pipeline.decide.phrases import percent_of_bp
from pipeline.domain.features import UNKNOWN
from pipeline.explain.as_json import whole_json
from pipeline.explain.audit_trail_files import Audited
from pipeline.explain.explanation import Explanation
from pipeline.explain.guardrails import Standing
from pipeline.explain.moments import records
from pipeline.explain.whole_command import Whole
from pipeline.explain.whole_life_store import NotShown
from pipeline.replay.archive_files import Missing
from pipeline.replay.verify import Result
from pipeline.terminal.output import OUTCOME_COLOUR, Output, coloured, utc_text

_LABEL_WIDTH = 20


def show_whole(output: Output, told: Whole) -> None:
    if output.as_json:
        output.record(whole_json(told), "")
        return
    for line in whole_lines(told):
        output.line(line)


def whole_lines(told: Whole) -> Iterator[str]:
    """What happened in three sentences, when, and then everything that the decision saw and says."""
    yield from told.sentences
    yield from _timeline(told)
    yield from _audit(told)
    yield ""
    yield from explanation_lines(told.explained)
    yield f"  {'this text':<{_LABEL_WIDTH}} {told.origin}"


def explanation_lines(explained: Explanation) -> Iterator[str]:
    fields = explained.stored.fields
    outcome = fields["outcome"]
    yield coloured(f"{outcome}  {fields['transaction_id']}", OUTCOME_COLOUR[outcome], is_bold=True)
    yield fields["summary"]
    yield from _section("Payment", payment_rows(explained))
    yield from _section("Decision", decision_rows(explained))
    yield from _section("Reasons", _reasons(explained))
    yield from _guardrails(explained)
    yield from _features(explained)
    yield from _model(explained)
    yield from _section("Provenance", provenance_rows(explained))


def _section(title: str, rows: Iterator[tuple[str, str]]) -> Iterator[str]:
    yield ""
    yield coloured(title, None, is_bold=True)
    for label, text in rows:
        yield f"  {label:<{_LABEL_WIDTH}} {text}".rstrip()


def payment_rows(explained: Explanation) -> Iterator[tuple[str, str]]:
    payment = explained.stored.transaction
    yield "amount", amount_text(payment)
    yield "made at", utc_text(payment.event_time_ms)
    yield "account", payment.account_id
    yield "beneficiary", f"{payment.beneficiary_account_id} {payment.beneficiary_name or '(no name)'}"
    yield "country, channel", f"{payment.beneficiary_country}, {payment.channel}"
    yield "reference", payment.reference or "(none)"
    yield "address, device", f"{payment.ip_address or '(none)'}, {payment.device_id or '(none)'}"


def decision_rows(explained: Explanation) -> Iterator[tuple[str, str]]:
    fields = explained.stored.fields
    yield "outcome", fields["outcome"]
    yield "route", f"{fields['route']}. {explained.why_route}"
    yield "confidence", f"{percent_of_bp(fields['confidence_bp'])} that the answer behind the outcome is right"
    if fields["fraud_probability_ppm"] != UNKNOWN:
        yield "model's answer", f"fraud with probability {percent_of_bp(fields['fraud_probability_ppm'] // 100)}"
    yield "decided at", f"{utc_text(fields['decided_at_ms'])} by {fields['agent_id']}"
    yield "rules triggered", ", ".join(fields["rules_triggered"]) or "(none)"


def _reasons(explained: Explanation) -> Iterator[tuple[str, str]]:
    for number, reason in enumerate(explained.stored.fields["reasons"], 1):
        yield f"{number}.", reason["text"]
        compared = f"observed {reason['observed']:,}"
        if reason["limit"] is not None:
            name = "limit" if reason["contribution_micro"] is None else "typical"
            compared += f", {name} {reason['limit']:,}, difference {reason['excess']:+,}"
        if reason["contribution_micro"] is not None:
            compared += f", {log_odds(reason['contribution_micro'])} log-odds"
        yield "", f"{reason['code']}: {compared}"


def _guardrails(explained: Explanation) -> Iterator[str]:
    yield ""
    yield coloured("Every rule of the policy", None, is_bold=True)
    if isinstance(explained.guardrails, Missing):
        yield f"  Not shown: {explained.guardrails.why}."
        return
    for rule in explained.guardrails:
        colour = OUTCOME_COLOUR[rule.outcome] if rule.standing is Standing.TRIGGERED else None
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
    yield f"  {audited.fields['record']} at decisions.v1 {row.partition}:{row.offset}, {position_words(audited)}"
    yield f"    leaf   {row.leaf.hex()}  {leaf_words(audited)}"
    yield f"    chain  {row.chain.hex()}"
    yield f"    {cover_words(audited)}"


def position_words(audited: Audited) -> str:
    position = audited.position
    if position is None:
        return "in no batch of the log: LOOK AT IT with `fraud audit verify`"
    if position.first == position.last:
        return f"record {position.first:,} of its partition's log, counted from 0"
    return f"one of the records {position.first:,} to {position.last:,} of its partition's log, counted from 0"


def leaf_words(audited: Audited) -> str:
    if not audited.is_leaf_sound:
        return "which the stored bytes do NOT give: the row was altered"
    if audited.is_in_file is None:
        return "which the stored bytes give; the leaf file outside the database is not here to compare"
    if audited.is_in_file:
        return "which the stored bytes give, and the leaf file outside the database holds"
    return "which the leaf file outside the database does NOT hold: the log was altered"


def cover_words(audited: Audited) -> str:
    cover = audited.cover
    if cover is None:
        return "no signed head covers it yet"
    head = cover.head
    return (
        f"covered by the head over {records(head.tree_size)} signed at {utc_text(head.anchored_at_ms)} with key "
        f"{cover.key_id}, root {head.root.hex()}"
    )


def _features(explained: Explanation) -> Iterator[str]:
    yield ""
    yield coloured("What the decision saw", None, is_bold=True)
    group = ""
    for fact in explained.features:
        if fact.group != group:
            group = fact.group
            yield f"  of {group}" if group.startswith("the ") else f"  {group}"
        value = "unknown" if fact.value == UNKNOWN else f"{fact.value:,}"
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


def provenance_rows(explained: Explanation) -> Iterator[tuple[str, str]]:
    fields, check = explained.stored.fields, explained.check
    yield "decision id", fields["decision_id"]
    yield "policy", f"{fields['policy_version']}  sha256 {fields['policy_hash'].hex()}"
    yield "model", f"{fields['model_version']}  sha256 {fields['model_hash'].hex()}"
    yield "input sha256", fields["input_hash"].hex()
    yield "read from", f"transactions.v1 {fields['source_partition']}:{fields['source_offset']}"
    yield "written to", f"decisions.v1 {explained.partition}:{explained.offset}"
    match check.result:
        case Result.IDENTICAL:
            yield "decided again", "gives the same bytes"
        case Result.DIFFERS:
            yield "decided again", f"DIFFERS in {', '.join(check.differing)}"
        case Result.UNVERIFIABLE:
            yield "decided again", f"not possible: {check.why}"


def log_odds(micro: int) -> str:
    sign = "-" if micro < 0 else "+"
    return f"{sign}{abs(micro) // 1_000_000}.{abs(micro) % 1_000_000:06d}"
