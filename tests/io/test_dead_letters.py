"""A dead letter keeps a record that could not be used, encrypted; in the clear it says only why, and its position."""

from __future__ import annotations

import pytest

from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.log import UNREADABLE, Record, Source
from pipeline.io.avro.wire import WireFormat
from pipeline.io.dead_letters import DeadLetters
from pipeline.io.sealing import DeadLetterKey, KeyRefused

WIRE = WireFormat()
KEY = DeadLetterKey(bytes(range(32)))
CUSTOMER = b"GB29-0001"


LETTER_BYTES_MAX = 32 * 1024
"""Far below the megabyte beyond which the library refuses a record, and with it the batch, again and again."""


def letter(
    value: bytes, *, key: DeadLetterKey | None = KEY, keep_payload: bool = True, name: bytes = CUSTOMER
) -> DeadLetter:
    letters, record = DeadLetters(WIRE, "transactions.dead.v1", key), Record(name, value, Source(0, 7, 0))
    made = letters.letter("transactions.v1", record, "DECODE_FAILED", "no payment", keep_payload=keep_payload)
    assert (made.topic, made.key) == ("transactions.dead.v1", b"0:7")
    assert len(made.value) <= LETTER_BYTES_MAX
    found = WIRE.decode_dead_letter(made.value)
    assert isinstance(found, DeadLetter)
    return found


def test_a_dead_letter_opens_with_its_key_and_place_only() -> None:
    found = letter(b"secret rubbish")
    assert b"secret" not in found.payload
    assert CUSTOMER not in found.payload
    assert found.key_id == KEY.key_id
    assert KEY.open(found.payload, Source(0, 7, 0)) == (CUSTOMER, b"secret rubbish")
    with pytest.raises(KeyRefused):
        KEY.open(found.payload, Source(0, 8, 0))
    with pytest.raises(KeyRefused):
        DeadLetterKey(bytes(32)).open(found.payload, Source(0, 7, 0))


@pytest.mark.parametrize(
    "found",
    [
        letter(b"secret", key=None),
        letter(b"secret", keep_payload=False),
        letter(b"secret" * 200_000),
        letter(b"secret", name=b"k" * 1_200_000),
    ],
    ids=["no key", "held elsewhere", "over the size limit", "with a key over the size limit"],
)
def test_a_dead_letter_without_its_payload_says_how_long_it_was(found: DeadLetter) -> None:
    assert (found.payload, found.key_id, found.payload_length % 6) == (b"", "", 0)
    assert found.payload_length > 0


def test_a_dead_letter_of_a_record_that_nobody_can_unpack_says_nothing_of_its_payload() -> None:
    found = letter(UNREADABLE)
    assert (found.payload, found.key_id, found.payload_length) == (b"", "", 0)
