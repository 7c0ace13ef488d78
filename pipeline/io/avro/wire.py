"""Avro on the wire: framing, pinned writer schemas, typed records from what comes in and bytes of what goes out.

Every record is decoded strictly, by the functions of this package, into its own type: bytes that aren't of the schema,
an enum's symbol that it doesn't have among them, are refused. fastavro encodes, but for decisions, which
pipeline.decide.decision_encoder encodes a batch at a time (ADR 0003).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from io import BytesIO
from typing import Any, Final, TypeVar

import orjson
from fastavro import parse_schema, schemaless_reader, schemaless_writer

from pipeline.domain.alert import Alert
from pipeline.domain.anchor import Anchor, Witnessed
from pipeline.domain.context import Account, BreakerHour, BreakerSwitch, Label, RiskSignal
from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.decision import AsWritten, Decision, StoredDecision
from pipeline.domain.execution import Execution
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import UNREADABLE
from pipeline.domain.payment import Decoded, Transaction
from pipeline.domain.refusals import RECORD_BYTES_MAX, Refusal, RefusalCode
from pipeline.domain.reversal import Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.domain.trials.shadow_answer import ShadowAnswer
from pipeline.io.avro.decision_decoder import DECISION, decode_decision
from pipeline.io.avro.payment_decoder import decode_with_digest
from pipeline.io.avro.reading import Malformed
from pipeline.io.avro.record_decoders import (
    read_account,
    read_alert,
    read_anchor,
    read_breaker_hour,
    read_breaker_switch,
    read_dead_letter,
    read_execution,
    read_label,
    read_reversal,
    read_review_outcome,
    read_risk_signal,
    read_shadow_answer,
    read_witnessed,
)
from pipeline.io.avro.schema_files import schema_text
from pipeline.io.avro.verdict_heads import VerdictHead, verdict_head
from pipeline.io.avro.writers import (
    CONFLUENT_GUID,
    CONFLUENT_ID,
    CURRENT,
    SINGLE_OBJECT,
    ConfluentIds,
    Framing,
    Release,
    Writers,
    header_of,
    schema_of,
    split,
    up_from,
)

__all__ = ["ConfluentIds", "Encoded", "Framing", "Release", "WireFormat"]

_REVERSAL: Final = b"\x02"
_REVIEW_OUTCOME: Final = b"\x04"
"""Branches of decision.v1's union, beside DECISION."""

_DECISION_RELEASE: Final = CURRENT["decision.v1"].number
_CURRENT_DECISION: Final = header_of(CURRENT["decision.v1"])

RecordT = TypeVar("RecordT")
Encoded = (
    Reversal
    | ReviewOutcome
    | DeadLetter
    | Alert
    | Execution
    | Anchor
    | Account
    | RiskSignal
    | Label
    | BreakerSwitch
    | BreakerHour
    | Witnessed
    | ShadowAnswer
)
"""The records that `WireFormat.encode` takes."""
_BOUNDED: Final = frozenset({"transaction.v1", "account.v1", "risk_signal.v1", "label.v1"})
"""Schemas of what comes from outside; the rest is of our own making."""
_SCHEMA_OF: Final[Mapping[type[Encoded], str]] = {
    Reversal: "decision.v1",
    ReviewOutcome: "decision.v1",
    DeadLetter: "dead_letter.v1",
    Alert: "alert.v1",
    Execution: "execution.v1",
    Anchor: "anchor.v1",
    Account: "account.v1",
    RiskSignal: "risk_signal.v1",
    Label: "label.v1",
    BreakerSwitch: "breaker_switch.v1",
    BreakerHour: "breaker_hour.v1",
    Witnessed: "witness.v1",
    ShadowAnswer: "shadow.v1",
}


class WireFormat:
    """Encodes and decodes with one framing for what is written; both framings are read, of every release.

    What an earlier release wrote is resolved to the current record before anything decodes it; a record that is decoded
    doesn't show which it was, but for `StoredDecision`. `confluent_ids` pins schema registry ids by NAME/RELEASE, as
    `fraud schemas register` prints them; without it records in Confluent framing are refused as SCHEMA_UNKNOWN.
    `told_earlier` is called for every value of an earlier release. Raises ValueError where the ids don't fit.
    """

    def __init__(
        self,
        written: Framing = Framing.SINGLE_OBJECT,
        confluent_ids: ConfluentIds | None = None,
        told_earlier: Callable[[Release], None] | None = None,
    ) -> None:
        writers = Writers(written, confluent_ids or {})
        self._headers, self._current, self._earlier = writers.written, writers.current, writers.earlier
        self._told_earlier = told_earlier

    def decode_transaction(self, value: bytes | None) -> Decoded | Refusal:
        """The payment in a record's value, or why there is none."""
        body = self._body("transaction.v1", value)
        if isinstance(body, Refusal):
            return body
        try:
            transaction, digest, end = decode_with_digest(body)
        except Malformed as error:
            return Refusal(RefusalCode.DECODE_FAILED, f"the bytes are no Transaction: {error}")
        if end != len(body):
            return Refusal(RefusalCode.TRAILING_BYTES, "bytes follow the Transaction")
        return Decoded(transaction, body, digest)

    def decode_decision_record(self, value: bytes | None) -> DecisionRecord | Refusal:
        """The record in a value of `decisions.v1`."""
        body = self._body("decision.v1", value)
        if isinstance(body, Refusal):
            return body
        branch = body[:1]
        if branch == DECISION:
            stored = _decision(body)
            return stored if isinstance(stored, Refusal) else stored[0]
        if branch == _REVERSAL:
            return _whole(Reversal, read_reversal, body, 1)
        if branch == _REVIEW_OUTCOME:
            return _whole(ReviewOutcome, read_review_outcome, body, 1)
        return Refusal(RefusalCode.DECODE_FAILED, "the bytes are no decision.v1 (no such record)")

    def decode_verdict_head(self, value: bytes | None) -> VerdictHead | Refusal | None:
        """The head of the decision in a value of `decisions.v1`; None where it holds another record."""
        body = self._body("decision.v1", value)
        if isinstance(body, Refusal):
            return body
        try:
            return verdict_head(body)
        except Malformed as error:
            return Refusal(RefusalCode.DECODE_FAILED, f"the bytes are no Decision: {error}")

    def decode_stored_decision(self, value: bytes | None) -> StoredDecision | Refusal | None:
        """The decision in a value of `decisions.v1` with its exact bytes; None where it holds another record."""
        body = self._body("decision.v1", value)
        if isinstance(body, Refusal):
            return body
        if body[:1] != DECISION:
            other = self.decode_decision_record(value)
            return other if isinstance(other, Refusal) else None
        found = _decision(body)
        if isinstance(found, Refusal):
            return found
        decision, snapshot_begin = found
        snapshot = body[snapshot_begin:]
        assert value is not None, "it was decoded"
        if value.startswith(_CURRENT_DECISION):  # as most do; 0.1 µs, where looking for the release takes 0.3
            return StoredDecision(decision, body, snapshot, _DECISION_RELEASE, snapshot)
        release = self.earlier_release(value)
        if release is None:
            return StoredDecision(decision, body, snapshot, _DECISION_RELEASE, snapshot)
        written = _unframed(value)
        begin, end = up_from(release).span(written, "snapshot")
        return StoredDecision(decision, written, written[begin:end], release.number, snapshot)

    def decode_dead_letter(self, value: bytes | None) -> DeadLetter | Refusal:
        return self._decoded("dead_letter.v1", DeadLetter, read_dead_letter, value)

    def decode_alert(self, value: bytes | None) -> Alert | Refusal:
        return self._decoded("alert.v1", Alert, read_alert, value)

    def decode_execution(self, value: bytes | None) -> Execution | Refusal:
        return self._decoded("execution.v1", Execution, read_execution, value)

    def decode_anchor(self, value: bytes | None) -> Anchor | Refusal:
        return self._decoded("anchor.v1", Anchor, read_anchor, value)

    def decode_account(self, value: bytes | None) -> Account | Refusal:
        return self._decoded("account.v1", Account, read_account, value)

    def decode_risk_signal(self, value: bytes | None) -> RiskSignal | Refusal:
        return self._decoded("risk_signal.v1", RiskSignal, read_risk_signal, value)

    def decode_label(self, value: bytes | None) -> Label | Refusal:
        return self._decoded("label.v1", Label, read_label, value)

    def decode_breaker_switch(self, value: bytes | None) -> BreakerSwitch | Refusal:
        return self._decoded("breaker_switch.v1", BreakerSwitch, read_breaker_switch, value)

    def decode_breaker_hour(self, value: bytes | None) -> BreakerHour | Refusal:
        return self._decoded("breaker_hour.v1", BreakerHour, read_breaker_hour, value)

    def decode_witnessed(self, value: bytes | None) -> Witnessed | Refusal:
        return self._decoded("witness.v1", Witnessed, read_witnessed, value)

    def decode_shadow_answer(self, value: bytes | None) -> ShadowAnswer | Refusal:
        return self._decoded("shadow.v1", ShadowAnswer, read_shadow_answer, value)

    def encode(self, record: Encoded) -> bytes:
        kind = type(record)
        fields = record._asdict()
        is_in_union = _SCHEMA_OF[kind] == "decision.v1"
        return self._encoded(_SCHEMA_OF[kind], (f"fraud.v1.{kind.__name__}", fields) if is_in_union else fields)

    def encode_transaction(self, transaction: Transaction) -> bytes:
        return self._encoded("transaction.v1", transaction._asdict())

    def headers_of(self, name: str) -> dict[bytes, int]:
        """The number of the release, by every header that a value of the schema `name` may begin with."""
        current = {header: CURRENT[name].number for header, schema in self._current.items() if schema == name}
        earlier = {header: each.number for header, each in self._earlier.items() if each.schema == name}
        return current | earlier

    def header(self, name: str) -> bytes:
        """The framing that every value of the schema `name` begins with."""
        return self._headers[name]

    def _encoded(self, name: str, datum: object) -> bytes:
        stream = BytesIO()
        stream.write(self._headers[name])
        schemaless_writer(stream, _parsed(name), datum)
        return stream.getvalue()

    def _decoded(
        self,
        name: str,
        kind: type[RecordT],
        read: Callable[[bytes, int], tuple[RecordT, int]],
        value: bytes | None,
    ) -> RecordT | Refusal:
        body = self._body(name, value)
        return body if isinstance(body, Refusal) else _whole(kind, read, body, 0)

    def earlier_release(self, value: bytes) -> Release | None:
        """The release that a value was written in, where that isn't read as it is."""
        if value[:2] == SINGLE_OBJECT:  # most are; 0.1 µs, where splitting them takes 0.3
            return self._earlier.get(value[:10])
        parts = split(value)
        return None if parts is None else self._earlier.get(parts[0])

    def as_written(self, value: bytes) -> AsWritten | None:
        """Parts of a decision of an earlier release; None for any other record. Only for one that could be decoded."""
        if value.startswith(_CURRENT_DECISION):
            return None
        release = self.earlier_release(value)
        if release is None or release.schema != "decision.v1":
            return None
        body = _unframed(value)
        if body[:1] != DECISION:
            return None
        fields: Any = schemaless_reader(BytesIO(body), _parsed_release(release), None)
        return AsWritten(orjson.dumps(fields["snapshot"]), orjson.dumps(fields["reasons"]))

    def _body(self, name: str, value: bytes | None) -> bytes | Refusal:
        if value is UNREADABLE:
            return Refusal(RefusalCode.RECORD_UNREADABLE, "the records that were sent with it can't be unpacked")
        if not value:
            return Refusal(RefusalCode.RECORD_EMPTY, "the record has no value")
        if len(value) > RECORD_BYTES_MAX and name in _BOUNDED:
            return Refusal(RefusalCode.RECORD_TOO_LARGE, f"the record is over {RECORD_BYTES_MAX} bytes")
        if value[:2] == SINGLE_OBJECT:
            length = 10
        elif value[:1] == CONFLUENT_ID:
            length = 5
        elif value[:1] == CONFLUENT_GUID:
            length = 17
        else:
            return Refusal(RefusalCode.FRAMING_UNKNOWN, "neither single-object encoding nor Confluent framing")
        if self._current.get(value[:length]) == name:
            return value[length:]
        release = self._earlier.get(value[:length])
        if release is None or release.schema != name:
            return Refusal(RefusalCode.SCHEMA_UNKNOWN, "the writer schema is not one that is accepted here")
        if self._told_earlier is not None:
            self._told_earlier(release)
        try:
            return up_from(release).resolved(value[length:])
        except Malformed as error:
            return Refusal(RefusalCode.DECODE_FAILED, f"the bytes are none of {release}: {error}")


def _whole(
    kind: type[RecordT], read: Callable[[bytes, int], tuple[RecordT, int]], body: bytes, begin: int
) -> RecordT | Refusal:
    """The record that begins there and ends with the body, or why there is none."""
    try:
        record, end = read(body, begin)
    except IndexError:
        return _no(kind, "it is truncated")
    except UnicodeDecodeError:
        return _no(kind, "a text is not UTF-8")
    except Malformed as error:
        return _no(kind, str(error))
    return record if end == len(body) else _trailing(kind)


def _decision(body: bytes) -> tuple[Decision, int] | Refusal:
    """The decision, and where its snapshot begins in the body."""
    try:
        decision, snapshot_begin, end = decode_decision(body, len(DECISION))
    except Malformed as error:
        return _no(Decision, str(error))
    return (decision, snapshot_begin) if end == len(body) else _trailing(Decision)


def _no(kind: type[object], why: str) -> Refusal:
    return Refusal(RefusalCode.DECODE_FAILED, f"the bytes are no {kind.__name__}: {why}")


def _trailing(kind: type[object]) -> Refusal:
    return Refusal(RefusalCode.TRAILING_BYTES, f"bytes follow the {kind.__name__}")


@lru_cache
def _parsed(name: str) -> Any:
    return parse_schema(json.loads(schema_text(name)))


@lru_cache
def _parsed_release(release: Release) -> Any:
    return parse_schema(schema_of(release))


def _unframed(value: bytes) -> bytes:
    parts = split(value)
    assert parts is not None, "the value was decoded"
    return parts[1]
