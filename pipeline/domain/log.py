"""Records of a topic as values: where one stands, what it holds, and what is about to be written.

Records are NamedTuples. What only the compiled hot path makes, anew for each payment, is a class with an __init__ of
its own: mypyc makes one natively, where a NamedTuple, or the __init__ that a dataclass generates, takes a Python call.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

ContentT = TypeVar("ContentT")


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


class Outgoing(NamedTuple):
    topic: str
    key: bytes | None
    value: bytes


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
