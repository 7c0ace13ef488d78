"""A dead letter keeps what could not be used, encrypted, and says in the clear only why and where it stood."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.domain.log import Record, Source
from pipeline.io.avro.wire import WireFormat
from pipeline.io.dead_letters import DeadLetters
from pipeline.io.sealing import DeadLetterKey, KeyRefused

WIRE = WireFormat()
KEY = DeadLetterKey(bytes(range(32)))
CUSTOMER = b"GB29-0001"


def letter(value: bytes, *, key: DeadLetterKey | None = KEY, keep_payload: bool = True) -> dict[str, Any]:
    letters, record = DeadLetters(WIRE, "transactions.dead.v1", key), Record(CUSTOMER, value, Source(0, 7, 0))
    made = letters.letter("transactions.v1", record, "DECODE_FAILED", "no payment", keep_payload=keep_payload)
    assert (made.topic, made.key) == ("transactions.dead.v1", b"0:7")
    fields = WIRE.decode("dead_letter.v1", made.value)
    assert isinstance(fields, dict)
    return fields


def test_a_dead_letter_opens_with_its_key_and_place_only() -> None:
    fields = letter(b"secret rubbish")
    assert b"secret" not in fields["payload"]
    assert CUSTOMER not in fields["payload"]
    assert fields["key_id"] == KEY.key_id
    assert KEY.open(fields["payload"], Source(0, 7, 0)) == (CUSTOMER, b"secret rubbish")
    with pytest.raises(KeyRefused):
        KEY.open(fields["payload"], Source(0, 8, 0))
    with pytest.raises(KeyRefused):
        DeadLetterKey(bytes(32)).open(fields["payload"], Source(0, 7, 0))


@pytest.mark.parametrize(
    "fields",
    [letter(b"secret", key=None), letter(b"secret", keep_payload=False), letter(b"secret" * 200_000)],
    ids=["no key", "held elsewhere", "over the size limit"],
)
def test_a_dead_letter_without_its_payload_says_how_long_it_was(fields: dict[str, Any]) -> None:
    assert (fields["payload"], fields["key_id"], fields["payload_length"] % 6) == (b"", "", 0)
    assert fields["payload_length"] > 0
