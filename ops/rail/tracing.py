"""The rail's own spans: it goes on in the trace that its caller's header names, as a rail that traces would."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from pipeline.domain.log import TRACE_HEADER
from pipeline.io.settings import Settings
from pipeline.traces.context import parsed
from pipeline.traces.span import EndedSpan, Kind
from pipeline.traces.tracer_service import child_of, tracer_of

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def trace(application: web.Application, endpoint: str) -> None:
    """Have an application record what it is asked in traces that are sampled. endpoint: the collector's."""
    tracer = tracer_of(Settings(otlp_endpoint=endpoint), "rail")

    @web.middleware
    async def traced(request: web.Request, handler: Handler) -> web.StreamResponse:
        header = request.headers.get(TRACE_HEADER)
        parent = parsed(None if header is None else header.encode("latin-1", errors="replace"))
        if parent is None or not parent.is_sampled:
            return await handler(request)
        started_ns, status, error = time.time_ns(), 500, None
        try:
            reply = await handler(request)
            status = reply.status
            return reply
        except web.HTTPException as refusal:
            status, error = refusal.status, str(refusal.status)
            raise
        finally:
            told: dict[str, str | int] = {
                "http.request.method": request.method,
                "url.path": request.path,
                "http.response.status_code": status,
            }
            name, context, times_ns = f"{request.method} {request.path}", child_of(parent), (started_ns, time.time_ns())
            tracer.emit([EndedSpan(name, Kind.SERVER, context, parent.span_id, *times_ns, told, (), error)])

    async def close(_application: web.Application) -> None:
        tracer.close()

    application.middlewares.append(traced)
    application.on_cleanup.append(close)
