"""An explanation in words and columns, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.commands.decisions import amount_text, plain
from pipeline.commands.explain import Explanation, ModelAccount
from pipeline.commands.output import OUTCOME_COLOUR, Output, coloured, utc_text
from pipeline.core.phrases import percent_of_bp
from pipeline.core.records import UNKNOWN
from pipeline.services.archive import Missing
from pipeline.services.verify import Result

_LABEL_WIDTH = 20


def show_explanation(output: Output, explained: Explanation) -> None:
    if output.as_json:
        output.record(explanation_json(explained), "")
        return
    for line in explanation_lines(explained):
        output.line(line)


def explanation_lines(explained: Explanation) -> Iterator[str]:
    fields = explained.stored.fields
    outcome = fields["outcome"]
    yield coloured(f"{outcome}  {fields['transaction_id']}", OUTCOME_COLOUR[outcome], is_bold=True)
    yield fields["summary"]
    yield from _section("Payment", _payment(explained))
    yield from _section("Decision", _decision(explained))
    yield from _section("Reasons", _reasons(explained))
    yield from _features(explained)
    yield from _model(explained)
    yield from _section("Provenance", _provenance(explained))


def explanation_json(explained: Explanation) -> dict[str, object]:
    model = explained.model
    return {
        **plain(explained.stored.fields),
        "partition": explained.partition,
        "offset": explained.offset,
        "why_route": explained.why_route,
        "facts": {fact.name: fact.fact for fact in explained.features},
        "model": {"missing": model.why} if isinstance(model, Missing) else _model_json(model),
        "verified": {"result": explained.check.result, "differing": list(explained.check.differing)},
    }


def _section(title: str, rows: Iterator[tuple[str, str]]) -> Iterator[str]:
    yield ""
    yield coloured(title, None, is_bold=True)
    for label, text in rows:
        yield f"  {label:<{_LABEL_WIDTH}} {text}".rstrip()


def _payment(explained: Explanation) -> Iterator[tuple[str, str]]:
    payment = explained.stored.transaction
    yield "amount", amount_text(payment)
    yield "made at", utc_text(payment.event_time_ms)
    yield "account", payment.account_id
    yield "beneficiary", f"{payment.beneficiary_account_id} {payment.beneficiary_name or '(no name)'}"
    yield "country, channel", f"{payment.beneficiary_country}, {payment.channel}"
    yield "reference", payment.reference or "(none)"
    yield "address, device", f"{payment.ip_address or '(none)'}, {payment.device_id or '(none)'}"


def _decision(explained: Explanation) -> Iterator[tuple[str, str]]:
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
            compared += f", {_log_odds(reason['contribution_micro'])} log-odds"
        yield "", f"{reason['code']}: {compared}"


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
    yield f"  {_log_odds(model.intercept_micro):>11}  every payment starts here"
    for share in model.shares:
        if share.contribution_micro:
            yield f"  {_log_odds(share.contribution_micro):>11}  {share.fact}"
    silent = sum(1 for share in model.shares if not share.contribution_micro)
    if silent:
        yield f"  {_log_odds(0):>11}  {silent} terms that say nothing here"
    agrees = "as recorded" if model.is_recorded_score else "NOT what the decision records"
    yield f"  {_log_odds(model.score_micro):>11}  the sum: the score in log-odds, {agrees}"


def _provenance(explained: Explanation) -> Iterator[tuple[str, str]]:
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


def _log_odds(micro: int) -> str:
    sign = "-" if micro < 0 else "+"
    return f"{sign}{abs(micro) // 1_000_000}.{abs(micro) % 1_000_000:06d}"


def _model_json(model: ModelAccount) -> dict[str, object]:
    return {
        "intercept_micro": model.intercept_micro,
        "terms": [
            {"features": share.features, "contribution_micro": share.contribution_micro, "fact": share.fact}
            for share in model.shares
        ],
        "score_micro": model.score_micro,
        "is_recorded_score": model.is_recorded_score,
    }
