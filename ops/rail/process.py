"""The rail as a process that tests may kill and start again. It comes back on the same port with the same books."""

from __future__ import annotations

import sys
import urllib.request
from dataclasses import asdict
from pathlib import Path

from ops.processes.servers import LOOPBACK, ServerProcess
from ops.rail.misbehaviour import Misbehaviour
from pipeline.execute.rail_client import Identity


def rail_process(
    directory: Path,
    port: int,
    misbehaviour: Misbehaviour | None = None,
    identity: Identity | None = None,
    otlp_endpoint: str | None = None,
) -> ServerProcess:
    """Make the rail, not started yet.

    identity: for TLS; its clients need a certificate of the same authority. otlp_endpoint: the collector of its spans.
    """
    command = [sys.executable, "-m", "ops.rail", "--port", str(port), "--directory", str(directory)]
    command += [] if otlp_endpoint is None else ["--otlp-endpoint", otlp_endpoint]
    for name, value in asdict(misbehaviour or Misbehaviour()).items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    for name, path in () if identity is None else identity._asdict().items():
        command += [f"--{name}", str(path)]
    return ServerProcess("rail", command, is_ready=lambda: is_live(port, identity), log_path=directory / "rail.log")


def rail_url(port: int, *, is_secure: bool = False) -> str:
    return f"{'https' if is_secure else 'http'}://{LOOPBACK}:{port}"


def is_live(port: int, identity: Identity | None = None) -> bool:
    context = None if identity is None else identity.context()
    url = rail_url(port, is_secure=identity is not None)
    try:
        with urllib.request.urlopen(f"{url}/live", timeout=1, context=context) as answer:  # noqa: S310 - our own rail
            return bool(answer.status == 200)
    except OSError:
        return False
