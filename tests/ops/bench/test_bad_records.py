"""Every bad record of the bench goes through decoding, refusals and static guardrails, without broker and Redis."""

import numpy as np
import pytest

from ops.bench.bad_input.bad_case import EVENT_TIME_MS, SOUND, Case, sound_value
from ops.bench.bad_input.bad_records import cases
from ops.bench.bad_input.wire import framed, joined, long, parts_of, text
from pipeline.decide.event_features import EventRows
from pipeline.decide.rules import hits_of, rule_book
from pipeline.domain.log import Source
from pipeline.domain.payment import Decoded
from pipeline.domain.refusals import Refusal, refusal_of
from pipeline.io.avro.wire import WireFormat
from tests.records import feeds, policy

WIRE = WireFormat()
CASES = cases()


def codes_of(case: Case) -> set[str]:
    """Return the code of the dead letter that the record becomes, or those of the guardrails that it meets."""
    decoded = WIRE.decode_transaction(case.value)
    if isinstance(decoded, Refusal):
        return {decoded.code}
    refusal = refusal_of(decoded.transaction, case.key, Source(0, 0, case.timestamp_ms))
    if refusal is not None:
        return {refusal.code}
    row = np.array(
        [EventRows(policy(), feeds()).row(decoded.transaction, decoded.transaction.event_time_ms)], dtype=np.int64
    )
    return {rule.code for rule in hits_of(rule_book(policy()).static_hard, row).get(0, [])}


@pytest.mark.parametrize("case", CASES, ids=[case.name.encode("unicode_escape").decode() for case in CASES])
def test_bad_record_is_refused_or_blocked_for_the_right_reason(case: Case) -> None:
    codes = codes_of(case)
    assert codes
    assert codes <= case.expected


def test_there_are_at_least_300_cases_with_exactly_one_right_answer() -> None:
    assert sum(len(case.expected) == 1 for case in CASES) >= 300


def test_the_record_that_cases_spoil_is_sound() -> None:
    case = Case("sound", SOUND["account_id"].encode(), sound_value("sound"), frozenset())
    assert codes_of(case) == set()


def test_bench_s_own_encoding_is_the_codec_s() -> None:
    decoded = WIRE.decode_transaction(joined(parts_of(SOUND)))
    assert isinstance(decoded, Decoded)
    assert decoded.transaction._asdict() == SOUND
    assert WIRE.encode_transaction(decoded.transaction) == joined(parts_of(SOUND))


def with_segments(encoded: bytes) -> bytes:
    return framed(b"".join({**parts_of(SOUND), "segments": encoded}.values()))


ENTRIES = [text(name) + text(value) for name, value in SOUND["segments"].items()]


@pytest.mark.parametrize(
    "encoded",
    [
        long(1) + ENTRIES[0] + long(1) + ENTRIES[1] + b"\0",
        long(-2) + long(len(ENTRIES[0] + ENTRIES[1])) + ENTRIES[0] + ENTRIES[1] + b"\0",
        long(-1) + long(len(ENTRIES[0])) + ENTRIES[0] + long(1) + ENTRIES[1] + b"\0",
    ],
)
def test_maps_in_other_blocks_than_ours_are_read(encoded: bytes) -> None:
    decoded = WIRE.decode_transaction(with_segments(encoded))
    assert isinstance(decoded, Decoded)
    assert decoded.transaction.segments == SOUND["segments"]


@pytest.mark.parametrize(
    "encoded",
    [
        long(-2) + long(3) + ENTRIES[0] + ENTRIES[1] + b"\0",  # a size that is not the block's
        long(2) + ENTRIES[0] + ENTRIES[0] + b"\0",  # a name twice
        b"\x84\x80\0" + ENTRIES[0] + ENTRIES[1] + b"\0",  # a count that takes more bytes than it needs
    ],
)
def test_maps_that_readers_may_differ_on_are_refused(encoded: bytes) -> None:
    assert isinstance(WIRE.decode_transaction(with_segments(encoded)), Refusal)


def test_event_time_of_the_cases_lies_among_the_sound_payments() -> None:
    assert SOUND["event_time_ms"] == EVENT_TIME_MS
