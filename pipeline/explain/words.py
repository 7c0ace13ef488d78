"""An explanation in rows of a label and a text, and in clauses: what the terminal's page and the HTML page share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pipeline.decide.feeds.feed import OF_THE_POLICY
from pipeline.decide.phrases import percent_of_bp, percent_of_ppm
from pipeline.domain.features import NONE, UNKNOWN
from pipeline.domain.money import amount_text
from pipeline.domain.times import utc_text
from pipeline.explain.explanation import Explanation
from pipeline.explain.life import Audited
from pipeline.explain.moments import records
from pipeline.replay.verify import Result


def payment_rows(explained: Explanation) -> Iterator[tuple[str, str]]:
    payment = explained.decision.snapshot.transaction
    yield "amount", amount_text(payment)
    yield "made at", utc_text(payment.event_time_ms)
    yield "account", payment.account_id
    yield "beneficiary", f"{payment.beneficiary_account_id} {payment.beneficiary_name or '(no name)'}"
    yield "country, channel", f"{payment.beneficiary_country}, {payment.channel}"
    yield "reference", payment.reference or "(none)"
    yield "address, device", f"{payment.ip_address or '(none)'}, {payment.device_id or '(none)'}"


def decision_rows(explained: Explanation) -> Iterator[tuple[str, str]]:
    decision = explained.decision
    yield "outcome", decision.outcome
    yield "route", f"{decision.route}. {explained.why_route}"
    yield "confidence", f"{percent_of_bp(decision.confidence_bp)} that the answer behind the outcome is right"
    if decision.fraud_probability_ppm != NONE:
        yield "model's answer", f"fraud with probability {percent_of_ppm(decision.fraud_probability_ppm)}"
    yield "decided at", f"{utc_text(decision.decided_at_ms)} by {decision.agent_id}"
    yield "rules triggered", ", ".join(decision.rules_triggered) or "(none)"


NUMBERS_ARE: Final = (
    "The numbers are stored so, in whole units: money in the currency's minor unit (pence), how sure the model is in "
    "hundredths of a percent, risk in millionths."
)


def reason_rows(explained: Explanation) -> Iterator[tuple[str, str]]:
    for number, reason in enumerate(explained.decision.reasons, 1):
        yield f"{number}.", reason.text
        compared = f"observed {value_words(reason.observed)}"
        if reason.limit is not None:
            name = "limit" if reason.contribution_micro is None else "typical"
            compared += f", {name} {reason.limit:,}"
        if reason.excess is not None:
            compared += f", difference {reason.excess:+,}"
        if reason.contribution_micro is not None:
            compared += f", {log_odds(reason.contribution_micro)} log-odds"
        yield "", f"{reason.code}: {compared}"


def value_words(value: int) -> str:
    """A feature's value: a number, "none" where there is nothing to have one, "unknown" where it can't be had."""
    return {NONE: "none", UNKNOWN: "unknown"}.get(value, f"{value:,}")


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


def provenance_rows(explained: Explanation) -> Iterator[tuple[str, str]]:
    decision, check = explained.decision, explained.check
    yield "decision id", decision.decision_id
    yield "phrase book", decision.phrase_book_version or "(none named)"
    yield "policy", f"{decision.policy_version}  sha256 {decision.policy_hash.hex()}"
    yield "model", f"{decision.model_version}  sha256 {decision.model_hash.hex()}"
    yield "exchange rates", _feed(decision.exchange_rates_version, decision.exchange_rates_hash)
    yield "sanctions", _feed(decision.sanctions_version, decision.sanctions_hash)
    yield "input sha256", decision.input_hash.hex()
    yield "read from", f"transactions.v1 {decision.source_partition}:{decision.source_offset}"
    yield "written to", f"decisions.v1 {explained.partition}:{explained.offset}"
    match check.result:
        case Result.IDENTICAL:
            yield "decided again", "gives the same bytes"
        case Result.DIFFERS:
            yield "decided again", f"DIFFERS in {', '.join(check.differing)}"
        case Result.UNVERIFIABLE:
            yield "decided again", f"not possible: {check.why}"


def _feed(version: str, sha256: bytes) -> str:
    if version == OF_THE_POLICY.version:
        return "a table of the policy"
    return f"{version}  sha256 {sha256.hex()}"


def log_odds(micro: int) -> str:
    sign = "-" if micro < 0 else "+"
    return f"{sign}{abs(micro) // 1_000_000}.{abs(micro) % 1_000_000:06d}"
