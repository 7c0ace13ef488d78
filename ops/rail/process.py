"""The rail as a process that tests may kill and start again. It comes back on the same port with the same books."""

from __future__ import annotations

import sys
import urllib.request
from dataclasses import asdict
from pathlib import Path

from ops.processes.servers import LOOPBACK, ServerProcess
from ops.rail.misbehaviour import Misbehaviour


def rail_process(directory: Path, port: int, misbehaviour: Misbehaviour | None = None) -> ServerProcess:
    """Make the rail, not started yet."""
    command = [sys.executable, "-m", "ops.rail", "--port", str(port), "--directory", str(directory)]
    for name, value in asdict(misbehaviour or Misbehaviour()).items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    return ServerProcess("rail", command, is_ready=lambda: is_live(port), log_path=directory / "rail.log")


def rail_url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}"


def is_live(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/live", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
