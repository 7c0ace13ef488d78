"""The pages of a service: /live, /ready and /metrics, as the worker has them, for services without an event loop."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest


@contextmanager
def health_pages(host: str, port: int, is_ready: Callable[[], bool]) -> Iterator[int]:
    """Served from a thread for as long as the block runs; yields the port, chosen where 0 is asked for. OSError."""

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            match self.path:
                case "/live":
                    self._answer(200, "application/json", b'{"live": true}')
                case "/ready":
                    ready = is_ready()
                    self._answer(200 if ready else 503, "application/json", json.dumps({"ready": ready}).encode())
                case "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest())
                case _:
                    self._answer(404, "text/plain", b"not found")

        def log_message(self, format: str, *args: object) -> None:
            """Requests are no events of ours."""

        def _answer(self, code: int, content_type: str, body: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with ThreadingHTTPServer((host, port), Pages) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, name="health", daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
