"""Every record but payments and decisions: read back as it was written, as fastavro does, or refused."""

import contextlib
import io
import json
from typing import get_args

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.domain.reversal import RecordKind, Reversal
from pipeline.domain.review_outcome import ReviewOutcome
from pipeline.domain.trials.shadow_answer import ShadowAnswer, ShadowStanding
from pipeline.io.avro.schema_files import schema_text
from pipeline.io.avro.wire import Encoded, WireFormat

WIRE = WireFormat()
TEXT = st.text(max_size=60)
INT = st.integers(-(2**31), 2**31 - 1)
LONG = st.integers(-100, 100) | st.integers(-(2**63), 2**63 - 1)
HASH = st.binary(min_size=32, max_size=32)
OUTCOME = st.sampled_from(Outcome)
RECORDS = {
    Reversal: st.builds(
        Reversal,
        *(TEXT, TEXT, TEXT, TEXT, TEXT, LONG, OUTCOME, st.none() | OUTCOME, TEXT, TEXT, TEXT),
        *(st.sampled_from(RecordKind), TEXT, TEXT),
    ),
    ReviewOutcome: st.builds(ReviewOutcome, TEXT, TEXT, TEXT, TEXT, LONG, OUTCOME, TEXT, TEXT, st.none() | TEXT),
    DeadLetter: st.builds(DeadLetter, TEXT, TEXT, TEXT, INT, LONG, LONG, HASH, LONG, TEXT, st.binary(max_size=90)),
    Alert: st.builds(
        Alert, TEXT, LONG, st.sampled_from(Severity), TEXT, TEXT, TEXT, st.dictionaries(TEXT, TEXT, max_size=4)
    ),
    Execution: st.builds(
        Execution,
        *(TEXT, TEXT, LONG, TEXT, TEXT, TEXT, TEXT, LONG, TEXT),
        st.sampled_from(ExecutionState),
        *(TEXT, LONG, LONG, LONG, LONG, LONG),
    ),
    Anchor: st.builds(
        Anchor,
        TEXT,
        INT,
        LONG,
        LONG,
        LONG,
        HASH,
        HASH,
        HASH,
        LONG,
        TEXT,
        st.binary(max_size=90),
        st.lists(HASH, max_size=4),
    ),
    Witnessed: st.builds(Witnessed, TEXT, TEXT, st.binary(max_size=90), st.none() | st.binary(max_size=90)),
    ShadowAnswer: st.builds(
        ShadowAnswer,
        *(TEXT, TEXT, TEXT, INT, LONG, LONG, TEXT, LONG, TEXT, HASH, TEXT),
        *(st.sampled_from(ShadowStanding), st.sampled_from(Outcome), st.none() | st.sampled_from(Outcome)),
        *(INT, INT, st.none() | TEXT, st.none() | TEXT),
    ),
    Account: st.builds(Account, TEXT, LONG, st.none() | LONG),
    RiskSignal: st.builds(RiskSignal, st.sampled_from(RiskSignalKind), TEXT, INT, LONG),
    Label: st.builds(Label, TEXT, TEXT, TEXT, LONG, st.booleans(), LONG, TEXT),
    BreakerSwitch: st.builds(
        BreakerSwitch,
        *(TEXT, st.sampled_from(SwitchPosition), LONG, LONG, TEXT, TEXT, st.booleans()),
        *(TEXT, st.binary(max_size=90), TEXT, TEXT, LONG, TEXT),
    ),
    BreakerHour: st.builds(BreakerHour, LONG, *(st.lists(each, max_size=4) for each in (TEXT, LONG, TEXT, LONG))),
}
SCHEMAS = {
    Reversal: "decision.v1",
    ReviewOutcome: "decision.v1",
    DeadLetter: "dead_letter.v1",
    Alert: "alert.v1",
    Execution: "execution.v1",
    Anchor: "anchor.v1",
    Witnessed: "witness.v1",
    ShadowAnswer: "shadow.v1",
    Account: "account.v1",
    RiskSignal: "risk_signal.v1",
    Label: "label.v1",
    BreakerSwitch: "breaker_switch.v1",
    BreakerHour: "breaker_hour.v1",
}
DECODERS = {
    Reversal: WIRE.decode_decision_record,
    ReviewOutcome: WIRE.decode_decision_record,
    DeadLetter: WIRE.decode_dead_letter,
    Alert: WIRE.decode_alert,
    Execution: WIRE.decode_execution,
    Anchor: WIRE.decode_anchor,
    Witnessed: WIRE.decode_witnessed,
    ShadowAnswer: WIRE.decode_shadow_answer,
    Account: WIRE.decode_account,
    RiskSignal: WIRE.decode_risk_signal,
    Label: WIRE.decode_label,
    BreakerSwitch: WIRE.decode_breaker_switch,
    BreakerHour: WIRE.decode_breaker_hour,
}
ANY_RECORD = st.one_of(list(RECORDS.values()))
KINDS = pytest.mark.parametrize("kind", list(RECORDS), ids=lambda kind: kind.__name__)


def by_fastavro(kind, value):
    """Return the record's fields, or None where fastavro reads none, or not all of the bytes."""
    stream = io.BytesIO(value[10:])
    schema = fastavro.parse_schema(json.loads(schema_text(SCHEMAS[kind])))
    with contextlib.suppress(Exception):
        fields = fastavro.schemaless_reader(stream, schema, None)
        return fields if stream.tell() == len(value) - 10 else None
    return None


def records_of(schema):
    return {each["name"]: each for each in (schema if isinstance(schema, list) else [schema])}


def test_every_kind_that_is_encoded_is_tested_here():
    assert set(get_args(Encoded)) == set(RECORDS) == set(SCHEMAS) == set(DECODERS)


@KINDS
def test_fields_are_the_schema_s_in_order(kind):
    schema = records_of(json.loads(schema_text(SCHEMAS[kind])))[kind.__name__]
    assert [field["name"] for field in schema["fields"]] == list(kind._fields)


@pytest.mark.parametrize(
    ("schema", "kind", "field", "enum"),
    [
        ("alert.v1", "Alert", "severity", Severity),
        ("execution.v1", "Execution", "state", ExecutionState),
        ("risk_signal.v1", "RiskSignal", "kind", RiskSignalKind),
    ],
)
def test_symbols_are_the_schema_s_in_order(schema, kind, field, enum):
    fields = records_of(json.loads(schema_text(schema)))[kind]["fields"]
    assert next(each["type"]["symbols"] for each in fields if each["name"] == field) == list(enum)


@given(ANY_RECORD)
def test_a_record_reads_back_as_it_was_written(record):
    kind, value = type(record), WIRE.encode(record)
    again = DECODERS[kind](value)
    assert (type(again), again) == (kind, record)
    assert [type(field) for field in again] == [type(field) for field in record]
    assert by_fastavro(kind, value) == record._asdict()


@given(ANY_RECORD)
def test_what_follows_a_record_is_refused(record):
    refused = DECODERS[type(record)](WIRE.encode(record) + b"\0")
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.TRAILING_BYTES


@given(ANY_RECORD, st.data())
def test_every_truncation_is_refused(record, data):
    value = WIRE.encode(record)
    refused = DECODERS[type(record)](value[: data.draw(st.integers(10, len(value) - 1))])
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.DECODE_FAILED


@given(ANY_RECORD, st.data())
def test_spoilt_bytes_are_refused_or_read_as_fastavro_reads_them(record, data):
    value, kind = WIRE.encode(record), type(record)
    position = data.draw(st.integers(10, len(value) - 1))
    changed = value[:position] + data.draw(st.binary(min_size=1, max_size=3)) + value[position + 1 :]
    again = DECODERS[kind](changed)
    if not isinstance(again, Refusal | kind):
        assert SCHEMAS[kind] == "decision.v1", "the first byte may make another record of the union"
    elif not isinstance(again, Refusal):
        assert by_fastavro(kind, changed) == again._asdict()


@given(st.binary(max_size=200), st.sampled_from(sorted(DECODERS, key=str)))
def test_no_bytes_do_more_than_be_refused(body, kind):
    header = WIRE.header(SCHEMAS[kind])
    assert isinstance(DECODERS[kind](header + body), Refusal | kind | Reversal | ReviewOutcome)


@KINDS
def test_another_schema_s_bytes_are_refused(kind):
    other = Label if kind is not Label else Account
    value = WIRE.header(SCHEMAS[other]) + b"\0"
    refused = DECODERS[kind](value)
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.SCHEMA_UNKNOWN


REPLACES = RecordKind.REVIEW, "v", "00"
REVERSAL = Reversal("r", "d", "t", "a", "p", 1, Outcome.ALLOW, None, "because", "rae", "abe", *REPLACES)
SIGNAL = RiskSignal(RiskSignalKind.DEVICE, "device-1", 2, 3)
LABEL = Label("t", "a", "b", 1, True, 2, "c")


@pytest.mark.parametrize(
    ("record", "old", "new"),
    [
        (SIGNAL, b"\x02\x10device-1", b"\x04\x10device-1"),  # an enum's third symbol of two
        (SIGNAL, b"\x02\x10device-1", b"\x01\x10device-1"),  # its symbol -1: fastavro takes the last
        (LABEL, b"\x02\x01\x04", b"\x02\x02\x04"),  # a boolean of 2
        (REVERSAL, b"\x02\x00\x00\x0ebecause", b"\x02\x06\x00\x0ebecause"),  # an outcome that there is not
        (REVERSAL, b"\x02\x00\x00\x0ebecause", b"\x02\x00\x04\x0ebecause"),  # a union's third branch of two
        (REVERSAL, b"\x06abe\x04\x02v", b"\x06abe\x08\x02v"),  # a kind of record that there is not
        (REVERSAL, b"\x06rae", b"\x06r\xffe"),  # no UTF-8
        (Account("a", 1, None), b"\x02a\x02\x00", b"\x02a\x82\x00\x00"),  # a number longer than it need be
    ],
)
def test_what_no_strict_reader_takes_is_refused(record, old, new):
    value = WIRE.encode(record)
    assert value[10:].count(old) == 1
    refused = DECODERS[type(record)](value[:10] + value[10:].replace(old, new))
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.DECODE_FAILED
