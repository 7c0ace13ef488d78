"""Dead letters as values: what could not be decided or used, and why."""

from __future__ import annotations

from typing import NamedTuple

from pipeline.domain.log import Source


class DeadLetter(NamedTuple):
    """A record that could not be decided, duplicates included; fields in the order of `schemas/dead_letter.v1.avsc`.

    Nothing of the record stands here in the clear (I10). `code` is a RefusalCode's, or DUPLICATE.
    """

    code: str
    detail: str
    source_topic: str
    source_partition: int
    source_offset: int
    source_timestamp_ms: int
    payload_sha256: bytes
    payload_length: int
    key_id: str  # of the key that sealed the payload; empty where none was kept
    payload: bytes  # the record's key and value, sealed; empty where none was kept

    @property
    def source(self) -> Source:
        """The place of the record on `source_topic`."""
        return Source(self.source_partition, self.source_offset, self.source_timestamp_ms)
