"""Dead letters: records that could not be used, each with its reason, and the record itself encrypted."""

from __future__ import annotations

import hashlib

from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.log import UNREADABLE, Outgoing, Record
from pipeline.domain.refusals import RECORD_BYTES_MAX
from pipeline.io.avro.wire import WireFormat
from pipeline.io.sealing import DeadLetterKey


class DeadLetters:
    def __init__(self, wire: WireFormat, topic: str, key: DeadLetterKey | None) -> None:
        """Keep what to write with. Without a key, letters carry only the hash of their payload."""
        self._wire, self._topic, self._key = wire, topic, key

    def letter(
        self, source_topic: str, record: Record, code: str, detail: str, *, keep_payload: bool = True
    ) -> Outgoing:
        """Make the letter of a record.

        It is keyed by the record's position, because the record's own key may be what is wrong, or may name a customer.
        """
        value, source = b"" if record.value is UNREADABLE else record.value or b"", record.source
        is_kept = keep_payload and record.value is not UNREADABLE
        is_small = len(record.key or b"") + len(value) <= RECORD_BYTES_MAX  # a key may be as long as a value
        key = self._key if is_kept and is_small else None
        letter = DeadLetter(
            code,
            detail,
            source_topic,
            *source,
            payload_sha256=hashlib.sha256(value).digest(),
            payload_length=len(value),
            key_id="" if key is None else key.key_id,
            payload=b"" if key is None else key.seal(record.key, record.value, source),
        )
        place = f"{source.partition}:{source.offset}".encode()
        return Outgoing(self._topic, place, self._wire.encode(letter))
