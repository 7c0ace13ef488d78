import hashlib
import io
import json

import fastavro
import numpy as np
import pytest
from fastavro.schema import parse_schema
from hypothesis import given
from hypothesis import strategies as st

from pipeline.decide.decision_encoder import DecisionEncoder, encode_longs, with_position
from pipeline.decide.verdict import Mode, decide, regime
from pipeline.domain.decision import BreakerState, StoredDecision
from pipeline.domain.features import FEATURES
from pipeline.domain.identities import decision_id
from pipeline.domain.log import Source
from pipeline.domain.payment import Decoded, Transaction
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.avro.schema_files import SCHEMAS, schema_text
from pipeline.io.avro.wire import Framing, WireFormat
from pipeline.io.avro.writers import CURRENT
from tests.decisions import avro_fields, body_of
from tests.records import NOON_MS, PAYMENT, features, policy, small_model

WIRE = WireFormat()
IDS = {str(CURRENT[name]): 40 + index for index, name in enumerate(SCHEMAS)}
SOURCE = Source(3, 123_456, NOON_MS + 12)
MODES = [
    Mode(BreakerState.CLOSED, "all", True),
    Mode(BreakerState.OPEN, "model:test-1", False),
    Mode(BreakerState.UNKNOWN, "segment:postcode_area=SW", False),
]


def code_of(value):
    refusal = WIRE.decode_transaction(value)
    assert isinstance(refusal, Refusal)
    return refusal.code


def test_crc_64_avro_is_the_specification_s():
    # Apache Avro specification, "Schema Fingerprints": the fingerprint of "null" in little-endian order.
    assert fastavro.schema.fingerprint('"null"', "CRC-64-AVRO") == (0x63DD24E7CC258F8A).to_bytes(8, "little").hex()


@pytest.mark.parametrize("framing", list(Framing))
def test_both_framings_are_read_whichever_is_written(framing):
    value = WireFormat(framing, IDS).encode_transaction(PAYMENT)
    decoded = WireFormat(Framing.SINGLE_OBJECT, IDS).decode_transaction(value)
    assert isinstance(decoded, Decoded)
    assert decoded.transaction == PAYMENT


def test_confluent_framing_without_pinned_ids_is_refused():
    assert code_of(WireFormat(Framing.CONFLUENT, IDS).encode_transaction(PAYMENT)) == RefusalCode.SCHEMA_UNKNOWN


def test_confluent_ids_must_be_complete_to_be_written():
    with pytest.raises(ValueError, match="it has no id"):
        WireFormat(Framing.CONFLUENT, {"transaction.v1/2": 1})


def test_every_truncation_is_refused():
    value = WIRE.encode_transaction(PAYMENT)
    for length in range(len(value)):
        assert isinstance(WIRE.decode_transaction(value[:length]), Refusal)


def test_trailing_bytes_are_refused():
    assert code_of(WIRE.encode_transaction(PAYMENT) + b"\0") == RefusalCode.TRAILING_BYTES


def test_other_schemas_and_framings_are_refused():
    value = WIRE.encode_transaction(PAYMENT)
    assert code_of(None) == RefusalCode.RECORD_EMPTY
    assert code_of(b"") == RefusalCode.RECORD_EMPTY
    assert code_of(b'{"transaction_id": 1}') == RefusalCode.FRAMING_UNKNOWN
    assert code_of(value[:2] + bytes(8) + value[10:]) == RefusalCode.SCHEMA_UNKNOWN
    assert code_of(value + b"x" * 20_000) == RefusalCode.RECORD_TOO_LARGE


@given(st.binary(max_size=300))
def test_no_bytes_make_decoding_raise(body):
    header = WIRE.encode_transaction(PAYMENT)[:10]
    assert isinstance(WIRE.decode_transaction(header + body), Refusal | Decoded)


@given(st.integers(10, 190), st.integers(0, 255))
def test_no_changed_byte_makes_decoding_raise(position, byte):
    value = bytearray(WIRE.encode_transaction(PAYMENT))
    value[min(position, len(value) - 1)] = byte
    assert isinstance(WIRE.decode_transaction(bytes(value)), Refusal | Decoded)


def test_transaction_fields_are_the_schema_s_in_order():
    names = [field["name"] for field in json.loads(schema_text("transaction.v1"))["fields"]]
    assert names == list(Transaction._fields)


def test_feature_fields_are_the_schema_s_in_order():
    decision = json.loads(schema_text("decision.v1"))[0]
    snapshot = next(field for field in decision["fields"] if field["name"] == "snapshot")["type"]
    assert [field["name"] for field in snapshot["fields"][1]["type"]["fields"]] == list(FEATURES)
    assert snapshot["fields"][0]["type"] == json.loads(schema_text("transaction.v1"))


LONGS = st.lists(st.integers(-2, 2**62), min_size=len(FEATURES), max_size=len(FEATURES))


@given(
    LONGS,
    st.sampled_from(MODES),
    st.integers(0, 5),
    st.integers(1, 5_100_000),
    st.text(max_size=20).filter(lambda text: text.encode("utf-8", "ignore").decode() == text),
)
def test_decisions_are_encoded_byte_for_byte_as_fastavro_does(longs, mode, reports, amount, reference):
    payment = PAYMENT._replace(reference=reference)
    decoded = WIRE.decode_transaction(WIRE.encode_transaction(payment))
    assert isinstance(decoded, Decoded)
    in_force = regime(policy(), small_model())
    row = features(ip_fraud_reports=reports, amount_gbp_minor=amount)
    verdict = decide(row, [mode], in_force)[0]
    written = np.array([longs], dtype=np.int64)
    encoder = DecisionEncoder(WIRE.header("decision.v1"), in_force, "decide/test")
    [value] = encoder.encode([decoded], [SOURCE], with_position(written, -1), [verdict], [NOON_MS + 99])
    stored = WIRE.decode_stored_decision(value)
    assert isinstance(stored, StoredDecision)
    decision = stored.decision
    assert body_of("Decision", avro_fields(decision)) == value[10:] == stored.body
    assert decision.decision_id == decision_id(payment, decoded.digest, SOURCE)
    assert decision.snapshot == (payment, tuple(longs), -1)
    assert stored.snapshot == decoded.body + encode_longs(with_position(written, -1))[0]
    assert decision.input_hash == hashlib.sha256(stored.snapshot).digest()


@given(st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3), min_size=1, max_size=5))
def test_rows_of_longs_are_encoded_as_fastavro_does(rows):
    schema = parse_schema("long")
    expected = []
    for row in rows:
        stream = io.BytesIO()
        for number in row:
            fastavro.schemaless_writer(stream, schema, number)
        expected.append(stream.getvalue())
    assert encode_longs(np.array(rows, dtype=np.int64)) == expected
