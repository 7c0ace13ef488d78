"""The rail as a process that tests may kill and start again. It comes back on the same port with the same books."""

from __future__ import annotations

import ssl
import sys
import urllib.request
from dataclasses import asdict
from pathlib import Path

from ops.processes.servers import LOOPBACK, ServerProcess
from ops.rail.misbehaviour import Misbehaviour
from ops.stack.certificates import Certificates


def rail_process(
    directory: Path, port: int, misbehaviour: Misbehaviour | None = None, certificates: Certificates | None = None
) -> ServerProcess:
    """Make the rail, not started yet. certificates: for TLS; its clients need one of the same authority."""
    command = [sys.executable, "-m", "ops.rail", "--port", str(port), "--directory", str(directory)]
    for name, value in asdict(misbehaviour or Misbehaviour()).items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    if certificates is not None:
        command += ["--authority", str(certificates.authority_path)]
        command += ["--certificate", str(certificates.certificate_path), "--key", str(certificates.key_path)]
    return ServerProcess("rail", command, is_ready=lambda: is_live(port, certificates), log_path=directory / "rail.log")


def rail_url(port: int, *, is_secure: bool = False) -> str:
    return f"{'https' if is_secure else 'http'}://{LOOPBACK}:{port}"


def is_live(port: int, certificates: Certificates | None = None) -> bool:
    context = None if certificates is None else _context(certificates)
    url = rail_url(port, is_secure=certificates is not None)
    try:
        with urllib.request.urlopen(f"{url}/live", timeout=1, context=context) as answer:  # noqa: S310 - it is ours
            return bool(answer.status == 200)
    except OSError:
        return False


def _context(certificates: Certificates) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates.authority_path))
    context.load_cert_chain(certificates.certificate_path, certificates.key_path)
    return context
