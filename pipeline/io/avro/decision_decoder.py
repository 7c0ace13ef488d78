"""Decisions from their Avro bytes, strictly (ADR 0003).

It reads field by field, not from the schema: 29 µs a decision interpreted and 5.8 compiled, where giving a mapping of
fields took 33 and 7.1. tests/io/test_decision_decoder.py holds it to whatever decision.v1 allows.
"""

from __future__ import annotations

from typing import Final

from pipeline.domain import features
from pipeline.domain.decision import BreakerState, Decision, InputSnapshot, Outcome, Reason, Route
from pipeline.domain.identities import DecisionId
from pipeline.io.avro.payment_decoder import decode_payment
from pipeline.io.avro.reading import (
    Malformed,
    close_block,
    open_block,
    read_fixed,
    read_int,
    read_long,
    read_optional_long,
    read_symbol,
    read_text,
)

DECISION: Final = b"\0"
"""Its branch of decision.v1's union."""
_OUTCOMES: Final = tuple(Outcome)
_ROUTES: Final = tuple(Route)
_STATES: Final = tuple(BreakerState)
_FEATURE_COUNT: Final = len(features.FEATURES)
_SHA256_BYTES: Final = 32


def decode_decision(body: bytes, begin: int) -> tuple[Decision, int, int]:
    """The Decision that begins there, after the union's branch; where its snapshot begins, and where it ends.

    Raises Malformed.
    """
    try:
        return _decision(body, begin)
    except IndexError as error:
        raise Malformed("it is truncated") from error
    except UnicodeDecodeError as error:
        raise Malformed("a text is not UTF-8") from error


def _decision(body: bytes, at: int) -> tuple[Decision, int, int]:
    decision_id, at = read_text(body, at)
    transaction_id, at = read_text(body, at)
    account_id, at = read_text(body, at)
    decided_at_ms, at = read_long(body, at)
    agent_id, at = read_text(body, at)
    source_partition, at = read_int(body, at)
    source_offset, at = read_long(body, at)
    source_timestamp_ms, at = read_long(body, at)
    outcome, at = read_symbol(body, at, _OUTCOMES)
    route, at = read_symbol(body, at, _ROUTES)
    breaker_state, at = read_symbol(body, at, _STATES)
    breaker_scope, at = read_text(body, at)
    confidence_bp, at = read_int(body, at)
    fraud_probability_ppm, at = read_int(body, at)
    score_micro, at = read_long(body, at)
    summary, at = read_text(body, at)
    reasons, at = _reasons(body, at)
    rules_triggered, at = _texts(body, at)
    model_version, at = read_text(body, at)
    model_hash, at = read_fixed(body, at, _SHA256_BYTES)
    policy_version, at = read_text(body, at)
    policy_hash, at = read_fixed(body, at, _SHA256_BYTES)
    phrase_book_version, at = read_text(body, at)
    exchange_rates_version, at = read_text(body, at)
    exchange_rates_hash, at = read_fixed(body, at, _SHA256_BYTES)
    sanctions_version, at = read_text(body, at)
    sanctions_hash, at = read_fixed(body, at, _SHA256_BYTES)
    input_hash, at = read_fixed(body, at, _SHA256_BYTES)
    snapshot_begin = at
    transaction, at = decode_payment(body, at)
    observed, at = _features(body, at)
    outcomes_position, at = read_long(body, at)
    decision = Decision(
        DecisionId(decision_id),
        transaction_id,
        account_id,
        decided_at_ms,
        agent_id,
        source_partition,
        source_offset,
        source_timestamp_ms,
        outcome,
        route,
        breaker_state,
        breaker_scope,
        confidence_bp,
        fraud_probability_ppm,
        score_micro,
        summary,
        reasons,
        rules_triggered,
        model_version,
        model_hash,
        policy_version,
        policy_hash,
        phrase_book_version,
        exchange_rates_version,
        exchange_rates_hash,
        sanctions_version,
        sanctions_hash,
        input_hash,
        InputSnapshot(transaction, observed, outcomes_position),
    )
    return decision, snapshot_begin, at


def _reasons(body: bytes, at: int) -> tuple[tuple[Reason, ...], int]:
    reasons: list[Reason] = []
    while True:
        count, end, at = open_block(body, at)
        if count == 0:
            return tuple(reasons), at
        for _ in range(count):  # a count that lies ends with the bytes, as in a payment's segments
            code, at = read_text(body, at)
            text, at = read_text(body, at)
            observed, at = read_long(body, at)
            limit, at = read_optional_long(body, at)
            excess, at = read_optional_long(body, at)
            contribution_micro, at = read_optional_long(body, at)
            reasons.append(Reason(code, text, observed, limit, excess, contribution_micro))
        close_block(end, at)


def _texts(body: bytes, at: int) -> tuple[tuple[str, ...], int]:
    texts: list[str] = []
    while True:
        count, end, at = open_block(body, at)
        if count == 0:
            return tuple(texts), at
        for _ in range(count):
            text, at = read_text(body, at)
            texts.append(text)
        close_block(end, at)


def _features(body: bytes, at: int) -> tuple[tuple[int, ...], int]:
    observed: list[int] = []
    for _ in range(_FEATURE_COUNT):
        byte = body[at]
        if byte < 0x80:  # most are small: interpreted, the call would cost 2 µs for the 41 of them
            observed.append((byte >> 1) ^ -(byte & 1))
            at += 1
        else:
            number, at = read_long(body, at)
            observed.append(number)
    return tuple(observed), at
