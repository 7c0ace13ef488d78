"""Avro on the wire: framing, pinned writer schemas, decoding of what comes in, encoding of what goes out.

fastavro encodes and decodes, but for the two records of the hot path (ADR 0003): payments are decoded by
pipeline.io.avro.payment_decoder and decisions by decision_decoder, both strictly; decision_codec encodes decisions, a
batch at a time.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from typing import Any, Final, NamedTuple

from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import fingerprint, to_parsing_canonical_form

from pipeline.domain.features import FEATURES
from pipeline.domain.payment import Decoded, Transaction
from pipeline.domain.refusals import RECORD_BYTES_MAX, Refusal, RefusalCode
from pipeline.io.avro.decision_decoder import DECISION, decode_decision, snapshot_begin
from pipeline.io.avro.payment_decoder import decode_payment
from pipeline.io.avro.reading import Malformed

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

Datum = Mapping[str, Any]
"""A decoded Avro record; past this module only its typed form travels."""


class Framing(StrEnum):
    SINGLE_OBJECT = "single-object"
    CONFLUENT = "confluent"


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
        if name == "decision.v1" and body[:1] == DECISION:
            return _decision(body)
        branch = _branch(name, body)
        if isinstance(branch, Refusal):
            return branch
        stream = io.BytesIO(body)
        stream.seek(branch.begin)
        try:
            fields = schemaless_reader(stream, branch.schema, None)
        except _DECODE_ERRORS as error:
            return Refusal(RefusalCode.DECODE_FAILED, f"the bytes are no {name} ({type(error).__name__})")
        if stream.tell() != len(body):
            return Refusal(RefusalCode.TRAILING_BYTES, f"bytes follow the {name}")
        assert isinstance(fields, dict)
        if branch.record is not None:
            fields["record"] = branch.record
        return fields

    def encode(self, name: str, datum: Datum) -> bytes:
        stream = io.BytesIO()
        stream.write(self._headers[name])
        schemaless_writer(stream, _parsed(name), dict(datum))
        return stream.getvalue()

    def encode_transaction(self, transaction: Transaction) -> bytes:
        return self.encode("transaction.v1", transaction._asdict())

    def header(self, name: str) -> bytes:
        """The framing that every value of the schema `name` begins with."""
        return self._headers[name]

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


# What fastavro 1.13 raises on bytes that don't fit the schema; tests/io/test_avro.py fuzzes for others.
_DECODE_ERRORS: Final = (
    EOFError, ValueError, IndexError, KeyError, TypeError, OverflowError, StopIteration, MemoryError, AssertionError,
)  # fmt: skip


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
    snapshot = fields["snapshot"]
    features = tuple(snapshot["features"][name] for name in FEATURES)
    transaction = Transaction(**snapshot["transaction"])
    return StoredDecision(fields, transaction, features, body, body[snapshot_begin(body, len(DECISION)) :])


def _decision(body: bytes) -> Datum | Refusal:
    try:
        fields, end = decode_decision(body, len(DECISION))
    except Malformed as error:
        return Refusal(RefusalCode.DECODE_FAILED, f"the bytes are no Decision: {error}")
    if end != len(body):
        return Refusal(RefusalCode.TRAILING_BYTES, "bytes follow the Decision")
    fields["record"] = "Decision"
    return fields


def schema_text(name: str) -> str:
    return resources.files("schemas").joinpath(f"{name}.avsc").read_text(encoding="utf-8")


@lru_cache
def _parsed(name: str) -> Any:
    return parse_schema(json.loads(schema_text(name)))


class _Branch(NamedTuple):
    """What a record is read with, and from where in its body. record: of which of a union's records, else None."""

    record: str | None
    schema: Any
    begin: int


def _branch(name: str, body: bytes) -> _Branch | Refusal:
    """A union's record is read by its own schema: a fifth faster than fastavro reads unions."""
    branches = _branches(name)
    if len(branches) == 1:
        return branches[0]
    number = body[0] >> 1 if body else len(branches)
    if number >= len(branches) or body[0] & 1:
        return Refusal(RefusalCode.DECODE_FAILED, f"the bytes are no {name} (no such record)")
    return branches[number]


@lru_cache
def _branches(name: str) -> tuple[_Branch, ...]:
    schema = json.loads(schema_text(name))
    if not isinstance(schema, list):
        return (_Branch(None, _parsed(name), 0),)
    named: dict[str, Any] = {}
    return tuple(_Branch(each["name"], parse_schema(each, named), 1) for each in schema)


def _header(name: str, framing: Framing, confluent_ids: Mapping[str, int]) -> bytes:
    if framing is Framing.CONFLUENT:
        return _CONFLUENT + struct.pack(">I", confluent_ids[name])
    canonical = to_parsing_canonical_form(json.loads(schema_text(name)))
    return _SINGLE_OBJECT + bytes.fromhex(fingerprint(canonical, "CRC-64-AVRO"))
