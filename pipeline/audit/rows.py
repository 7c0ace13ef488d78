"""Rows of the audit tables in PostgreSQL's binary COPY format: the fields of a decoded record, and what proves them.

Written by hand: a decision takes less this way than in being decoded. The order of the fields is that
of the COPY statements in sql/audit.sql. A column that follows from `record` follows from it here, by nothing else than
what docs/audit.md says, so that the offline verifier can compare.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from pipeline.audit.chain import Entry
from pipeline.domain.identities import execution_id
from pipeline.io.avro.wire import Datum
from pipeline.io.kafka.positioned_log import LogRecord

COPY_START: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END: Final = b"\xff\xff"
_NULL: Final = b"\xff\xff\xff\xff"
_EPOCH_2000_US: Final = 946_684_800_000_000
_length: Final = struct.Struct(">i").pack
_integer: Final = struct.Struct(">ii").pack
_bigint: Final = struct.Struct(">iq").pack
_CONFIDENCE_ONE: Final = 10_000  # ten-thousandths; also the base that numeric counts in


class Proof(NamedTuple):
    """What the audit log adds to a record."""

    entry: Entry
    chain: bytes


def decision_row(record: LogRecord, fields: Datum, proof: Proof) -> bytes:
    return b"".join(
        (
            b"\0\x1c",  # 28 fields
            _uuid(fields["decision_id"]),
            _text(fields["transaction_id"]),
            _text(fields["account_id"]),
            _regime(
                fields["agent_id"],
                fields["model_version"],
                fields["model_hash"],
                fields["policy_version"],
                fields["policy_hash"],
            ),
            _text(fields["input_hash"].hex()),
            _jsonb(fields["snapshot"]),
            _word(fields["outcome"]),
            _confidence(fields["confidence_bp"]),
            _text(fields["summary"]),
            _jsonb(fields["reasons"]),
            _jsonb(fields["rules_triggered"]),
            _word(fields["route"]),
            _word(fields["breaker_state"]),
            _word(fields["breaker_scope"]),
            _uuid(execution_id(fields["decision_id"])),
            _time_ms(fields["decided_at_ms"]),
            _integer(4, fields["source_partition"]),
            _bigint(8, fields["source_offset"]),
            _proof(record, proof),
        )
    )


def reversal_row(record: LogRecord, fields: Datum, proof: Proof) -> bytes:
    return b"".join(
        (
            b"\0\x11",  # 17 fields
            _uuid(fields["reversal_id"]),
            _uuid(fields["decision_id"]),
            _text(fields["transaction_id"]),
            _text(fields["account_id"]),
            _text(fields["plan_id"]),
            _text(fields["reversed_outcome"]),
            _text_or_null(fields["corrected_outcome"]),
            _text(fields["reason"]),
            _text(fields["requested_by"]),
            _text(fields["approved_by"]),
            _time_ms(fields["reversed_at_ms"]),
            _proof(record, proof),
        )
    )


def review_row(record: LogRecord, fields: Datum, proof: Proof) -> bytes:
    return b"".join(
        (
            b"\0\x0f",  # 15 fields
            _uuid(fields["review_id"]),
            _uuid(fields["decision_id"]),
            _text(fields["transaction_id"]),
            _text(fields["account_id"]),
            _text(fields["outcome"]),
            _text(fields["reason"]),
            _text(fields["reviewed_by"]),
            _text_or_null(fields["second_reviewer"]),
            _time_ms(fields["reviewed_at_ms"]),
            _proof(record, proof),
        )
    )


def letter_row(record: LogRecord) -> bytes:
    """A dead letter without its payload."""
    fields = record.fields
    return b"".join(
        (
            b"\0\x0b",  # 11 fields
            _text(fields["source_topic"]),
            _integer(4, fields["source_partition"]),
            _bigint(8, fields["source_offset"]),
            _time_ms(fields["source_timestamp_ms"]),
            _text(fields["code"]),
            _text(fields["detail"]),
            _bytes(fields["payload_sha256"]),
            _bigint(8, fields["payload_length"]),
            _integer(4, record.partition),
            _bigint(8, record.offset),
            _time_ms(record.timestamp_ms),
        )
    )


class Kind(NamedTuple):
    """A kind of record of decisions.v1: the table and COPY statement of its rows, and the field with the time that
    they are filed under."""

    name: str
    table: str
    statement: str
    time_field: str
    row: Callable[[LogRecord, Datum, Proof], bytes]


# By the union's branch, as Avro writes its number.
_KINDS: Final[Mapping[int, Kind]] = {
    0: Kind("Decision", "audit.ai_decision_log", "copy_decisions", "decided_at_ms", decision_row),
    2: Kind("Reversal", "audit.reversal_log", "copy_reversals", "reversed_at_ms", reversal_row),
    4: Kind("ReviewOutcome", "audit.review_log", "copy_reviews", "reviewed_at_ms", review_row),
}
_BRANCH_AT: Final = {True: 10, False: 5}  # after single-object encoding's header, or Confluent framing


def kind_of(value: bytes) -> Kind:
    """Without decoding the rest. Raises ValueError where it is none."""
    at = _BRANCH_AT[value[:2] == b"\xc3\x01"]
    kind = _KINDS.get(value[at]) if len(value) > at else None
    if kind is None:
        raise ValueError("the value is no record of decisions.v1")
    return kind


def _proof(record: LogRecord, proof: Proof) -> bytes:
    entry = proof.entry
    return b"".join(
        (
            _integer(4, record.partition),
            _bigint(8, record.offset),
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
    """As uuid5 writes it; ValueError where it is none. uuid.UUID takes 2 µs more."""
    raw = bytes.fromhex(text.replace("-", ""))
    if len(raw) != 16 or len(text) != 36:
        raise ValueError("the id is no UUID")
    return b"\0\0\0\x10" + raw


def _jsonb(value: Any) -> bytes:
    encoded = orjson.dumps(value)
    return _length(len(encoded) + 1) + b"\1" + encoded  # the format's version, then the text


def _time_ms(at_ms: int) -> bytes:
    return _bigint(8, at_ms * 1000 - _EPOCH_2000_US)


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
