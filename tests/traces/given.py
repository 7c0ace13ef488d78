"""Spans kept in memory, and a tracer whose clock stands where a test puts it."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import REGISTRY

from pipeline.traces.context import TraceContext
from pipeline.traces.span import EndedSpan, Kind
from pipeline.traces.tracer_service import Tracer

UPSTREAM = TraceContext("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7", True)


class KeptSpans:
    def __init__(self) -> None:
        self.spans: list[EndedSpan] = []

    def offer(self, spans: Sequence[EndedSpan]) -> None:
        self.spans += spans

    def close(self) -> None: ...

    def named(self, name: str) -> list[EndedSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> EndedSpan:
        [span] = self.named(name)
        return span


def tracer(kept: KeptSpans | None, *, at_s: float = 0.0, **limits: float) -> Tracer:
    """limits: share, notable_per_s, upstream_per_s, continued_per_s; 0 where they are not given."""
    return Tracer(kept, clock_s=lambda: at_s, **limits)  # type: ignore[arg-type]


def span(number: int = 0, *, links: tuple[TraceContext, ...] = (), error: str | None = None) -> EndedSpan:
    context = TraceContext(f"{number + 1:032x}", f"{number + 1:016x}", True)
    return EndedSpan("decide t", Kind.CONSUMER, context, "00f067aa0ba902b7", 5, 7, {"a": "b", "c": 3}, links, error)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0
