"""The batches of the decision worker, as its log hands them over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from confluent_kafka import Message

from pipeline.domain.log import Record, Source, Span
from pipeline.io.kafka.client import record_of, traceparent_of


@dataclass(frozen=True, slots=True)
class Batch:
    """traceparents: the headers that say which traces records belong to, as publishers wrote them, where they did."""

    records: Sequence[Record]  # in log order within each partition
    spans: Sequence[Span]  # in the order of their partitions
    epoch: int
    traceparents: Mapping[Source, bytes] = field(default_factory=dict)


def records_of(messages: Sequence[Message], *, is_traced: bool) -> tuple[list[Record], dict[Source, bytes]]:
    """Return the messages that are no errors as records, and the headers about traces, where those are wanted."""
    records: list[Record] = []
    traceparents: dict[Source, bytes] = {}
    for message in messages:
        if message.error() is None:
            record = record_of(message)
            records.append(record)
            if is_traced:
                if (header := traceparent_of(message)) is not None:
                    traceparents[record.source] = header
                message.set_headers([])  # of a record of 1 MB they may take tens of MB once read
    return records, traceparents
