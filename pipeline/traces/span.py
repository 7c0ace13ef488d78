"""Spans that have ended, as values, in the words of OpenTelemetry's conventions for messaging (1.44) and HTTP.

A span is made once what it tells of is over, so nothing is held open, and a payment that is not traced costs none.
No attribute holds a customer, an account, an amount or a text of anybody's (I10).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from pipeline.traces.context import TraceContext

LINKS_MAX: Final = 128
"""Most links of a span, which is OpenTelemetry's own limit."""

Attributes = Mapping[str, str | int]


class Kind(StrEnum):
    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class Operation(StrEnum):
    """Types of messaging operations."""

    SEND = "send"
    PROCESS = "process"


class EndedSpan(NamedTuple):
    """Times are nanoseconds since 1970. parent_id: None for the first of its trace. error: its kind, no text."""

    name: str
    kind: Kind
    context: TraceContext
    parent_id: str | None
    started_ns: int
    ended_ns: int
    attributes: Attributes
    links: tuple[TraceContext, ...] = ()
    error: str | None = None


def messaging(operation: str, kind: Operation, topic: str, group: str | None = None) -> dict[str, str | int]:
    """Return the attributes of whatever is done with records of a topic; group: of a consumer."""
    attributes: dict[str, str | int] = {
        "messaging.system": "kafka",
        "messaging.operation.name": operation,
        "messaging.operation.type": kind.value,
        "messaging.destination.name": topic,
    }
    if group is not None:
        attributes["messaging.consumer.group.name"] = group
    return attributes


def place(partition: int, offset: int) -> dict[str, str | int]:
    """Return the attributes of one record's place."""
    return {"messaging.destination.partition.id": str(partition), "messaging.kafka.offset": offset}


def batch_span(
    operation: str,
    attributes: Attributes,
    records: int,
    context: TraceContext,
    links: tuple[TraceContext, ...],
    times_ns: tuple[int, int],
    error: str | None = None,
) -> EndedSpan:
    """Return the span of a batch, which links what is traced of it, and is nobody's child.

    attributes: as `messaging` gives them. times_ns: its beginning and end.
    """
    name = f"{operation} {attributes['messaging.destination.name']}"
    counted = {**attributes, "messaging.batch.message_count": records}
    return EndedSpan(name, Kind.CONSUMER, context, None, *times_ns, counted, links[:LINKS_MAX], error)
