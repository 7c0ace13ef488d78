"""Records of decisions.v1 as tests read, alter and write them."""

from __future__ import annotations

import io
import json

import fastavro

from pipeline.domain.decision import BreakerState, Decision, InputSnapshot, Outcome, Reason, Route
from pipeline.domain.features import FEATURES
from pipeline.domain.identities import DecisionId, ReviewId, decision_id, reversal_id, review_id
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import Source
from pipeline.domain.payment import Transaction, payment_digest
from pipeline.domain.plain import plain_record
from pipeline.domain.refusals import Refusal
from pipeline.domain.reversal import RecordKind, RecordName, Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.io.avro.schema_files import schema_text
from pipeline.io.avro.wire import WireFormat
from tests.records import NOON_MS, PAYMENT

WIRE = WireFormat()
UNION = fastavro.parse_schema(json.loads(schema_text("decision.v1")))


DECISION = Decision(
    decision_id=decision_id(PAYMENT, payment_digest(PAYMENT), Source(1, 7, NOON_MS)),
    transaction_id=PAYMENT.transaction_id,
    account_id=PAYMENT.account_id,
    decided_at_ms=NOON_MS + 7,
    agent_id="decide/test",
    source_partition=1,
    source_offset=7,
    source_timestamp_ms=NOON_MS,
    outcome=Outcome.ALLOW,
    route=Route.MODEL,
    breaker_state=BreakerState.CLOSED,
    breaker_scope="all",
    confidence_bp=9731,
    fraud_probability_ppm=26_900,
    score_micro=-3_588_000,
    summary="Allowed because the payment is £123.45.",
    reasons=(Reason("MODEL_AMOUNT_GBP_MINOR", "the payment is £123.45", 12_345, 5_000, 7_345, -88_000),),
    rules_triggered=(),
    model_version="small-1",
    model_hash=bytes(range(32)),
    policy_version="2026-11-01",
    policy_hash=bytes(range(32, 64)),
    phrase_book_version="1",
    exchange_rates_version="rates-7",
    exchange_rates_hash=bytes(range(96, 128)),
    sanctions_version="sanctions-3",
    sanctions_hash=bytes(range(128, 160)),
    input_hash=bytes(range(64, 96)),
    snapshot=InputSnapshot(PAYMENT, tuple(range(-1, len(FEATURES) - 1))),
)
"""One that no worker has made: its hashes are of nothing."""


def decision_id_of(payment: Transaction) -> DecisionId:
    """The id of the decision about a payment that isn't late."""
    return decision_id(payment, payment_digest(payment), Source(0, 0, payment.event_time_ms))


def record_of(value: bytes) -> DecisionRecord:
    record = WIRE.decode_decision_record(value)
    assert not isinstance(record, Refusal), record
    return record


def decision_of(value: bytes) -> Decision:
    record = record_of(value)
    assert isinstance(record, Decision)
    return record


def avro_fields(record: DecisionRecord) -> dict[str, object]:
    """As fastavro reads and writes them."""
    fields = plain_record(record)
    del fields["record"]
    return {**fields, **{name: value for name, value in record._asdict().items() if isinstance(value, bytes)}}


def written(decision: Decision) -> bytes:
    """A decision's value, whatever it says: altered ones too, which no worker would write."""
    return WIRE.header("decision.v1") + body_of("Decision", avro_fields(decision))


def body_of(kind: str, fields: dict[str, object]) -> bytes:
    """By fastavro, without framing."""
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, UNION, (f"fraud.v1.{kind}", fields))
    return stream.getvalue()


def review_of(
    decision: Decision, outcome: Outcome = Outcome.ALLOW, *, name: ReviewId | None = None, by: str = "rita"
) -> ReviewOutcome:
    return ReviewOutcome(
        review_id(decision.decision_id, 1) if name is None else name,
        decision.decision_id,
        decision.transaction_id,
        decision.account_id,
        reviewed_at_ms=NOON_MS + 60_000,
        outcome=outcome,
        reason='The customer said so, "in person" \\ twice',
        reviewed_by=by,
        second_reviewer=None,
    )


def reversal_of(
    decision: Decision,
    corrected: Outcome | None = None,
    *,
    plan_id: str = "plan-1",
    replaces: RecordName | None = None,
) -> Reversal:
    """Reverse what is in force: the decision itself where `replaces` names no other record."""
    replaced = replaces or RecordName(RecordKind.DECISION, decision.decision_id)
    return Reversal(
        reversal_id(plan_id, decision.decision_id),
        decision.decision_id,
        decision.transaction_id,
        decision.account_id,
        plan_id=plan_id,
        reversed_at_ms=NOON_MS + 120_000,
        reversed_outcome=decision.outcome,
        corrected_outcome=corrected,
        reason="A bad model",
        requested_by="ana",
        approved_by="bo",
        replaces_kind=replaced.kind,
        replaces_id=replaced.record_id,
        plan_digest="ab" * 32,
    )
