"""Contexts of traces: what a header gives, which anybody may have written, and what follows from a decision's id."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.traces.context import (
    HEADER_BYTES_MAX,
    TraceContext,
    is_passed_on_as_it_is,
    parsed,
    trace_id_of_decision,
    trace_id_of_place,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{SPAN}-01".encode()
hexadecimal = st.text("0123456789abcdef", min_size=32, max_size=32)


def test_a_context_is_read_as_the_recommendation_writes_it() -> None:
    assert TraceContext(TRACE, SPAN, True) == parsed(HEADER)
    assert TraceContext(TRACE, SPAN, False) == parsed(HEADER[:-2] + b"00")
    assert TraceContext(TRACE, SPAN, True) == parsed(HEADER[:-2] + b"03")  # the second bit says that ids are random
    assert TraceContext(TRACE, SPAN, False) == parsed(HEADER[:-2] + b"fe")


@pytest.mark.parametrize("version", [b"01", b"cc", b"fe"])
def test_a_later_version_is_read_as_far_as_it_is_known(version: bytes) -> None:
    assert TraceContext(TRACE, SPAN, True) == parsed(version + HEADER[2:])
    assert TraceContext(TRACE, SPAN, True) == parsed(version + HEADER[2:] + b"-what-the-future-will-be-like")


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"00",
        b"ff" + HEADER[2:],
        HEADER.upper(),
        HEADER + b"-more",  # version 00 has no more
        HEADER + b" ",
        b" " + HEADER,
        HEADER + b"\n",
        b"cc" + HEADER[2:] + b".more",
        HEADER.replace(b"-", b"_"),
        HEADER.replace(TRACE.encode(), b"0" * 32),
        HEADER.replace(SPAN.encode(), b"0" * 16),
        HEADER.replace(b"4bf", b"4bg"),
        HEADER[:-1],
        HEADER[:-2] + b"0x",
        b"cc" + HEADER[2:] + b"-" + b"x" * HEADER_BYTES_MAX,
        b"x" * 1_000_000,
        b"\xff\xfe" * 27 + b"\xff",
        "００-".encode() + HEADER[3:],  # digits, but not ours
    ],
)
def test_what_is_not_exactly_so_is_no_context(header: bytes | None) -> None:
    assert parsed(header) is None
    assert header is None or not is_passed_on_as_it_is(header)


@given(st.binary(max_size=300))
def test_1_no_bytes_raise(header: bytes) -> None:
    context = parsed(header)
    assert context is None or re.fullmatch("[0-9a-f]{32}", context.trace_id)


@given(hexadecimal, hexadecimal, st.booleans())
def test_a_context_s_header_is_read_as_the_context(trace: str, span: str, is_sampled: bool) -> None:
    context = TraceContext(trace, span[:16], is_sampled)
    expected = None if set(trace) == {"0"} or set(span[:16]) == {"0"} else context
    assert expected == parsed(context.header)
    assert is_passed_on_as_it_is(context.header) == (expected is not None and not is_sampled)


def test_only_what_asks_for_nothing_goes_on_as_it_is() -> None:
    assert is_passed_on_as_it_is(HEADER[:-2] + b"00")
    for other in (HEADER, HEADER[:-2] + b"02", b"01" + HEADER[2:-2] + b"00", HEADER[:-2] + b"00\n"):
        assert not is_passed_on_as_it_is(other)


def test_3_trace_of_a_decision_is_its_id_s_own_digits() -> None:
    assert "8f0c9a3e1f1b5c529d7e6c1a5f0e2b47" == trace_id_of_decision("8f0c9a3e-1f1b-5c52-9d7e-6c1a5f0e2b47")


def test_traces_of_places_are_told_apart_and_never_change() -> None:
    places = [("t", 1, 23), ("t", 12, 3), ("t1", 1, 23), ("t", 1, 24)]
    assert len(places) == len({trace_id_of_place(*place) for place in places})
    assert "b8a43b5fe625d7fa5810de55a9df45c0" == trace_id_of_place("transactions.v1", 3, 42)
