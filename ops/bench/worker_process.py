"""A worker as users run it, `fraud worker`, as a child process on a stack of the bench."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from ops.stack.processes import LOOPBACK, ServerProcess, free_port


def worker_process(
    directory: Path,
    bootstrap_servers: str,
    redis_url: str,
    *,
    slot: int = 0,
    environment: Mapping[str, str] | None = None,
) -> ServerProcess:
    """Not started yet; it counts as started once its /live page answers."""
    port = free_port()
    return ServerProcess(
        f"worker {slot}",
        [sys.executable, "-P", "-m", "pipeline.cli", "worker"],  # -P: PYTHONPATH may name a compiled tree
        is_ready=lambda: status(port, "/live") == 200,
        log_path=directory / f"worker-{slot}.log",
        environment={
            "FRAUD_BOOTSTRAP_SERVERS": bootstrap_servers,
            "FRAUD_REDIS_URL": redis_url,
            "FRAUD_WORKER_SLOT": str(slot),
            "FRAUD_WEB_HOST": LOOPBACK,
            "FRAUD_WEB_PORT": str(port),
            **(environment or {}),
        },
    )


def status(port: int, page: str) -> int | None:
    """The HTTP status of a page of a worker; None where nothing answers."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{page}", timeout=1) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
