import contextlib
import io
import json

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from hypothesis import given
from hypothesis import strategies as st

from pipeline.domain.payment import Channel, Transaction
from pipeline.io.avro.payment_decoder import decode_payment
from pipeline.io.avro.reading import Malformed
from pipeline.io.avro.schema_files import schema_text
from pipeline.io.avro.wire import WireFormat
from tests.records import PAYMENT

SCHEMA = parse_schema(json.loads(schema_text("transaction.v1")))
BODY = WireFormat().encode_transaction(PAYMENT)[10:]

TEXTS = st.text(max_size=150)
LONGS = st.integers(-(2**63), 2**63 - 1)
PAYMENTS = st.builds(
    Transaction,
    TEXTS, TEXTS, LONGS, TEXTS, LONGS, TEXTS, TEXTS | st.none(), TEXTS, LONGS | st.none(), TEXTS | st.none(),
    st.sampled_from(Channel), TEXTS | st.none(), TEXTS | st.none(), st.integers(-(2**31), 2**31 - 1), TEXTS,
    st.dictionaries(TEXTS, TEXTS, max_size=5),
)  # fmt: skip


def by_fastavro(payment):
    stream = io.BytesIO()
    schemaless_writer(stream, SCHEMA, payment._asdict())
    return stream.getvalue()


def test_channels_are_the_schema_s_in_order():
    channel = next(f for f in json.loads(schema_text("transaction.v1"))["fields"] if f["name"] == "channel")
    assert tuple(channel["type"]["symbols"]) == tuple(Channel)


@given(PAYMENTS)
def test_whatever_fastavro_writes_is_read_back(payment):
    body = by_fastavro(payment)
    assert decode_payment(body) == (payment, len(body))
    assert decode_payment(body + b"more") == (payment, len(body))


@given(st.integers(0, len(BODY) - 1), st.binary(min_size=1, max_size=3))
def test_what_is_accepted_is_what_fastavro_reads(position, patch):
    body = BODY[:position] + patch + BODY[position + len(patch) :]
    try:
        payment, end = decode_payment(body)
    except Malformed:
        return
    assert schemaless_reader(io.BytesIO(body), SCHEMA, None) == payment._asdict()
    assert end <= len(body)


@given(st.binary(max_size=400))
def test_no_bytes_do_more_than_be_refused(body):
    with contextlib.suppress(Malformed):
        assert decode_payment(body)[1] <= len(body)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"\x02\x14Jane Smith", b"\x01\x14Jane Smith"),  # union branch -1: fastavro takes the last
        (b"\x02\x14Jane Smith", b"\x04\x14Jane Smith"),
        (b"\x02\x14Jane Smith", b"\x82\x00\x14Jane Smith"),  # branch 1 in two bytes
        (b"\x06GBP", b"\x86\x00GBP"),
        (b"\x06GBP", b"\x05GBP"),
        (b"\x06GBP", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01GBP"),
        (b"\x06GBP", b"\x06G\xffP"),
        (b"\x04\x1apostcode_area", b"\x80\x80\x80\x80\x08\x1apostcode_area"),  # a billion entries
        (b"\x04\x1apostcode_area", b"\x03\x02\x1apostcode_area"),  # a block that lies about its size
    ],
)
def test_what_other_readers_would_refuse_is_refused(old, new):
    assert BODY.count(old) == 1
    with pytest.raises(Malformed):
        decode_payment(BODY.replace(old, new))


def test_a_map_in_sized_blocks_is_read():
    tail = BODY[BODY.index(b"\x04\x1apostcode_area") :]
    entries = tail[1:-2]
    first, second = entries[: entries.index(b"\x10age_band")], entries[entries.index(b"\x10age_band") :]
    blocks = b"".join(b"\x01" + bytes([2 * len(each)]) + each for each in (first, second)) + b"\0\0"
    body = BODY[: -len(tail)] + blocks
    assert decode_payment(body) == (PAYMENT, len(body))
