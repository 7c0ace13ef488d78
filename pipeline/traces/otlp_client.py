"""Export of spans by OTLP over HTTP, from a thread of its own behind a bounded queue.

Invariants
1. Whoever offers spans never waits: what the queue has no room for is dropped.
2. Every span that is offered is counted once: exported, dropped for the queue, dropped by a failing collector, or left
   when the process ended.

The SDK's batch processor tells its drops to an OpenTelemetry meter alone, of which there is none here, and counts what
a collector refuses as done (opentelemetry-python's issue 3152). Its exporter and encoding are used as they are.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from collections.abc import Sequence
from typing import Final, Protocol

import requests
import structlog
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from pipeline import __version__
from pipeline.io.settings import Settings
from pipeline.traces.context import TraceContext
from pipeline.traces.metrics import SPANS
from pipeline.traces.span import EndedSpan

TRACES_PATH: Final = "/v1/traces"
SPANS_A_REQUEST: Final = 512
GATHER_S: Final = 0.5
"""Wait after the first span, so that a request carries many; a trace is seen that much later."""
CLOSING_S: Final = 3.0
"""Longest wait for what is queued when a process stops, well below the 25 s of a worker's stop."""

log = structlog.get_logger("traces")


class SpanExporter(Protocol):
    """The part of the SDK's exporters that is used; tests bring one that stands still."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult: ...

    def shutdown(self) -> None: ...


class OtlpClient:
    """`offer` may be called from any thread."""

    def __init__(self, exporter: SpanExporter, service: str, instance: str, queue_spans: int) -> None:
        """service, instance: which process this is, as its spans say it."""
        self._exporter = exporter
        named = {"service.name": service, "service.version": __version__, "service.instance.id": instance}
        self._resource = Resource({"service.namespace": "fraud", **named})
        self._scope = InstrumentationScope("fraud-decision-pipeline", __version__)
        self._queue: queue.Queue[EndedSpan | None] = queue.Queue(queue_spans)
        self._stopping = threading.Event()
        self._under_way = 0  # spans of the request that is; changes under `_counting`
        self._counting = threading.Lock()
        self._is_failing = False
        self._thread = threading.Thread(target=self._run, name="otlp-export", daemon=True)
        self._thread.start()

    def offer(self, spans: Sequence[EndedSpan]) -> None:
        if self._stopping.is_set():
            SPANS.labels("left").inc(len(spans))
            return
        for number, span in enumerate(spans):
            try:
                self._queue.put_nowait(span)
            except queue.Full:
                SPANS.labels("queue_full").inc(len(spans) - number)
                return

    def close(self) -> None:
        """Export what is queued, for up to CLOSING_S, and end."""
        self._stopping.set()
        with contextlib.suppress(queue.Full):  # which keeps the thread awake
            self._queue.put_nowait(None)  # wakes it
        self._thread.join(CLOSING_S)
        self._exporter.shutdown()  # which ends an attempt that waits to be tried again
        with self._counting:  # a request that is still under way is nobody's any more
            left, self._under_way = self._under_way + len(self._drained(self._queue.maxsize)), 0
        SPANS.labels("left").inc(left)

    def _run(self) -> None:
        while True:
            first = self._queue.get()
            if first is not None and self._queue.qsize() < SPANS_A_REQUEST:
                self._stopping.wait(GATHER_S)
            spans = [] if first is None else [first]
            spans += self._drained(SPANS_A_REQUEST - len(spans))
            if spans:
                self._export(spans)
            if self._stopping.is_set() and self._queue.empty():
                return

    def _drained(self, spans_max: int) -> list[EndedSpan]:
        found: list[EndedSpan] = []
        while len(found) < spans_max:
            try:
                span = self._queue.get_nowait()
            except queue.Empty:
                break
            if span is not None:
                found.append(span)
        return found

    def _export(self, spans: Sequence[EndedSpan]) -> None:
        why = "the collector refused or did not answer"
        with self._counting:
            self._under_way = len(spans)
        try:
            is_exported = self._exporter.export([self._readable(span) for span in spans]) is SpanExportResult.SUCCESS
        except Exception as error:  # the thread's outermost loop: a library's fault costs these spans and no more
            is_exported, why = False, type(error).__name__
        with self._counting:
            done, self._under_way = self._under_way, 0
        SPANS.labels("exported" if is_exported else "export_failed").inc(done)
        if is_exported is self._is_failing:  # told once each way
            self._is_failing = not is_exported
            if is_exported:
                log.info("traces_exported_again")
            else:
                log.warning("traces_not_exported", why=why)

    def _readable(self, span: EndedSpan) -> ReadableSpan:
        trace_id = span.context.trace_id
        parent = None if span.parent_id is None else _span_context(TraceContext(trace_id, span.parent_id, True))
        return ReadableSpan(
            span.name,
            _span_context(span.context),
            parent,
            self._resource,
            attributes=span.attributes,
            links=[Link(_span_context(link)) for link in span.links],
            kind=SpanKind[span.kind],
            status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error),
            start_time=span.started_ns,
            end_time=span.ended_ns,
            instrumentation_scope=self._scope,
        )


def _span_context(context: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if context.is_sampled else TraceFlags.DEFAULT)
    return SpanContext(int(context.trace_id, 16), int(context.span_id, 16), is_remote=False, trace_flags=flags)


def client_of(settings: Settings, service: str) -> OtlpClient:
    """Return a client for the endpoint of the settings. Raises OSError where a file of theirs can't be read."""
    assert settings.otlp_endpoint is not None, "tracing is on"
    # The exporter tells every attempt that fails; this client tells when that begins, and when it is over.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    exporter = otlp_exporter(settings)
    return OtlpClient(exporter, f"fraud-{service}", f"{service}-{settings.worker_slot}", settings.trace_queue_spans)


def otlp_exporter(settings: Settings) -> OTLPSpanExporter:
    """Make the SDK's exporter. No proxy of the environment stands between, and a redirection is a failure."""
    session = requests.Session()
    session.trust_env = False
    session.hooks["response"].append(_refuse_redirection)
    authority = settings.otlp_authority_file
    if authority is not None:
        authority.read_bytes()  # raises now, rather than with every export
    return OTLPSpanExporter(
        endpoint=traces_url(settings),
        headers=settings.otlp_headers,
        certificate_file=None if authority is None else str(authority),
        timeout=settings.otlp_timeout_s,
        compression=Compression.Gzip,
        session=session,
    )


def _refuse_redirection(response: requests.Response, *_: object, **__: object) -> None:
    """The exporter (1.45) takes a redirection that it does not follow for success, so spans would be lost unseen."""
    if 300 <= response.status_code < 400:
        response.close()
        raise requests.HTTPError(f"status {response.status_code}")


def traces_url(settings: Settings) -> str:
    assert settings.otlp_endpoint is not None, "tracing is on"
    return settings.otlp_endpoint.rstrip("/") + TRACES_PATH
