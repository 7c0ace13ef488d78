"""The span that this thread or task is working in, for log lines, exemplars, and the calls that it makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple

from structlog.contextvars import bound_contextvars

from pipeline.traces.context import TraceContext


class Scope(NamedTuple):
    """links: what a call made in it is about, besides what the scope's own span is about."""

    context: TraceContext
    links: tuple[TraceContext, ...] = ()


_SCOPE: Final[ContextVar[Scope | None]] = ContextVar("fraud_trace_scope", default=None)


def current_scope() -> Scope | None:
    return _SCOPE.get()


def current_trace_id() -> str | None:
    """Return the trace of what is being done, for an exemplar; None where it isn't recorded."""
    scope = _SCOPE.get()
    return scope.context.trace_id if scope is not None and scope.context.is_sampled else None


@contextmanager
def within(scope: Scope | None) -> Iterator[None]:
    """Work in a scope: every line that is logged bears its trace and span. None: in no scope at all."""
    token = _SCOPE.set(scope)
    try:
        if scope is None:
            yield
        else:
            with bound_contextvars(trace_id=scope.context.trace_id, span_id=scope.context.span_id):
                yield
    finally:
        _SCOPE.reset(token)
