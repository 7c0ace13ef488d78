"""The rail as a process that tests may kill and start again. It comes back on the same port with the same books."""

from __future__ import annotations

import ssl
import sys
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from ops.processes.servers import LOOPBACK, ServerProcess
from ops.rail.misbehaviour import Misbehaviour


class Credentials(NamedTuple):
    """PEM files of one side of TLS."""

    authority: Path  # that signed the other side's certificate
    certificate: Path
    key: Path


def rail_process(
    directory: Path, port: int, misbehaviour: Misbehaviour | None = None, credentials: Credentials | None = None
) -> ServerProcess:
    """Make the rail, not started yet. credentials: for TLS; its clients need a certificate of the same authority."""
    command = [sys.executable, "-m", "ops.rail", "--port", str(port), "--directory", str(directory)]
    for name, value in asdict(misbehaviour or Misbehaviour()).items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    for name, path in () if credentials is None else credentials._asdict().items():
        command += [f"--{name}", str(path)]
    return ServerProcess("rail", command, is_ready=lambda: is_live(port, credentials), log_path=directory / "rail.log")


def rail_url(port: int, *, is_secure: bool = False) -> str:
    return f"{'https' if is_secure else 'http'}://{LOOPBACK}:{port}"


def is_live(port: int, credentials: Credentials | None = None) -> bool:
    context = None if credentials is None else _context(credentials)
    url = rail_url(port, is_secure=credentials is not None)
    try:
        with urllib.request.urlopen(f"{url}/live", timeout=1, context=context) as answer:  # noqa: S310 - it is ours
            return bool(answer.status == 200)
    except OSError:
        return False


def _context(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(credentials.authority))
    context.load_cert_chain(credentials.certificate, credentials.key)
    return context
