import contextlib
import io
import json

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.decision import BreakerState, Decision, InputSnapshot, Outcome, Reason, Route
from pipeline.domain.features import FEATURES
from pipeline.domain.payment import Channel, Transaction
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.io.avro.decision_decoder import decode_decision
from pipeline.io.avro.reading import Malformed
from pipeline.io.avro.schema_files import schema_text
from pipeline.io.avro.wire import WireFormat
from tests.audit.logs import values
from tests.decisions import avro_fields, decision_of

BRANCHES = json.loads(schema_text("decision.v1"))
SCHEMA = parse_schema(BRANCHES)
WIRE = WireFormat()
VALUES = values(40)
BODY = VALUES[1][10:]

PRIMITIVES = {
    "null": st.none(),
    "string": st.text(max_size=100),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-100, 100) | st.integers(-(2**63), 2**63 - 1),
}


def any_of(schema, named):
    """Generate any value that a schema allows, so that a field that the schema gains is among them."""
    if isinstance(schema, list):
        return st.one_of([any_of(branch, named) for branch in schema])
    if isinstance(schema, str):
        return named[schema.rpartition(".")[2]]
    match schema["type"]:
        case "record":
            found = st.fixed_dictionaries({field["name"]: any_of(field["type"], named) for field in schema["fields"]})
        case "enum":
            found = st.sampled_from(schema["symbols"])
        case "fixed":
            found = st.binary(min_size=schema["size"], max_size=schema["size"])
        case "array":
            return st.lists(any_of(schema["items"], named), max_size=5)
        case "map":
            return st.dictionaries(named["string"], any_of(schema["values"], named), max_size=5)
        case other:
            raise ValueError(other)
    named[schema["name"]] = found
    return found


DECISIONS = any_of(BRANCHES[0], dict(PRIMITIVES))


def written(fields):
    stream = io.BytesIO()
    schemaless_writer(stream, SCHEMA, ("fraud.v1.Decision", fields))
    return stream.getvalue()


def by_fastavro(body):
    return schemaless_reader(io.BytesIO(body), SCHEMA, None)


def decoded(body):
    return decode_decision(body, 1)[0]


@given(DECISIONS)
def test_whatever_fastavro_writes_is_read_as_fastavro_reads_it(fields):
    # Compared as text, so that a field of another name, place or type shows too.
    body = written(fields)
    decision, snapshot_begin, end = decode_decision(body, 1)
    assert repr(avro_fields(decision)) == repr(by_fastavro(body))
    assert end == len(body)
    assert body[snapshot_begin:] == snapshot_of(fields)
    assert decode_decision(body + b"more", 1) == (decision, snapshot_begin, len(body))


def snapshot_of(fields):
    stream = io.BytesIO()
    schema = next(field["type"] for field in BRANCHES[0]["fields"] if field["name"] == "snapshot")
    schemaless_writer(stream, parse_schema(schema), fields["snapshot"])
    return stream.getvalue()


def test_whatever_the_worker_writes_is_read_as_fastavro_reads_it():
    assert len({value[10:] for value in VALUES}) == 40
    for value in VALUES:
        assert repr(avro_fields(decision_of(value))) == repr(by_fastavro(value[10:]))


def test_fields_are_the_schema_s_in_order():
    expected = {schema["name"]: [field["name"] for field in schema["fields"]] for schema in records_in(BRANCHES[0])}
    found = {kind.__name__: list(kind._fields) for kind in (Decision, Reason, InputSnapshot, Transaction)}
    assert expected == {**found, "Features": list(FEATURES)}


@pytest.mark.parametrize(("name", "kind"), [("outcome", Outcome), ("route", Route), ("breaker_state", BreakerState)])
def test_what_is_of_an_enum_is_its_member(name, kind):
    assert all(isinstance(getattr(decision_of(value), name), kind) for value in VALUES)
    assert isinstance(decision_of(VALUES[0]).snapshot.transaction.channel, Channel)


def records_in(schema):
    if isinstance(schema, dict) and schema["type"] == "record":
        yield schema
        for field in schema["fields"]:
            yield from records_in(field["type"])
    elif isinstance(schema, dict) and schema["type"] == "array":
        yield from records_in(schema["items"])


@pytest.mark.parametrize("name", ["outcome", "route", "breaker_state"])
def test_symbols_are_the_schema_s_in_order(name):
    fields = by_fastavro(BODY)
    symbols = next(field["type"]["symbols"] for field in BRANCHES[0]["fields"] if field["name"] == name)
    bodies = [written({**fields, name: symbol}) for symbol in symbols]
    assert [getattr(decoded(body), name) for body in bodies] == symbols
    place = next(at for at, pair in enumerate(zip(*bodies[:2], strict=True)) if pair[0] != pair[1])
    for byte in (2 * len(symbols), 1, 0x80):  # beyond the last; -1; none
        with pytest.raises(Malformed):
            decode_decision(bodies[0][:place] + bytes([byte]) + bodies[0][place + 1 :], 1)


@given(st.sampled_from(VALUES), st.data())
def test_what_is_accepted_is_what_fastavro_reads(value, data):
    position = data.draw(st.integers(11, len(value) - 1))
    patch = data.draw(st.binary(min_size=1, max_size=3))
    changed = value[:position] + patch + value[position + data.draw(st.integers(0, 3)) :]
    decision = WIRE.decode_decision_record(changed)
    if isinstance(decision, Refusal):
        assert decision.code in (RefusalCode.DECODE_FAILED, RefusalCode.TRAILING_BYTES)
    else:
        assert avro_fields(decision) == by_fastavro(changed[10:])


@given(st.binary(max_size=400))
def test_no_bytes_do_more_than_be_refused(body):
    with contextlib.suppress(Malformed):
        assert decode_decision(body, 0)[2] <= len(body)


def test_every_truncation_is_refused():
    for length in range(1, len(BODY)):
        with pytest.raises(Malformed):
            decode_decision(BODY[:length], 1)


def test_trailing_bytes_are_refused():
    refused = WIRE.decode_decision_record(VALUES[1] + b"\0")
    assert isinstance(refused, Refusal)
    assert refused.code is RefusalCode.TRAILING_BYTES


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x16decide/test", b"\x96\x00decide/test"),  # a length in two bytes
        (b"\x16decide/test", b"\x15decide/test"),
        (b"\x16decide/test", b"\x16decide/\xffest"),
        (b"\x16decide/test\x02", b"\x16decide/test\x80\x80\x80\x80\x10"),  # partition 2^31
        (b"\x16decide/test\x02", b"\x16decide/test\x82\x00"),
        (b"\x06GBP", b"\x05GBP"),
        (b"\x02\x14Jane Smith", b"\x01\x14Jane Smith"),  # union branch -1: fastavro takes the last
    ],
)
def test_what_other_readers_would_refuse_is_refused(old, new):
    assert BODY.count(old) == 1
    with pytest.raises(Malformed):
        decode_decision(BODY.replace(old, new), 1)


RULES = b"\x04\x06one\x06two\x00"


@pytest.mark.parametrize(
    ("blocks", "is_read"),
    [
        (b"\x02\x06one\x02\x06two\x00", True),
        (b"\x03\x10\x06one\x06two\x00", True),
        (b"\x01\x08\x06one\x01\x08\x06two\x00", True),
        (b"\x03\x0e\x06one\x06two\x00", False),  # a block that lies about its size
        (b"\x03\x0f\x06one\x06two\x00", False),
        (b"\x80\x80\x80\x80\x08\x06one\x06two\x00", False),  # a billion entries
    ],
)
def test_an_array_is_read_in_blocks_that_are_as_long_as_they_say(blocks, is_read):
    fields = {**by_fastavro(BODY), "rules_triggered": ["one", "two"]}
    body = written(fields)
    assert body.count(RULES) == 1
    changed = body.replace(RULES, blocks)
    if is_read:
        assert avro_fields(decoded(changed)) == fields
    else:
        with pytest.raises(Malformed):
            decode_decision(changed, 1)
