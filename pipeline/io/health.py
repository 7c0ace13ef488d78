"""The pages of a service (/live, /ready and /metrics), which say whether its loop turns and why it isn't ready.

The worker serves the same pages in the same shape from its own event loop.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from pipeline.io.metrics.exposition import exposition, tell_readiness


class PortUnavailable(Exception):
    """The pages can't be served at the address that they should have."""

    def __init__(self, host: str, port: int, setting: str, why: str | None) -> None:
        super().__init__(f"{host}:{port}, for the health pages, can't be had ({why})")
        self.setting = setting


class Health:
    """The health of a service. Only its loop updates it, so a loop that stands still can't look alive."""

    def __init__(self, standstill_s: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        """Start the clock of the first turn. standstill_s: a turn of the loop that takes longer stands still."""
        self._standstill_s, self._clock_s = standstill_s, clock_s
        self._turned_at_s = clock_s()
        self._unready: str | None = "it has only just been started"

    def turn(self) -> None:
        """Record that a turn begins; every turn calls this first."""
        self._turned_at_s = self._clock_s()

    def tell(self, unready: str | None) -> None:
        """Record after a turn why the service isn't ready, or None."""
        self._unready = unready

    def not_live(self) -> str | None:
        stood_s = self._clock_s() - self._turned_at_s
        if stood_s <= self._standstill_s:
            return None
        return f"its loop has stood still for {stood_s:.0f} s"

    def not_ready(self) -> str | None:
        return self.not_live() or self._unready


class Page(NamedTuple):
    status: int
    body: dict[str, object]


def state_page(word: str, why_not: str | None) -> Page:
    """Return the answer of /live or /ready, which every process gives alike: `{"live": true, "why": null}`."""
    return Page(200 if why_not is None else 503, {word: why_not is None, "why": why_not})


@contextmanager
def health_pages(host: str, port: int, setting: str, health: Health) -> Iterator[int]:
    """Serve the pages from a thread for as long as the block runs; yield the port, a free one where 0 is asked for.

    setting: the setting that names the port. Raises PortUnavailable.
    """

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path:
                case "/live":
                    self._answer_state(state_page("live", health.not_live()))
                case "/ready":
                    self._answer_state(state_page("ready", health.not_ready()))
                case "/metrics":
                    self._answer(200, *exposition(self.headers.get("Accept")))
                case _:
                    self._answer(404, "text/plain", b"not found")

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing: a request is not worth a line of the log."""

        def _answer_state(self, page: Page) -> None:
            self._answer(page.status, "application/json", json.dumps(page.body).encode())

        def _answer(self, code: int, content_type: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    try:
        server = ThreadingHTTPServer((host, port), Pages)
    except OSError as error:
        raise PortUnavailable(host, port, setting, error.strerror) from error
    tell_readiness(health.not_ready)
    with server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
