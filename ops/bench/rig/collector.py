"""A collector of spans: what OpenTelemetry's would be, for a bench or a test, on loopback. It may misbehave."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from ops.processes.servers import LOOPBACK

TRACES_PATH = "/v1/traces"


class Received(NamedTuple):
    """A span as it was received, its ids in hexadecimal; error: the status's message, None where it is no error."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    started_ns: int
    ended_ns: int
    attributes: dict[str, str | int]
    links: tuple[tuple[str, str], ...]  # trace and span
    error: str | None


class Collector:
    """Takes OTLP over HTTP. `status`: what it answers; `is_open`: unset, it answers nobody until it is set."""

    def __init__(self) -> None:
        self.status = 200
        self.is_open = threading.Event()
        self.is_open.set()
        self.requests = 0
        self.headers: dict[str, str] = {}  # of the last request
        self.address = ""
        self._spans: list[Received] = []
        self._lock = threading.Lock()

    @property
    def spans(self) -> list[Received]:
        with self._lock:
            return list(self._spans)

    def of_trace(self, trace_id: str) -> list[Received]:
        """Return what was received of a trace, in the order in which the spans began."""
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.started_ns)

    def take(self, body: bytes, headers: dict[str, str]) -> int:
        with self._lock:
            self.requests += 1
            self.headers = headers
            if self.status == 200:
                self._spans += _received(body)
        return self.status


def _received(body: bytes) -> Iterator[Received]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        named = {each.key: each.value.string_value for each in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield _span(named["service.name"], span)


def _span(service: str, span: Span) -> Received:
    attributes: dict[str, str | int] = {}
    for each in span.attributes:
        value = each.value
        attributes[each.key] = value.string_value if value.HasField("string_value") else value.int_value
    return Received(
        service,
        span.name,
        Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        attributes,
        tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
        span.status.message if span.status.code == Status.STATUS_CODE_ERROR else None,
    )


@contextmanager
def running_collector() -> Iterator[Collector]:
    collector = Collector()

    class Pages(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.is_open.wait()
            headers = {name.lower(): value for name, value in self.headers.items()}
            if headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            self.send_response(404 if self.path != TRACES_PATH else collector.take(body, headers))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer((LOOPBACK, 0), Pages) as server:
        server.daemon_threads = True
        collector.address = f"http://{LOOPBACK}:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, name="collector", daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            collector.is_open.set()
            server.shutdown()
            thread.join()
