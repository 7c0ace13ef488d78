"""A server that answers as Vault's KV store, version 2, does by its HTTP API's documentation: paths, headers, codes.

No Vault binary can be had here, so this stands in for one in tests only; it misbehaves on request.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hvs.token-of-the-worker"


@dataclass
class Vault:
    """A server with secrets (fields by mount/path) that answers the next requests with `failures` (HTTP codes)."""

    secrets: dict[str, dict[str, object]] = field(default_factory=dict)
    failures: list[int] = field(default_factory=list)
    body: bytes | None = None  # instead of the right one
    namespace: str | None = None
    requests: int = 0
    address: str = ""

    def answer(self, path: str, token: str | None, namespace: str | None) -> tuple[int, bytes]:
        self.requests += 1
        if self.failures:
            return self.failures.pop(0), b'{"errors":["Vault is sealed"]}'
        if token != TOKEN or namespace != self.namespace:
            return 403, b'{"errors":["permission denied"]}'
        mount, _, rest = path.removeprefix("/v1/").partition("/data/")
        found = self.secrets.get(f"{mount}/{rest}")
        if found is None:
            return 404, b'{"errors":[]}'
        version = {"created_time": "2026-11-24T09:00:00Z", "deletion_time": "", "destroyed": False, "version": 3}
        wrapped = {"request_id": "4f4c7a9e", "lease_id": "", "data": {"data": found, "metadata": version}}
        return 200, json.dumps(wrapped).encode() if self.body is None else self.body


@contextmanager
def running_vault() -> Iterator[Vault]:
    vault = Vault()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = vault.answer(
                self.path, self.headers.get("X-Vault-Token"), self.headers.get("X-Vault-Namespace")
            )
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing, because a test's output is its own."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    vault.address = f"http://127.0.0.1:{server.server_port}/secret/fraud/worker"
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    try:
        yield vault
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
