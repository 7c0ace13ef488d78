"""Values of every release, in every framing: who wrote them is known, and what is decoded is the current record."""

from __future__ import annotations

import io
from itertools import islice
from uuid import UUID

import pytest
from fastavro import parse_schema, schemaless_writer
from fastavro.utils import generate_many

from pipeline.domain.decision import Decision
from pipeline.domain.features import COLUMN, UNKNOWN
from pipeline.domain.payment import Decoded, payment_digest
from pipeline.domain.refusals import Refusal, RefusalCode
from pipeline.domain.reversal import RecordKind
from pipeline.io.avro.schema_files import SCHEMAS, releases
from pipeline.io.avro.wire import Framing, WireFormat
from pipeline.io.avro.writers import CURRENT, Release, down_to, header_of, is_read_as_it_is, schema_of
from pipeline.io.kafka.client import named
from pipeline.replay.feature_lists import unheld_features
from tests.archive import CLOSED, Archive, payment
from tests.decisions import reversal_of
from tests.records import PAYMENT

WIRE = WireFormat()
OLD_PAYMENT, OLD_DECISION = Release("transaction.v1", 1), Release("decision.v1", 1)
GUID = "89791762-2336-4186-9674-299b90a802e2"
DECODERS = {
    "transaction.v1": WIRE.decode_transaction,
    "decision.v1": WIRE.decode_decision_record,
    "dead_letter.v1": WIRE.decode_dead_letter,
    "account.v1": WIRE.decode_account,
    "risk_signal.v1": WIRE.decode_risk_signal,
    "label.v1": WIRE.decode_label,
    "alert.v1": WIRE.decode_alert,
    "execution.v1": WIRE.decode_execution,
    "anchor.v1": WIRE.decode_anchor,
    "breaker_switch.v1": WIRE.decode_breaker_switch,
    "breaker_hour.v1": WIRE.decode_breaker_hour,
    "witness.v1": WIRE.decode_witnessed,
    "shadow.v1": WIRE.decode_shadow_answer,
}


def old_value(release: Release, current: bytes, header: bytes | None = None) -> bytes:
    """A value of the current release, as a writer of an earlier one would have written it."""
    return (header_of(release) if header is None else header) + down_to(release).resolved(current[10:])


def decoded(wire: WireFormat, value: bytes) -> Decoded:
    found = wire.decode_transaction(value)
    assert isinstance(found, Decoded), found
    return found


@pytest.mark.parametrize("release", [Release(n, number) for n in SCHEMAS for number in releases(n)], ids=str)
def test_every_release_of_every_schema_is_decoded(release: Release) -> None:
    parsed = parse_schema(schema_of(release), {})
    assert set(SCHEMAS) == set(DECODERS)
    for datum in islice(generate_many(parsed, 40), 40):
        stream = io.BytesIO()
        schemaless_writer(stream, parsed, datum)
        found = DECODERS[release.schema](header_of(release) + stream.getvalue())
        assert not isinstance(found, Refusal), found


def test_a_payment_is_the_same_whichever_release_wrote_it() -> None:
    current = WIRE.encode_transaction(PAYMENT)
    old = decoded(WIRE, old_value(OLD_PAYMENT, current))
    assert decoded(WIRE, current) == old
    assert payment_digest(PAYMENT) == old.digest


def test_a_decision_holds_an_old_payment_in_the_form_of_its_own_schema(archive: Archive) -> None:
    current = WIRE.encode_transaction(PAYMENT)
    assert current[10:] == decoded(WIRE, old_value(OLD_PAYMENT, current)).body


def test_earlier_releases_are_told_and_the_current_one_is_not() -> None:
    told: list[Release] = []
    wire = WireFormat(told_earlier=told.append)
    current = wire.encode_transaction(PAYMENT)
    decoded(wire, current)
    assert [] == told
    decoded(wire, old_value(OLD_PAYMENT, current))
    assert [OLD_PAYMENT] == told


def test_a_feature_that_the_writer_did_not_know_is_unknown(archive: Archive) -> None:
    [value] = archive.values([payment(1)], [CLOSED])
    old = WIRE.decode_decision_record(old_value(OLD_DECISION, value))
    new = WIRE.decode_decision_record(value)
    assert isinstance(old, Decision)
    assert isinstance(new, Decision)
    unheld = unheld_features(1)
    assert {"event_age_hours", "is_unpaid_beneficiary"} < unheld
    for name, column in COLUMN.items():
        expected = UNKNOWN if name in unheld else new.snapshot.features[column]
        assert expected == old.snapshot.features[column], name


def test_a_reversal_of_an_earlier_release_replaces_what_is_never_in_force(archive: Archive) -> None:
    [value] = archive.values([payment(1)], [CLOSED])
    decision = WIRE.decode_decision_record(value)
    assert isinstance(decision, Decision)
    old = WIRE.decode_decision_record(old_value(OLD_DECISION, WIRE.encode(reversal_of(decision))))
    assert (RecordKind.OTHER, "") == (old.replaces_kind, old.replaces_id)  # type: ignore[union-attr]


def test_what_is_hashed_stays_as_it_was_written(archive: Archive) -> None:
    [value] = archive.values([payment(1)], [CLOSED])
    old = old_value(OLD_DECISION, value)
    stored = WIRE.decode_stored_decision(old)
    assert stored is not None
    assert not isinstance(stored, Refusal)
    assert old[10:] == stored.body
    assert stored.body.endswith(stored.snapshot)
    assert 1 == stored.release
    assert len(stored.resolved_snapshot) > len(stored.snapshot)


def test_ids_are_pinned_to_releases_and_several_may_name_one() -> None:
    ids = {"transaction.v1/2": [9, GUID, 12], "transaction.v1/1": 7}
    wire, current = WireFormat(confluent_ids=ids), WIRE.encode_transaction(PAYMENT)
    new = [b"\0\0\0\0\x09", b"\0\0\0\0\x0c", b"\x01" + UUID(GUID).bytes]
    assert [PAYMENT] * 3 == [decoded(wire, header + current[10:]).transaction for header in new]
    old = old_value(OLD_PAYMENT, current, b"\0\0\0\0\x07")
    assert PAYMENT == decoded(wire, old).transaction
    for header in (b"\0\0\0\0\x08", b"\x01" + bytes(16)):
        refusal = wire.decode_transaction(header + current[10:])
        assert isinstance(refusal, Refusal)
        assert RefusalCode.SCHEMA_UNKNOWN == refusal.code


def test_an_old_id_is_not_taken_for_the_current_release() -> None:
    wire = WireFormat(confluent_ids={"transaction.v1/1": 7})
    refusal = wire.decode_transaction(b"\0\0\0\0\x07" + WIRE.encode_transaction(PAYMENT)[10:])
    assert isinstance(refusal, Refusal)
    assert RefusalCode.TRAILING_BYTES == refusal.code


@pytest.mark.parametrize(
    ("ids", "says"),
    [
        ({"transaction.v1": 7}, "must name a release as transaction.v1/2"),
        ({"transaction.v1/9": 7}, "must name a release"),
        ({"payment.v1/1": 7}, "there is no schema"),
        ({"transaction.v1/1": 7, "transaction.v1/2": [8, 7]}, "7 is given to"),
        ({"transaction.v1/1": "7"}, "no GUID"),
        ({"transaction.v1/1": -1}, "no id"),
        ({"transaction.v1/1": 2**32}, "no id"),
        ({"transaction.v1/1": True}, "no id"),
    ],
)
def test_ids_that_could_mean_two_things_are_refused(ids: dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        WireFormat(confluent_ids=ids)


def test_the_first_id_of_the_current_release_is_written() -> None:
    ids = {str(release): [n, n + 100] for n, release in enumerate(CURRENT.values(), start=1)}
    wire = WireFormat(Framing.CONFLUENT, ids)
    assert b"\0\0\0\0\x01" == wire.encode_transaction(PAYMENT)[:5]


def test_a_header_names_the_schema_of_a_value() -> None:
    wire, body = WireFormat(confluent_ids={"transaction.v1/2": [9, GUID]}), WIRE.encode_transaction(PAYMENT)[10:]
    for header in (b"\x01" + UUID(GUID).bytes, b"\0\0\0\0\x09"):
        assert PAYMENT == decoded(wire, named(body, header)).transaction
    for header in (b"", b"\x01", b"\0\0\0\x09", UUID(GUID).bytes, GUID, b"\xc3\x01" + bytes(8), b"\x02" + bytes(16)):
        refusal = wire.decode_transaction(named(body, header))
        assert isinstance(refusal, Refusal)
        assert RefusalCode.FRAMING_UNKNOWN == refusal.code
    assert body == named(body, None)


@pytest.mark.parametrize("name", ["transaction.v1", "account.v1", "risk_signal.v1", "label.v1"])
def test_no_body_from_outside_begins_as_single_object_encoding_does(name: str) -> None:
    """So a header needn't be looked for where a value does. What is of our own making has no such header."""
    refusal = DECODERS[name](header_of(CURRENT[name]) + b"\xc3\x01" + bytes(200))
    assert isinstance(refusal, Refusal)
    assert RefusalCode.DECODE_FAILED == refusal.code


def test_releases_that_read_alike_share_a_header() -> None:
    assert all(is_read_as_it_is(release) for release in CURRENT.values())
    assert not is_read_as_it_is(OLD_PAYMENT)
