"""Whether a collector takes what is sent to it, as `fraud config check` asks."""

from __future__ import annotations

from urllib.parse import urlsplit

from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure

SETTINGS = "FRAUD_OTLP_ENDPOINT, FRAUD_OTLP_HEADERS and FRAUD_OTLP_AUTHORITY_FILE"


def collector_answer(settings: Settings) -> str:
    """Send the collector a request without spans, and say in words that it took it. Raises Failure."""
    from opentelemetry.sdk.trace.export import SpanExportResult

    from pipeline.traces.otlp_client import SpanExporter, otlp_exporter

    assert settings.otlp_endpoint is not None, "tracing is on"
    try:
        _ = urlsplit(settings.otlp_endpoint).port
    except ValueError as error:
        what = f"FRAUD_OTLP_ENDPOINT is no address: {error}."
        raise Failure(what, "Write it as https://HOST:PORT.") from error
    try:
        exporter: SpanExporter = otlp_exporter(settings)
        is_taken = exporter.export([]) is SpanExportResult.SUCCESS
        exporter.shutdown()
    except OSError as error:
        what = f"The authority of the collector's certificate can't be read: {error.strerror or error}."
        raise Failure(what, "Set FRAUD_OTLP_AUTHORITY_FILE to a PEM file.") from error
    if not is_taken:
        what = f"The collector at {settings.otlp_endpoint} takes no spans, so traces would be lost."
        raise Failure(what, f"Look at it, and at {SETTINGS}; payments are decided all the same.")
    return "takes spans"
