"""Avro on the wire: framing, pinned writer schemas, decoding of what comes in, encoding of what goes out.

fastavro encodes and decodes, but for the two records of the hot path (ADR 0003). Payments are decoded strictly by
pipeline.adapters.payment_codec. Decisions are encoded here, byte for byte as fastavro does (tests/adapters/test_avro.py
compares them): Avro records are the concatenation of their fields, so what doesn't change is encoded once, and the
payment's own bytes are spliced in as received.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from typing import Any, Final, NamedTuple

import numpy as np
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

from pipeline.adapters.payment_codec import Malformed, decode_payment
from pipeline.core.decide import Regime, Verdict, decision_id
from pipeline.core.features import FEATURES, Matrix
from pipeline.core.records import BreakerState, Outcome, Reason, Route, Source, Transaction
from pipeline.core.refusals import RECORD_BYTES_MAX, Refusal, RefusalCode

SCHEMAS: Final = (
    "transaction.v1",
    "decision.v1",
    "dead_letter.v1",
    "account.v1",
    "risk_signal.v1",
    "label.v1",
    "alert.v1",
    "execution.v1",
    "anchor.v1",
)
_SINGLE_OBJECT: Final = b"\xc3\x01"
_CONFLUENT: Final = b"\x00"
_NO_HASH: Final = bytes(32)

Datum = Mapping[str, Any]
"""A decoded Avro record; past this module only its typed form travels."""


class Framing(StrEnum):
    SINGLE_OBJECT = "single-object"
    CONFLUENT = "confluent"


class Decoded(NamedTuple):
    transaction: Transaction
    body: bytes  # the Avro encoding without framing


class WireFormat:
    """Encodes and decodes with one framing for what is written; both framings are read.

    `confluent_ids` pins schema registry ids by schema name, as `fraud schemas register` prints them; without it
    records in Confluent framing are refused as SCHEMA_UNKNOWN.
    """

    def __init__(
        self, written: Framing = Framing.SINGLE_OBJECT, confluent_ids: Mapping[str, int] | None = None
    ) -> None:
        ids = dict(confluent_ids or {})
        unknown = set(ids) - set(SCHEMAS)
        if unknown or (written is Framing.CONFLUENT and set(ids) != set(SCHEMAS)):
            raise ValueError(f"confluent ids must name each of {', '.join(SCHEMAS)}")
        self._headers = {name: _header(name, written, ids) for name in SCHEMAS}
        self._names_by_header = {_header(name, Framing.SINGLE_OBJECT, ids): name for name in SCHEMAS}
        self._names_by_header |= {_header(name, Framing.CONFLUENT, ids): name for name in ids}

    def decode_transaction(self, value: bytes | None) -> Decoded | Refusal:
        """The payment in a record's value, or why there is none."""
        body = self._body("transaction.v1", value)
        if isinstance(body, Refusal):
            return body
        try:
            transaction, end = decode_payment(body)
        except Malformed as error:
            return Refusal(RefusalCode.DECODE_FAILED, f"the bytes are no Transaction: {error}")
        if end != len(body):
            return Refusal(RefusalCode.TRAILING_BYTES, "bytes follow the Transaction")
        return Decoded(transaction, body)

    def decode(self, name: str, value: bytes | None) -> Datum | Refusal:
        """Any other record of the schema `name`."""
        body = self._body(name, value)
        if isinstance(body, Refusal):
            return body
        stream = io.BytesIO(body)
        try:
            fields = schemaless_reader(stream, _parsed(name), None, return_record_name=name == "decision.v1")
        except _DECODE_ERRORS as error:
            return Refusal(RefusalCode.DECODE_FAILED, f"the bytes are no {name} ({type(error).__name__})")
        if stream.tell() != len(body):
            return Refusal(RefusalCode.TRAILING_BYTES, f"bytes follow the {name}")
        if isinstance(fields, dict):
            return fields
        assert isinstance(fields, tuple), "a union of records is read as (name, record)"
        record_name, record = fields
        assert isinstance(record, dict)
        return {"record": str(record_name).rpartition(".")[2], **record}

    def encode(self, name: str, datum: Datum) -> bytes:
        stream = io.BytesIO()
        stream.write(self._headers[name])
        schemaless_writer(stream, _parsed(name), dict(datum))
        return stream.getvalue()

    def encode_transaction(self, transaction: Transaction) -> bytes:
        return self.encode("transaction.v1", transaction._asdict())

    def decision_encoder(self, in_force: Regime, agent_id: str) -> DecisionEncoder:
        return DecisionEncoder(self._headers["decision.v1"], in_force, agent_id)

    def _body(self, name: str, value: bytes | None) -> bytes | Refusal:
        if not value:
            return Refusal(RefusalCode.RECORD_EMPTY, "the record has no value")
        if len(value) > RECORD_BYTES_MAX and name == "transaction.v1":
            return Refusal(RefusalCode.RECORD_TOO_LARGE, f"the record is over {RECORD_BYTES_MAX} bytes")
        if value[:2] == _SINGLE_OBJECT:
            length = 10
        elif value[:1] == _CONFLUENT:
            length = 5
        else:
            return Refusal(RefusalCode.FRAMING_UNKNOWN, "neither single-object encoding nor Confluent framing")
        if self._names_by_header.get(value[:length]) != name:
            return Refusal(RefusalCode.SCHEMA_UNKNOWN, "the writer schema is not one that is accepted here")
        return value[length:]


# What fastavro 1.13 raises on bytes that don't fit the schema; tests/adapters/test_avro.py fuzzes for others.
_DECODE_ERRORS: Final = (
    EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError, StopIteration, MemoryError, AssertionError,
)  # fmt: skip


class DecisionEncoder:
    """Encodes verdicts reached under one regime; what all its decisions share is encoded once."""

    def __init__(self, header: bytes, in_force: Regime, agent_id: str) -> None:
        model, policy = in_force.model, in_force.policy
        self._start = header + _long(0)  # the union's branch: Decision
        self._agent = _text(agent_id)
        self._versions = b"".join(
            (
                _text("none" if model is None else model.version),
                _NO_HASH if model is None else model.hash,
                _text(policy.version),
                policy.sha256,
            )
        )

    def encode(self, decoded: Decoded, source: Source, features: bytes, verdict: Verdict, decided_at_ms: int) -> bytes:
        """`features` as `encode_features` gives them."""
        snapshot = decoded.body + features
        return b"".join(
            (
                self._start,
                _text(decision_id(decoded.transaction.transaction_id)),
                _text(decoded.transaction.transaction_id),
                _text(decoded.transaction.account_id),
                _long(decided_at_ms),
                self._agent,
                _LONGS[source.partition],
                _long(source.offset),
                _long(source.timestamp_ms),
                _verdict_head(verdict),
                _LONGS[verdict.confidence_bp],
                _LONGS[verdict.fraud_probability_ppm],
                _long(verdict.score_micro),
                _text(verdict.summary),
                _reasons(verdict.reasons),
                _texts(verdict.rules_triggered),
                self._versions,
                hashlib.sha256(snapshot).digest(),
                snapshot,
            )
        )


def encode_features(features: Matrix) -> list[bytes]:
    """The Avro encoding of each row as a Features record: its longs one after the other.

    All rows at once, byte by byte of the numbers: 1.5 µs a row of 41 at 1,000 rows, where one number at a time takes 8
    and fastavro 11.
    """
    zigzag = ((features << 1) ^ (features >> 63)).astype(np.uint64).ravel()
    lengths = np.ones(zigzag.shape, dtype=np.int64)
    for bits in range(7, 64, 7):
        longer = zigzag >> np.uint64(bits) != 0
        if not longer.any():
            break
        lengths += longer
    ends = lengths.cumsum()
    encoded = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    place, rest, left = ends - lengths, zigzag, lengths
    while len(rest):
        is_more = left > 1
        encoded[place] = (rest & np.uint64(0x7F)) | (is_more.astype(np.uint64) << np.uint64(7))
        place, rest, left = place[is_more] + 1, rest[is_more] >> np.uint64(7), left[is_more] - 1
    whole = encoded.tobytes()
    row_ends = ends[features.shape[1] - 1 :: features.shape[1]].tolist()
    return [whole[start:end] for start, end in zip([0, *row_ends], row_ends, strict=False)]


@dataclass(frozen=True, slots=True)
class StoredDecision:
    """A decision as read back: its fields, and the exact bytes that it hashes."""

    fields: Datum
    transaction: Transaction
    features: tuple[int, ...]
    body: bytes  # without framing
    snapshot: bytes


def stored_decision(fields: Datum, value: bytes) -> StoredDecision:
    """From `WireFormat.decode("decision.v1", value)`; raises ValueError where it is no Decision."""
    if fields.get("record") != "Decision":
        raise ValueError(f"the record is a {fields.get('record')}, not a Decision")
    body = value[10:] if value[:2] == _SINGLE_OBJECT else value[5:]
    head = io.BytesIO(body[1:])
    schemaless_reader(head, _decision_head(), None)
    snapshot = fields["snapshot"]
    features = tuple(snapshot["features"][name] for name in FEATURES)
    transaction = Transaction(**snapshot["transaction"])
    return StoredDecision(fields, transaction, features, body, body[1 + head.tell() :])


def schema_text(name: str) -> str:
    return resources.files("schemas").joinpath(f"{name}.avsc").read_text(encoding="utf-8")


@lru_cache
def _parsed(name: str) -> Any:
    return parse_schema(json.loads(schema_text(name)))


@lru_cache
def _decision_head() -> Any:
    decision = json.loads(schema_text("decision.v1"))[0]
    return parse_schema({**decision, "fields": [f for f in decision["fields"] if f["name"] != "snapshot"]})


def _header(name: str, framing: Framing, confluent_ids: Mapping[str, int]) -> bytes:
    if framing is Framing.CONFLUENT:
        return _CONFLUENT + struct.pack(">I", confluent_ids[name])
    canonical = to_parsing_canonical_form(json.loads(schema_text(name)))
    return _SINGLE_OBJECT + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))


def _varint(number: int) -> bytes:
    """Avro's zigzag variable-length long."""
    rest = (number << 1) ^ (number >> 63)
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    encoded.append(rest)
    return bytes(encoded)


class _Longs(dict[int, bytes]):
    """Remembers what it encoded: 0.05 µs where the computation takes 0.6."""

    REMEMBERED_MAX: Final = 1 << 18  # about 25 MB when full

    def __missing__(self, number: int) -> bytes:
        encoded = _varint(number)
        if len(self) < self.REMEMBERED_MAX:
            self[number] = encoded
        return encoded


_LONGS: Final = _Longs()
_long: Final = _varint


def _text(text: str) -> bytes:
    encoded = text.encode()
    return _LONGS[len(encoded)] + encoded


_OUTCOMES: Final = {outcome: _varint(index) for index, outcome in enumerate(Outcome)}
_ROUTES: Final = {route: _varint(index) for index, route in enumerate(Route)}
_STATES: Final = {state: _varint(index) for index, state in enumerate(BreakerState)}


def _verdict_head(verdict: Verdict) -> bytes:
    mode = verdict.mode
    return _OUTCOMES[verdict.outcome] + _ROUTES[verdict.route] + _STATES[mode.state] + _text(mode.scope)


def _reasons(reasons: list[Reason]) -> bytes:
    """An Avro array: one block of all reasons, then an empty one."""
    longs = _LONGS
    encoded = [longs[len(reasons)]]
    for code, text, observed, limit, excess, contribution_micro in reasons:
        words = text.encode()
        encoded += (
            _code(code),
            longs[len(words)],
            words,
            longs[observed],
            b"\0" if limit is None else b"\x02" + longs[limit],
            b"\0" if excess is None else b"\x02" + longs[excess],
            b"\0" if contribution_micro is None else b"\x02" + longs[contribution_micro],
        )
    encoded.append(b"\0")
    return b"".join(encoded)


@lru_cache(maxsize=4096)
def _code(code: str) -> bytes:
    return _text(code)


def _texts(texts: list[str]) -> bytes:
    if not texts:
        return b"\0"
    return _LONGS[len(texts)] + b"".join([_text(text) for text in texts]) + b"\0"
