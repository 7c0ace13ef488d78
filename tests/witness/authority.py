"""A small timestamp authority (RFC 3161) for tests: OpenSSL's, over HTTP on loopback."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

CONFIGURATION = """
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[stamper]
extendedKeyUsage = critical, timeStamping
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[tsa]
default_tsa = authority
[authority]
serial = {folder}/serial
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256, sha512
ess_cert_id_alg = sha256
"""


class TimestampAuthority:
    """root: the certificate that its answers lead to. `is_silent` and `spoils` make it fail."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        (folder / "openssl.cnf").write_text(CONFIGURATION.format(folder=folder))
        (folder / "serial").write_text("01\n")
        self.root = self._certificate("root", None)
        self._stamper = self._certificate("stamper", "root")
        self.is_silent = self.spoils = False
        self.asked = 0
        self.url = ""

    def answer(self, request: bytes) -> bytes:
        self.asked += 1
        (self._folder / "request").write_bytes(request)
        self._openssl(
            *("ts", "-reply", "-queryfile", "request", "-out", "answer", "-config", "openssl.cnf"),
            *("-signer", "stamper.pem", "-inkey", "stamper.key"),
        )
        answer = (self._folder / "answer").read_bytes()
        return answer[:-1] + bytes([answer[-1] ^ 1]) if self.spoils else answer

    def _certificate(self, name: str, issuer: str | None) -> Path:
        by = [] if issuer is None else ["-CA", f"{issuer}.pem", "-CAkey", f"{issuer}.key"]
        self._openssl(
            *("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-keyout", f"{name}.key", "-out", f"{name}.pem", "-config", "openssl.cnf", "-extensions", name, *by),
        )
        return self._folder / f"{name}.pem"

    def _openssl(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True, capture_output=True)


@contextmanager
def serving(folder: Path) -> Iterator[TimestampAuthority]:
    authority = TimestampAuthority(folder)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = self.rfile.read(int(self.headers["Content-Length"]))
            answer = b"" if authority.is_silent else authority.answer(request)
            self.send_response(503 if authority.is_silent else 200)
            self.send_header("Content-Type", "application/timestamp-reply")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *arguments: object) -> None:
            """Keep the test's output clean."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    authority.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield authority
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
