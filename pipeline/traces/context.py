"""The trace that a record belongs to, as the header `traceparent` of W3C Trace Context says it, or as its ids do.

Invariants
1. A header that is not exactly as the recommendation writes it is no context. It is never repaired, and nothing raises.
2. What is passed on says SAMPLED only where this process recorded a span under that very id.
3. The trace of a decision without a header follows from the decision's id: the same in every process, for ever.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

HEADER_BYTES_MAX: Final = 256
"""Longest header that is looked at. Version 00 has 55 bytes; a later one may say more behind them."""
_FORM: Final = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_UNSAMPLED: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00")
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16
_SAMPLED_BIT: Final = 1
_PLACE: Final = b"fraud-trace-of-a-place-v1"


class TraceContext(NamedTuple):
    """A span of a trace, as others refer to it. Both ids are in lower-case hexadecimal, 32 and 16 digits."""

    trace_id: str
    span_id: str
    is_sampled: bool

    @property
    def header(self) -> bytes:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.is_sampled else '00'}".encode()


def parsed(header: bytes | None) -> TraceContext | None:
    """Return the context that a header gives; None where there is none, or where it is not as it must be."""
    if header is None or len(header) > HEADER_BYTES_MAX:
        return None
    found = _FORM.fullmatch(header)
    if found is None:
        return None
    version, trace_id, span_id, flags, further = found.groups()
    if version == b"ff" or (version == b"00" and further is not None) or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceContext(trace_id.decode(), span_id.decode(), bool(int(flags, 16) & _SAMPLED_BIT))


def is_passed_on_as_it_is(header: bytes) -> bool:
    """Return whether a header is a context that asks for nothing, in the form in which we write it ourselves.

    Most are where publishers trace: looking so takes a third of a microsecond.
    """
    return _UNSAMPLED.fullmatch(header) is not None


def trace_id_of_decision(decision_id: str) -> str:
    """Return the id of the trace of a decision whose record bears no header: the 16 bytes of its own id."""
    return decision_id.replace("-", "")


def trace_id_of_place(topic: str, partition: int, offset: int) -> str:
    """Return the id of the trace of a record that became no decision and bears no header."""
    named = b"\0".join((_PLACE, topic.encode(), b"%d" % partition, b"%d" % offset))
    return hashlib.sha256(named).hexdigest()[:32]
