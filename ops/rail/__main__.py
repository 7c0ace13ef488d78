"""`python -m ops.rail --port PORT --directory DIRECTORY` runs the rail in the foreground until SIGTERM."""

from __future__ import annotations

import argparse
import ssl
from dataclasses import fields
from pathlib import Path

from aiohttp import web

from ops.processes.servers import LOOPBACK
from ops.rail.books import Books
from ops.rail.misbehaviour import Misbehaviour
from ops.rail.server import Rail
from ops.rail.tracing import trace

CERTIFICATES = {
    "authority": "the authority that signed the clients' certificates",
    "certificate": "its own certificate, with which it speaks TLS only",
    "key": "the certificate's key",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ops.rail", description=__doc__)
    parser.add_argument("--host", default=LOOPBACK, help="to listen on")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--directory", type=Path, required=True, help="where its books stand")
    parser.add_argument("--otlp-endpoint", help="collector that its spans go to; without it none are recorded")
    for name, what in CERTIFICATES.items():
        parser.add_argument(f"--{name}", type=Path, help=f"PEM file of {what}")
    for field in fields(Misbehaviour):
        kind = int if isinstance(field.default, int) else float
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=field.default)
    arguments = vars(parser.parse_args())
    host, port, directory = arguments.pop("host"), arguments.pop("port"), arguments.pop("directory")
    endpoint, context = arguments.pop("otlp_endpoint"), _context(*(arguments.pop(name) for name in CERTIFICATES))
    application = Rail(Books(directory / "rail.jsonl"), Misbehaviour(**arguments)).application()
    if endpoint is not None:
        trace(application, endpoint)
    web.run_app(application, host=host, port=port, ssl_context=context, print=None, access_log=None)


def _context(authority: Path | None, certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return what TLS takes, None without a certificate. Every client must have one from the authority."""
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=None if authority is None else str(authority))
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(certificate, key)
    return context


if __name__ == "__main__":
    main()
