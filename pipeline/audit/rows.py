"""Rows of the audit tables in PostgreSQL's binary COPY format: the fields of a record, and what proves them.

Written by hand: compiled, a decision's row takes 7 µs, little more than decoding it. The order of the fields is that
of the COPY statements in audit.sql. A column that follows from `record` follows from it here, by nothing else than
what docs/audit.md says, so that the offline verifier can compare.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, NamedTuple

import orjson

from pipeline.audit.chain import Entry, Times
from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.decision import AsWritten, BreakerState, Decision, InputSnapshot, Outcome, Reason, Route
from pipeline.domain.features import FEATURES
from pipeline.domain.identities import execution_id
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord
from pipeline.domain.payment import Transaction
from pipeline.domain.reversal import Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.domain.times import claim_ms

COPY_START: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
_EPOCH_2000_US: Final = 946_684_800_000_000
_length: Final = struct.Struct(">i").pack
_integer: Final = struct.Struct(">ii").pack
_bigint: Final = struct.Struct(">iq").pack
_CONFIDENCE_ONE: Final = 10_000  # ten-thousandths; also the base that numeric counts in


class Proof(NamedTuple):
    """The columns that the audit log adds to a record."""

    entry: Entry
    times: Times
    chain: bytes


def row_of(record: LogRecord[None], content: DecisionRecord, proof: Proof, written: AsWritten | None = None) -> bytes:
    """The row of a record of decisions.v1 whose value holds `content`.

    `written`: of a decision of an earlier release what its JSON columns hold, so that a row follows from the record
    alone, whichever release of the service stores it.
    """
    if isinstance(content, Decision):
        return _decision_row(record, content, proof, written)
    if isinstance(content, Reversal):
        return _reversal_row(record, content, proof)
    return _review_row(record, content, proof)


def _decision_row(record: LogRecord[None], decision: Decision, proof: Proof, written: AsWritten | None) -> bytes:
    snapshot, reasons = _told(decision) if written is None else (written.snapshot, written.reasons)
    return b"".join(
        (
            b"\0\x1e",  # 30 fields
            _uuid(decision.decision_id),
            _text(decision.transaction_id),
            _text(decision.account_id),
            _regime(
                decision.agent_id,
                decision.model_version,
                decision.model_hash,
                decision.policy_version,
                decision.policy_hash,
            ),
            _text(decision.input_hash.hex()),
            _jsonb(snapshot),
            _OUTCOMES[decision.outcome],
            _confidence(decision.confidence_bp),
            _text(decision.summary),
            _jsonb(reasons),
            _jsonb(orjson.dumps(decision.rules_triggered)),
            _ROUTES[decision.route],
            _STATES[decision.breaker_state],
            _word(decision.breaker_scope),
            _uuid(execution_id(decision.snapshot.transaction)),
            _time_ms(decision.decided_at_ms),
            _integer(4, decision.source_partition),
            _bigint(8, decision.source_offset),
            _proof(record, proof),
        )
    )


def _reversal_row(record: LogRecord[None], reversal: Reversal, proof: Proof) -> bytes:
    return b"".join(
        (
            b"\0\x16",  # 22 fields
            _uuid(reversal.reversal_id),
            _uuid(reversal.decision_id),
            _text(reversal.transaction_id),
            _text(reversal.account_id),
            _text(reversal.plan_id),
            _text(reversal.reversed_outcome),
            _text_or_null(reversal.corrected_outcome),
            _text(reversal.reason),
            _text(reversal.requested_by),
            _text(reversal.approved_by),
            _text(reversal.replaces_kind),
            _text(reversal.replaces_id),
            _text(reversal.plan_digest),
            _time_ms(reversal.reversed_at_ms),
            _proof(record, proof),
        )
    )


def _review_row(record: LogRecord[None], review: ReviewOutcome, proof: Proof) -> bytes:
    return b"".join(
        (
            b"\0\x11",  # 17 fields
            _uuid(review.review_id),
            _uuid(review.decision_id),
            _text(review.transaction_id),
            _text(review.account_id),
            _text(review.outcome),
            _text(review.reason),
            _text(review.reviewed_by),
            _text_or_null(review.second_reviewer),
            _time_ms(review.reviewed_at_ms),
            _proof(record, proof),
        )
    )


def letter_row(record: LogRecord[DeadLetter], filed_at_ms: int) -> bytes:
    """A dead letter without its payload."""
    letter = record.content
    return b"".join(
        (
            b"\0\x0c",  # 12 fields
            _text(letter.source_topic),
            _integer(4, letter.source_partition),
            _bigint(8, letter.source_offset),
            _time_ms(letter.source_timestamp_ms),
            _text(letter.code),
            _text(letter.detail),
            _bytes(letter.payload_sha256),
            _bigint(8, letter.payload_length),
            _integer(4, record.partition),
            _bigint(8, record.offset),
            _time_ms(record.timestamp_ms),
            _time_ms(filed_at_ms),
        )
    )


class Kind(NamedTuple):
    """A kind of record of decisions.v1, and the table and COPY statement of its rows."""

    name: str
    table: str
    statement: str


# By the union's branch, as Avro writes its number.
_KINDS: Final[Mapping[int, Kind]] = {
    0: Kind("Decision", "audit.ai_decision_log", "copy_decisions"),
    2: Kind("Reversal", "audit.reversal_log", "copy_reversals"),
    4: Kind("ReviewOutcome", "audit.review_log", "copy_reviews"),
}
TABLES: Final = tuple(kind.table for kind in _KINDS.values())
_BRANCH_AT: Final = {0xC3: 10, 0x00: 5, 0x01: 17}  # by the first byte: single-object encoding, Confluent id and GUID


def kind_of(value: bytes) -> Kind:
    """Without decoding the rest. Raises ValueError where it is none."""
    at = _BRANCH_AT.get(value[0], 0) if value else 0
    kind = _KINDS.get(value[at]) if 0 < at < len(value) else None
    if kind is None:
        raise ValueError("the value is no record of decisions.v1")
    return kind


def _proof(record: LogRecord[None], proof: Proof) -> bytes:
    entry = proof.entry
    return b"".join(
        (
            _integer(4, record.partition),
            _bigint(8, record.offset),
            _time_ms(proof.times.logged_at_ms),
            _time_ms(proof.times.filed_at_ms),
            _bytes(record.value),
            _bytes(entry.leaf),
            _bytes(proof.chain),
            _bigint(8, entry.recorded_at_us - _EPOCH_2000_US),
        )
    )


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _length(len(encoded)) + encoded


@lru_cache(maxsize=4096)
def _word(text: str) -> bytes:
    """A text of which there are few."""
    return _text(text)


_OUTCOMES: Final = {outcome: _text(outcome) for outcome in Outcome}
_ROUTES: Final = {route: _text(route) for route in Route}
_STATES: Final = {state: _text(state) for state in BreakerState}


@lru_cache(maxsize=4096)
def _regime(agent_id: str, model_version: str, model_hash: bytes, policy_version: str, policy_hash: bytes) -> bytes:
    """Five columns that are the same for all decisions of a day, or of a release."""
    return b"".join(
        (_text(agent_id), _text(model_version), _bytes(model_hash), _text(policy_version), _bytes(policy_hash))
    )


def _text_or_null(text: str | None) -> bytes:
    return _NULL if text is None else _text(text)


def _bytes(content: bytes) -> bytes:
    return _length(len(content)) + content


def _uuid(text: str) -> bytes:
    """The bytes of an id as uuid5 writes it; ValueError where it is none. uuid.UUID takes 2 µs more."""
    raw = bytes.fromhex(text.replace("-", ""))
    if len(raw) != 16 or len(text) != 36:
        raise ValueError("the id is no UUID")
    return b"\0\0\0\x10" + raw


def _jsonb(encoded: bytes) -> bytes:
    return _length(len(encoded) + 1) + b"\1" + encoded  # the format's version, then the text


def _told(decision: Decision) -> tuple[bytes, bytes]:
    """A decision's snapshot and reasons as JSON."""
    reasons = [_named(_BLANK_REASON, _REASON_NAMES, reason) for reason in decision.reasons]
    return orjson.dumps(_snapshot(decision.snapshot)), orjson.dumps(reasons)


def _snapshot(snapshot: InputSnapshot) -> dict[str, object]:
    return {
        "transaction": _named(_BLANK_TRANSACTION, _TRANSACTION_NAMES, snapshot.transaction),
        "features": _named(_BLANK_FEATURES, _FEATURE_NAMES, snapshot.features),
        "outcomes_position": snapshot.outcomes_position,
    }


_TRANSACTION_NAMES: Final[tuple[str, ...]] = Transaction._fields
_REASON_NAMES: Final[tuple[str, ...]] = Reason._fields
_FEATURE_NAMES: Final[tuple[str, ...]] = FEATURES
_BLANK_TRANSACTION: Final[dict[str, object]] = dict.fromkeys(_TRANSACTION_NAMES)
_BLANK_REASON: Final[dict[str, object]] = dict.fromkeys(_REASON_NAMES)
_BLANK_FEATURES: Final[dict[str, object]] = dict.fromkeys(_FEATURE_NAMES)


def _named(blank: dict[str, object], names: tuple[str, ...], values: tuple[object, ...]) -> dict[str, object]:
    """The values by their names. `blank` has those already: its copy never grows, which for 41 features takes 3 µs."""
    named = blank.copy()
    for place in range(len(names)):
        named[names[place]] = values[place]
    return named


def _time_ms(at_ms: int) -> bytes:
    return _bigint(8, claim_ms(at_ms) * 1000 - _EPOCH_2000_US)


@lru_cache(maxsize=_CONFIDENCE_ONE + 1)
def _confidence(confidence_bp: int) -> bytes:
    """numeric(5,4): digits to the base 10,000, the weight of the first of them, sign, decimals shown."""
    if confidence_bp == 0:
        return _length(8) + struct.pack(">hhhh", 0, 0, 0, 4)
    if confidence_bp % _CONFIDENCE_ONE == 0:
        return _length(10) + struct.pack(">hhhhh", 1, 0, 0, 4, confidence_bp // _CONFIDENCE_ONE)
    whole, rest = divmod(confidence_bp, _CONFIDENCE_ONE)
    if whole == 0:
        return _length(10) + struct.pack(">hhhhh", 1, -1, 0, 4, rest)
    return _length(12) + struct.pack(">hhhhhh", 2, 0, 0, 4, whole, rest)
