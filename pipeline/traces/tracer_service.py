"""A process's tracing: what is sampled within its limits, the ids of its spans, and where they go.

Invariants
1. Without an endpoint nothing is recorded, read from a header or written into one.
2. No caller waits, and none fails, for tracing's sake.
3. A caller from outside can make at most so many traces a second be recorded, whatever its headers ask for.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from pipeline.domain.log import TRACE_HEADER
from pipeline.io.metrics.exemplars import trace_with
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure
from pipeline.traces.context import TraceContext
from pipeline.traces.current_service import Scope, current_scope, current_trace_id, within
from pipeline.traces.metrics import TRACED, UNTRACED
from pipeline.traces.sampling import Allowance
from pipeline.traces.span import LINKS_MAX, Attributes, EndedSpan, Kind


class Why(StrEnum):
    """Why something is traced; those with a limit a second are counted where that is reached."""

    SHARE = "share"  # the share of all payments, by the head of the trace
    UPSTREAM = "upstream"  # a publisher asks for it
    CONTINUED = "continued"  # a record of our own topics that another process of ours traces
    NOTABLE = "notable"  # BLOCK, ESCALATE or an error


class Spans(Protocol):
    """Takes spans that have ended, without a wait."""

    def offer(self, spans: Sequence[EndedSpan]) -> None: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Call:
    """A request to somebody else, while it is under way; `attributes` are for its span."""

    headers: Mapping[str, str]
    attributes: dict[str, str | int] = field(default_factory=dict)


class Tracer:
    """Safe for several threads, but for the limits, which each belong to one."""

    def __init__(
        self,
        spans: Spans | None,
        *,
        share: float = 0.0,
        notable_per_s: int = 0,
        upstream_per_s: int = 0,
        continued_per_s: int = 0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """spans: None where nothing is traced."""
        self._spans, self.share, self._clock_s = spans, share if spans is not None else 0.0, clock_s
        self._limits = {
            Why.NOTABLE: Allowance(notable_per_s),
            Why.UPSTREAM: Allowance(upstream_per_s),
            Why.CONTINUED: Allowance(continued_per_s),
        }
        self._traced = {why: TRACED.labels(why) for why in Why}
        self._limited = {why: UNTRACED.labels(why) for why in self._limits}

    @property
    def is_on(self) -> bool:
        return self._spans is not None

    def may(self, why: Why) -> bool:
        """Return whether one more may be traced for this reason, and count it either way."""
        if not self.is_on:
            return False
        limit = self._limits.get(why)
        if limit is not None and not limit.take(self._clock_s()):
            self._limited[why].inc()
            return False
        self._traced[why].inc()
        return True

    def pass_over(self, why: Why, count: int) -> None:
        """Count what is not traced because only so much is looked up at once."""
        if self.is_on:
            self._limited[why].inc(count)

    def begins(self) -> bool:
        """Return whether a trace that begins here is among the share."""
        return self.share > 0 and random.random() < self.share and self.may(Why.SHARE)  # noqa: S311 - no secret

    def emit(self, spans: Sequence[EndedSpan]) -> None:
        if self._spans is not None:
            self._spans.offer(spans)

    def close(self) -> None:
        """Export what waits, for a few seconds at most."""
        if self._spans is not None:
            self._spans.close()

    @contextmanager
    def call(self, method: str, path: str, host: str, port: int) -> Iterator[Call]:
        """Make an HTTP request in the current scope, with headers that say so, and a span where that is sampled.

        path: without anything that differs from one payment to the next.
        """
        scope = current_scope()
        if scope is None or not self.is_on:
            yield Call({})
            return
        if not scope.context.is_sampled:
            yield Call({TRACE_HEADER: scope.context.header.decode()})
            return
        context, started_ns, error = child_of(scope.context), time.time_ns(), None
        where: dict[str, str | int] = {"server.address": host, "server.port": port}
        call = Call({TRACE_HEADER: context.header.decode()}, {"http.request.method": method, "url.path": path, **where})
        try:
            with within(Scope(context)):
                yield call
        except Exception as raised:
            error = type(raised).__name__
            raise
        finally:
            attributes: Attributes = call.attributes if error is None else {**call.attributes, "error.type": error}
            times_ns = started_ns, time.time_ns()
            parent_id, links = scope.context.span_id, scope.links[:LINKS_MAX]
            self.emit(
                [EndedSpan(f"{method} {path}", Kind.CLIENT, context, parent_id, *times_ns, attributes, links, error)]
            )


def tracer_of(settings: Settings, service: str) -> Tracer:
    """Return the tracer of a process, and have the exemplars of its metrics name the trace that they belong to.

    service: names the process in every span. Raises Failure for an unreadable file.
    """
    if settings.otlp_endpoint is None:
        return Tracer(None)
    from pipeline.traces.otlp_client import client_of  # OpenTelemetry takes 0.2 s to import

    try:
        spans = client_of(settings, service)
    except OSError as error:
        what = f"The authority of the collector's certificate can't be read: {error.strerror or error}."
        raise Failure(what, "Set FRAUD_OTLP_AUTHORITY_FILE to a PEM file that this process may read.") from error
    trace_with(current_trace_id)
    return Tracer(
        spans,
        share=settings.trace_share,
        notable_per_s=settings.trace_notable_per_s,
        upstream_per_s=settings.trace_upstream_per_s,
        continued_per_s=settings.trace_continued_per_s,
    )


def new_trace() -> TraceContext:
    return TraceContext(secrets.token_hex(16), secrets.token_hex(8), True)


def span_in(trace_id: str) -> TraceContext:
    return TraceContext(trace_id, secrets.token_hex(8), True)


def child_of(parent: TraceContext) -> TraceContext:
    return span_in(parent.trace_id)
