"""Every record but payments and decisions from its Avro bytes, strictly, field by field in its schema's order.

Each function gives the record that begins at a position, and the position after it; they raise what
pipeline.io.avro.reading raises. tests/io/test_records.py holds them to fastavro on whatever both accept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from pipeline.domain.alert import Alert, Severity
from pipeline.domain.anchor import Anchor, Witnessed
from pipeline.domain.context import (
    Account,
    BreakerHour,
    BreakerSwitch,
    Label,
    RiskSignal,
    RiskSignalKind,
    SwitchPosition,
)
from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.decision import Outcome
from pipeline.domain.execution import Execution, ExecutionState
from pipeline.domain.identities import DecisionId, ExecutionId, ReversalId, ReviewId
from pipeline.domain.reversal import RecordKind, Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.domain.trials.shadow_answer import ShadowAnswer, ShadowStanding
from pipeline.io.avro.reading import (
    Malformed,
    close_block,
    open_block,
    read_boolean,
    read_bytes,
    read_fixed,
    read_int,
    read_long,
    read_optional_long,
    read_optional_text,
    read_symbol,
    read_text,
    read_text_map,
)

ElementT = TypeVar("ElementT")
_OUTCOMES: Final = tuple(Outcome)
_RECORD_KINDS: Final = tuple(RecordKind)
_SEVERITIES: Final = tuple(Severity)
_SIGNAL_KINDS: Final = tuple(RiskSignalKind)
_SWITCH_POSITIONS: Final = tuple(SwitchPosition)
_EXECUTION_STATES: Final = tuple(ExecutionState)
_SHADOW_STANDINGS: Final = tuple(ShadowStanding)
_SHA256_BYTES: Final = 32


def read_reversal(body: bytes, at: int) -> tuple[Reversal, int]:
    reversal_id, at = read_text(body, at)
    decision_id, at = read_text(body, at)
    transaction_id, at = read_text(body, at)
    account_id, at = read_text(body, at)
    plan_id, at = read_text(body, at)
    reversed_at_ms, at = read_long(body, at)
    reversed_outcome, at = read_symbol(body, at, _OUTCOMES)
    corrected_outcome, at = _read_optional_outcome(body, at)
    reason, at = read_text(body, at)
    requested_by, at = read_text(body, at)
    approved_by, at = read_text(body, at)
    replaces_kind, at = read_symbol(body, at, _RECORD_KINDS)
    replaces_id, at = read_text(body, at)
    plan_digest, at = read_text(body, at)
    return Reversal(
        ReversalId(reversal_id),
        DecisionId(decision_id),
        transaction_id,
        account_id,
        plan_id,
        reversed_at_ms,
        reversed_outcome,
        corrected_outcome,
        reason,
        requested_by,
        approved_by,
        replaces_kind,
        replaces_id,
        plan_digest,
    ), at


def read_review_outcome(body: bytes, at: int) -> tuple[ReviewOutcome, int]:
    review_id, at = read_text(body, at)
    decision_id, at = read_text(body, at)
    transaction_id, at = read_text(body, at)
    account_id, at = read_text(body, at)
    reviewed_at_ms, at = read_long(body, at)
    outcome, at = read_symbol(body, at, _OUTCOMES)
    reason, at = read_text(body, at)
    reviewed_by, at = read_text(body, at)
    second_reviewer, at = read_optional_text(body, at)
    return ReviewOutcome(
        ReviewId(review_id),
        DecisionId(decision_id),
        transaction_id,
        account_id,
        reviewed_at_ms,
        outcome,
        reason,
        reviewed_by,
        second_reviewer,
    ), at


def read_dead_letter(body: bytes, at: int) -> tuple[DeadLetter, int]:
    code, at = read_text(body, at)
    detail, at = read_text(body, at)
    source_topic, at = read_text(body, at)
    source_partition, at = read_int(body, at)
    source_offset, at = read_long(body, at)
    source_timestamp_ms, at = read_long(body, at)
    payload_sha256, at = read_fixed(body, at, _SHA256_BYTES)
    payload_length, at = read_long(body, at)
    key_id, at = read_text(body, at)
    payload, at = read_bytes(body, at)
    return DeadLetter(
        code,
        detail,
        source_topic,
        source_partition,
        source_offset,
        source_timestamp_ms,
        payload_sha256,
        payload_length,
        key_id,
        payload,
    ), at


def read_account(body: bytes, at: int) -> tuple[Account, int]:
    account_id, at = read_text(body, at)
    updated_at_ms, at = read_long(body, at)
    normal_month_gbp_minor, at = read_optional_long(body, at)
    return Account(account_id, updated_at_ms, normal_month_gbp_minor), at


def read_risk_signal(body: bytes, at: int) -> tuple[RiskSignal, int]:
    kind, at = read_symbol(body, at, _SIGNAL_KINDS)
    entity, at = read_text(body, at)
    fraud_reports, at = read_int(body, at)
    observed_at_ms, at = read_long(body, at)
    return RiskSignal(kind, entity, fraud_reports, observed_at_ms), at


def read_label(body: bytes, at: int) -> tuple[Label, int]:
    transaction_id, at = read_text(body, at)
    account_id, at = read_text(body, at)
    beneficiary_account_id, at = read_text(body, at)
    event_time_ms, at = read_long(body, at)
    fraud, at = read_boolean(body, at)
    labelled_at_ms, at = read_long(body, at)
    labelled_by, at = read_text(body, at)
    return Label(
        transaction_id, account_id, beneficiary_account_id, event_time_ms, fraud, labelled_at_ms, labelled_by
    ), at


def read_alert(body: bytes, at: int) -> tuple[Alert, int]:
    alert_id, at = read_text(body, at)
    raised_at_ms, at = read_long(body, at)
    severity, at = read_symbol(body, at, _SEVERITIES)
    code, at = read_text(body, at)
    summary, at = read_text(body, at)
    scope, at = read_text(body, at)
    evidence, at = read_text_map(body, at)
    is_over, at = read_boolean(body, at)
    return Alert(alert_id, raised_at_ms, severity, code, summary, scope, evidence, is_over), at


def read_execution(body: bytes, at: int) -> tuple[Execution, int]:
    event_id, at = read_text(body, at)
    execution_id, at = read_text(body, at)
    sequence, at = read_long(body, at)
    decision_id, at = read_text(body, at)
    transaction_id, at = read_text(body, at)
    account_id, at = read_text(body, at)
    beneficiary_account_id, at = read_text(body, at)
    amount_minor, at = read_long(body, at)
    currency, at = read_text(body, at)
    state, at = read_symbol(body, at, _EXECUTION_STATES)
    why, at = read_text(body, at)
    event_time_ms, at = read_long(body, at)
    payment_time_ms, at = read_long(body, at)
    amount_gbp_minor, at = read_long(body, at)
    payment_logged_at_ms, at = read_long(body, at)
    returned_minor, at = read_long(body, at)
    return Execution(
        event_id,
        ExecutionId(execution_id),
        sequence,
        DecisionId(decision_id),
        transaction_id,
        account_id,
        beneficiary_account_id,
        amount_minor,
        currency,
        state,
        why,
        event_time_ms,
        payment_time_ms,
        amount_gbp_minor,
        payment_logged_at_ms,
        returned_minor,
    ), at


def read_shadow_answer(body: bytes, at: int) -> tuple[ShadowAnswer, int]:
    decision_id, at = read_text(body, at)
    transaction_id, at = read_text(body, at)
    account_id, at = read_text(body, at)
    decision_partition, at = read_int(body, at)
    decision_offset, at = read_long(body, at)
    decided_at_ms, at = read_long(body, at)
    segments, at = read_text(body, at)
    amount_gbp_minor, at = read_long(body, at)
    challenger_version, at = read_text(body, at)
    challenger_hash, at = read_fixed(body, at, _SHA256_BYTES)
    champion_version, at = read_text(body, at)
    standing, at = read_symbol(body, at, _SHADOW_STANDINGS)
    champion_outcome, at = read_symbol(body, at, _OUTCOMES)
    challenger_outcome, at = _read_optional_outcome(body, at)
    champion_probability_ppm, at = read_int(body, at)
    challenger_probability_ppm, at = read_int(body, at)
    champion_says, at = read_optional_text(body, at)
    challenger_says, at = read_optional_text(body, at)
    return ShadowAnswer(
        DecisionId(decision_id),
        transaction_id,
        account_id,
        decision_partition,
        decision_offset,
        decided_at_ms,
        segments,
        amount_gbp_minor,
        challenger_version,
        challenger_hash,
        champion_version,
        standing,
        champion_outcome,
        challenger_outcome,
        champion_probability_ppm,
        challenger_probability_ppm,
        champion_says,
        challenger_says,
    ), at


def read_breaker_switch(body: bytes, at: int) -> tuple[BreakerSwitch, int]:
    scope, at = read_text(body, at)
    position, at = read_symbol(body, at, _SWITCH_POSITIONS)
    sequence, at = read_long(body, at)
    thrown_at_ms, at = read_long(body, at)
    thrown_by, at = read_text(body, at)
    reason, at = read_text(body, at)
    accepts_shift, at = read_boolean(body, at)
    act, at = read_text(body, at)
    signature, at = read_bytes(body, at)
    evidence, at = read_text(body, at)
    drill, at = read_text(body, at)
    ends_at_ms, at = read_long(body, at)
    consent, at = read_text(body, at)
    plain = scope, position, sequence, thrown_at_ms, thrown_by, reason, accepts_shift
    return BreakerSwitch(*plain, act, signature, evidence, drill, ends_at_ms, consent), at


def read_anchor(body: bytes, at: int) -> tuple[Anchor, int]:
    topic, at = read_text(body, at)
    partition, at = read_int(body, at)
    tree_size, at = read_long(body, at)
    first_offset, at = read_long(body, at)
    last_offset, at = read_long(body, at)
    root, at = read_fixed(body, at, _SHA256_BYTES)
    chain, at = read_fixed(body, at, _SHA256_BYTES)
    previous, at = read_fixed(body, at, _SHA256_BYTES)
    anchored_at_ms, at = read_long(body, at)
    key_id, at = read_text(body, at)
    signature, at = read_bytes(body, at)
    consistency, at = _read_hashes(body, at)
    return Anchor(
        topic,
        partition,
        tree_size,
        first_offset,
        last_offset,
        root,
        chain,
        previous,
        anchored_at_ms,
        key_id,
        signature,
        consistency,
    ), at


def read_breaker_hour(body: bytes, at: int) -> tuple[BreakerHour, int]:
    start_ms, at = read_long(body, at)
    scopes, at = _read_array(body, at, read_text)
    counts, at = _read_array(body, at, read_long)
    excluded, at = _read_array(body, at, read_text)
    doubts, at = _read_array(body, at, read_long)
    return BreakerHour(start_ms, scopes, counts, excluded, doubts), at


def _read_array(body: bytes, at: int, read: Callable[[bytes, int], tuple[ElementT, int]]) -> tuple[list[ElementT], int]:
    found: list[ElementT] = []
    while True:
        count, end, at = open_block(body, at)
        if count == 0:
            return found, at
        for _ in range(count):  # a count that lies ends with the bytes: each takes one at least
            one, at = read(body, at)
            found.append(one)
        close_block(end, at)


def read_witnessed(body: bytes, at: int) -> tuple[Witnessed, int]:
    statement, at = read_text(body, at)
    key_id, at = read_text(body, at)
    signature, at = read_bytes(body, at)
    branch = body[at]
    if branch not in (0, 2):
        raise Malformed("a union has no such branch")
    timestamp, at = (None, at + 1) if branch == 0 else read_bytes(body, at + 1)
    return Witnessed(statement, key_id, signature, timestamp), at


def _read_hashes(body: bytes, at: int) -> tuple[list[bytes], int]:
    hashes: list[bytes] = []
    while True:
        count, end, at = open_block(body, at)
        if count == 0:
            return hashes, at
        for _ in range(count):  # a count that lies ends with the bytes: an entry takes 32
            each, at = read_fixed(body, at, _SHA256_BYTES)
            hashes.append(each)
        close_block(end, at)


def _read_optional_outcome(body: bytes, at: int) -> tuple[Outcome | None, int]:
    branch = body[at]
    if branch == 0:
        return None, at + 1
    if branch != 2:
        raise Malformed("a union has no such branch")
    return read_symbol(body, at + 1, _OUTCOMES)
