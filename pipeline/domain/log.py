"""Records of a topic as values: where one stands, what it holds, and what is about to be written.

Records are NamedTuples. What only the compiled hot path makes, anew for each payment, is a class with an __init__ of
its own: mypyc makes one natively, where a NamedTuple, or the __init__ that a dataclass generates, takes a Python call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

ContentT = TypeVar("ContentT")


UNREADABLE: Final = bytes.fromhex("756e7265616461626c65")
"""The value of a record that can't be unpacked, known by its identity: whoever publishes these bytes has others. A call
makes it, because compiled modules have a literal each."""


class TopicPartition(NamedTuple):
    topic: str
    partition: int


class Source(NamedTuple):
    """The place of a record in the log."""

    partition: int
    offset: int
    timestamp_ms: int


class Record(NamedTuple):
    key: bytes | None
    value: bytes | None
    source: Source


class Span(NamedTuple):
    """A partition's share of a batch: [start_offset, end_offset); all below committed_offset is committed."""

    partition: int
    start_offset: int
    end_offset: int
    committed_offset: int


BY_KEY: Final = -1
"""Stands for the partition that the producer's partitioner chooses."""

Header = tuple[str, str | bytes | None]
SEAL_HEADER: Final = "seal"
"""Name of the header that proves who wrote a record (pipeline.seals)."""
TRACE_HEADER: Final = "traceparent"
"""Name of the header that says which trace a record belongs to (pipeline.traces)."""
SCHEMA_HEADER: Final = "__value_schema_id"
"""Name of the header that says what schema a value is written in, as Confluent's serializers write it."""


class Outgoing(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes
    partition: int = BY_KEY
    headers: list[Header] | None = None


def outgoing(
    topic: str, key: bytes | None, value: bytes, partition: int = BY_KEY, headers: list[Header] | None = None
) -> Outgoing:
    """`Outgoing(...)` for the compiled hot path: a NamedTuple's own constructor is a Python function."""
    return tuple.__new__(Outgoing, (topic, key, value, partition, headers))


class Presented(NamedTuple):
    """A record with all that says who wrote it.

    is_stamped: whether timestamp_ms is of the broker's own clock, which no writer sets. seal: the header of that name.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    is_stamped: bool
    key: bytes | None
    value: bytes
    seal: bytes | None


class Unproved(NamedTuple):
    """A record of which it isn't proved who wrote it, and why. key_id: the key that its seal names, if any."""

    partition: int
    offset: int
    value: bytes
    why: str
    key_id: str | None


Prove = Callable[[Presented], Unproved | None]
"""Says what is wrong with a record's seal; None where it is proved who wrote it."""


class RecordUndecodable(Exception):
    """A record that no writer of ours wrote. Who reads it ends: passing over it would leave a hole in what it keeps."""


class LogRecord(NamedTuple, Generic[ContentT]):
    """A record as the services read it; `content` is what the codec made of `value`, None where it was not asked."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes
    value: bytes  # as it stands on the topic, framing included
    content: ContentT
    traceparent: bytes | None = None  # its header, as anybody may have written it; None where nothing is traced
