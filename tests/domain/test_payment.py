import io
import json
from hashlib import sha256
from itertools import permutations
from pathlib import Path

import pytest
from fastavro import parse_schema, schemaless_writer
from hypothesis import assume, given

from pipeline.domain.payment import Channel, canonical_payment, payment_digest
from pipeline.io.avro.payment_decoder import decode_with_digest
from pipeline.io.avro.schema_files import SCHEMAS
from pipeline.io.avro.wire import Framing, WireFormat
from pipeline.io.avro.writers import CURRENT
from tests.io.test_payment_decoder import PAYMENTS
from tests.records import PAYMENT

RELEASED = Path(__file__).parents[2] / "schemas" / "released" / "transaction.v1"
FIRST_VERSION = parse_schema(json.loads((RELEASED / "1.avsc").read_text(encoding="utf-8")))
THREE = {"b": "2", "a": "1", "c": "3"}
EMPTY_OR_ABSENT = ("beneficiary_name", "reference", "ip_address", "device_id")


def first_version(payment):
    stream = io.BytesIO()
    schemaless_writer(stream, FIRST_VERSION, payment._asdict())
    return stream.getvalue()


def entry(name, value):
    return bytes((2 * len(name),)) + name.encode() + bytes((2 * len(value),)) + value.encode()


def encodings(segments):
    """Every way in which Avro may write up to three short segments, but for blocks of nothing."""
    for order in permutations(segments.items()):
        entries = [entry(*each) for each in order]
        for blocks in ([3], [1, 2], [2, 1], [1, 1, 1]):
            for is_sized in (False, True):
                yield b"".join(_block(entries, blocks, is_sized)) + b"\0"


def _block(entries, blocks, is_sized):
    begin = 0
    for count in blocks:
        content = b"".join(entries[begin : begin + count])
        begin += count
        yield (bytes((2 * count - 1, 2 * len(content))) if is_sized else bytes((2 * count,))) + content


@given(PAYMENTS)
def test_invariant_1_the_digest_of_the_bytes_is_that_of_the_decoded_payment(payment):
    body = WireFormat().encode_transaction(payment)[10:]
    decoded, digest, end = decode_with_digest(body + b"more")
    assert (decoded, digest, end) == (payment, payment_digest(payment), len(body))


def test_invariant_1_the_order_of_segments_and_their_blocks_do_not_matter():
    payment = PAYMENT._replace(segments=THREE)
    wire = WireFormat()
    value = wire.encode_transaction(payment)
    written = b"\x06" + b"".join(entry(*each) for each in THREE.items()) + b"\0"
    assert value.count(written) == 1
    for other in encodings(THREE):
        decoded = wire.decode_transaction(value.replace(written, other))
        assert decoded.digest == payment_digest(payment)


def test_invariant_1_framing_does_not_matter():
    ids = {str(CURRENT[name]): number for number, name in enumerate(SCHEMAS, start=7)}
    confluent, single = WireFormat(Framing.CONFLUENT, ids), WireFormat()
    values = [confluent.encode_transaction(PAYMENT), single.encode_transaction(PAYMENT)]
    assert values[0] != values[1]
    digests = {confluent.decode_transaction(value).digest for value in values}
    assert digests == {payment_digest(PAYMENT)}


@given(PAYMENTS, PAYMENTS)
def test_invariant_2_other_payments_have_other_encodings(one, other):
    assume(one != other)
    assert canonical_payment(one) != canonical_payment(other)


@pytest.mark.parametrize("name", EMPTY_OR_ABSENT)
def test_invariant_2_an_empty_text_is_not_an_absent_one(name):
    digests = {payment_digest(PAYMENT._replace(**{name: value})) for value in (None, "", "\0")}
    assert len(digests) == 3


@pytest.mark.parametrize("name", PAYMENT._fields)
def test_invariant_2_every_field_takes_part(name):
    value = getattr(PAYMENT, name)
    match value:
        case int():
            other = value + 1
        case dict():
            other = {**value, "more": "x"}
        case None:
            other = "x"
        case "FASTER_PAYMENT":
            other = Channel.CHAPS
        case _:
            other = f"{value}x"
    assert payment_digest(PAYMENT._replace(**{name: other})) != payment_digest(PAYMENT)


@given(PAYMENTS)
def test_invariant_3_the_canonical_encoding_is_avros_of_the_first_version(payment):
    in_order = payment._replace(segments=dict(sorted(payment.segments.items())), source_system=None)
    assert canonical_payment(payment._replace(source_system=None)) == first_version(in_order)


def test_invariant_3_the_digest_of_a_payment_is_for_ever():
    assert sha256(canonical_payment(PAYMENT)).digest() == payment_digest(PAYMENT)
    assert payment_digest(PAYMENT).hex() == "40585cd0aedf6d36547ba91eb715487e03e955c7efa3b57a208d259f2e082ca5"
