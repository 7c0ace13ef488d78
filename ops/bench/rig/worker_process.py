"""A worker as users run it, `fraud worker run`, as a child process on a stack of the bench."""

from __future__ import annotations

import contextlib
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from ops.stack.processes import LOOPBACK, ServerProcess, free_port

FOLLOWED_S: Final = 120.0
POLL_S: Final = 0.01


def worker_process(
    directory: Path,
    bootstrap_servers: str,
    redis_url: str,
    *,
    slot: int = 0,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> ServerProcess:
    """Not started yet; it counts as started once its /live page answers. `options` are those of `fraud worker run`."""
    port = free_port()
    return ServerProcess(
        f"worker {slot}",
        [sys.executable, "-P", "-m", "ops.cli", "worker", "run", *options],  # -P: PYTHONPATH may name a compiled tree
        is_ready=lambda: status(port, "/live") == 200,
        log_path=directory / f"worker-{slot}.log",
        environment={
            "FRAUD_BOOTSTRAP_SERVERS": bootstrap_servers,
            "FRAUD_REDIS_URL": redis_url,
            "FRAUD_WORKER_SLOT": str(slot),
            "FRAUD_WEB_HOST": LOOPBACK,
            "FRAUD_WEB_PORT": str(port),
            **compiled(directory),
            **(environment or {}),
        },
    )


def compiled(directory: Path) -> dict[str, str]:
    """The environment in which Python keeps what it compiled, as it is kept where pip installed a worker."""
    return {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(directory / "bytecode")}


def kept(keeper: ServerProcess) -> psutil.Process:
    """The worker of a keeper (`fraud worker run --keep`); waits for the next one where it has just lost one."""
    process, deadline = psutil.Process(keeper.pid), time.monotonic() + FOLLOWED_S
    while time.monotonic() < deadline:
        for child in process.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.cmdline() == process.cmdline():  # forked; what an import starts runs another command
                    return child
        time.sleep(POLL_S)
    raise TimeoutError(f"{keeper.name} has no worker for {FOLLOWED_S:.0f} s")


def status(port: int, page: str) -> int | None:
    """The HTTP status of a page of a worker; None where nothing answers."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{page}", timeout=1) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None
