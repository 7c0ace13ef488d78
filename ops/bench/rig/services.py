"""The project's services as users run them, made as child processes on a stack of the bench, but not started yet.

Each writes a log of its own in the bench's folder; a process that is started again in its place appends to it.
"""

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

from ops.bench.rig.evidence import SCRATCH
from ops.processes.servers import LOOPBACK, ServerProcess, free_port
from ops.stack.real import RealStack

FOLLOWED_S: Final = 120.0
KILLS_MAX: Final = 5
"""Workers of one keeper that may end by themselves between their being found and the signal."""
POLL_S: Final = 0.01


def worker_process(
    directory: Path,
    bootstrap_servers: str,
    redis_url: str,
    *,
    slot: int = 0,
    name: str = "worker",
    command: Sequence[str] = ("ops.cli", "worker", "run"),
    options: Sequence[str] = (),
    page: str | None = "/live",
    environment: Mapping[str, str] | None = None,
) -> ServerProcess:
    """Make a worker.

    `options` are those of `fraud worker run`; `name` names its log. It finds what Python compiled in the bench's
    folder, as it would where pip installed it. Without a `page` it counts as started at once.
    """
    settings = {
        "FRAUD_BOOTSTRAP_SERVERS": bootstrap_servers,
        "FRAUD_REDIS_URL": redis_url,
        "FRAUD_WORKER_SLOT": str(slot),
        "PYTHONDONTWRITEBYTECODE": "",
        "PYTHONPYCACHEPREFIX": str(directory / SCRATCH),
        **(environment or {}),
    }
    return _service(directory, f"{name}-{slot}", (*command, *options), "FRAUD_WEB_PORT", settings, page)


def executor_process(
    directory: Path,
    bootstrap_servers: str,
    database_url: str,
    rail: str,
    *,
    slot: int = 0,
    command: Sequence[str] = ("ops.cli", "executor", "run"),
    environment: Mapping[str, str] | None = None,
) -> ServerProcess:
    """Make an executor in its own role; `database_url` is the owner's."""
    settings = {
        "FRAUD_BOOTSTRAP_SERVERS": bootstrap_servers,
        "FRAUD_DATABASE_URL": url_of(database_url, "fraud_executor"),
        "FRAUD_RAIL_URL": rail,
        "FRAUD_WORKER_SLOT": str(slot),
        **(environment or {}),
    }
    return _service(directory, f"executor-{slot}", command, "FRAUD_EXECUTOR_PORT", settings)


def audit_process(
    stack: RealStack, directory: Path, environment: Mapping[str, str] | None = None, *, options: Sequence[str] = ()
) -> ServerProcess:
    """Make `fraud audit run` in its own role, signing with `directory`/key (see `prepare_database`).

    It counts as started at once, because the bench watches its rows.
    """
    settings = {
        "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "FRAUD_DATABASE_URL": url_of(stack.database_url, "fraud_audit"),
        "FRAUD_AUDIT_DIRECTORY": str(directory / "outside"),
        "FRAUD_AUDIT_KEY_FILE": str(directory / "key"),
        **(environment or {}),
    }
    return _service(directory, "audit", ("ops.cli", "audit", "run", *options), "FRAUD_AUDIT_PORT", settings, page=None)


def witness_process(stack: RealStack, directory: Path) -> ServerProcess:
    """Make `fraud witness run`, with its file in `directory`/witness. It counts as started at once."""
    settings = {
        "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
        "FRAUD_AUDIT_KEYS_FILE": str(directory / "key.keys"),
        "FRAUD_WITNESS_KEY_FILE": str(directory / "witness.key"),
        "FRAUD_WITNESS_DIRECTORY": str(directory / "witness"),
    }
    return _service(directory, "witness", ("ops.cli", "witness", "run"), "FRAUD_WITNESS_PORT", settings, page=None)


def shadow_process(
    bootstrap_servers: str, database_url: str, directory: Path, environment: Mapping[str, str]
) -> ServerProcess:
    """Make `fraud shadow run` in its own role; `database_url` is the owner's."""
    settings = {
        "FRAUD_BOOTSTRAP_SERVERS": bootstrap_servers,
        "FRAUD_DATABASE_URL": url_of(database_url, "fraud_shadow"),
        **environment,
    }
    return _service(directory, "shadow", ("ops.cli", "shadow", "run"), "FRAUD_SHADOW_PORT", settings)


def review_process(stack: RealStack, directory: Path, environment: Mapping[str, str]) -> ServerProcess:
    """Make `fraud review run` in its own role."""
    settings = {**environment, "FRAUD_DATABASE_URL": url_of(stack.database_url, "fraud_review")}
    return _service(directory, "review", ("ops.cli", "review", "run"), "FRAUD_REVIEW_PORT", settings)


def alerts_process(
    bootstrap_servers: str, database_url: str, directory: Path, environment: Mapping[str, str]
) -> ServerProcess:
    """Make `fraud alerts run` in its own role; `database_url` is the owner's."""
    settings = {
        "FRAUD_BOOTSTRAP_SERVERS": bootstrap_servers,
        "FRAUD_DATABASE_URL": url_of(database_url, "fraud_alerts"),
        **environment,
    }
    return _service(directory, "alerts", ("ops.cli", "alerts", "run"), "FRAUD_ALERTS_PORT", settings)


def url_of(database_url: str, role: str) -> str:
    """Turn the owner's address into another role's, on a server that asks for no password."""
    return database_url.replace("//fraud_owner@", f"//{role}@")


def kill_kept(keeper: ServerProcess) -> None:
    """Send kill -9 to the worker of a keeper (`fraud worker run --keep`), and wait until it is gone.

    Where it has just ended by itself, the next one is killed.
    """
    for _ in range(KILLS_MAX):
        worker = kept(keeper)
        with contextlib.suppress(psutil.NoSuchProcess):
            worker.kill()
            worker.wait()
            return
    raise TimeoutError(f"{keeper.name} lost {KILLS_MAX} workers before they could be killed")


def kept(keeper: ServerProcess) -> psutil.Process:
    """Return the worker of a keeper; wait for the next one where it has just lost one.

    Raises ServerFailed where the keeper itself has ended.
    """
    deadline = time.monotonic() + FOLLOWED_S
    while time.monotonic() < deadline:
        if (worker := worker_of(keeper.pid)) is not None:
            return worker
        time.sleep(POLL_S)
    raise TimeoutError(f"{keeper.name} has no worker for {FOLLOWED_S:.0f} s")


def worker_of(keeper_pid: int) -> psutil.Process | None:
    """Return the worker that a keeper has at this moment."""
    with contextlib.suppress(psutil.NoSuchProcess):
        keeper = psutil.Process(keeper_pid)
        for child in keeper.children():
            with contextlib.suppress(psutil.NoSuchProcess):
                if child.cmdline() == keeper.cmdline():  # it is forked; a child of an import runs another command
                    return child
    return None


def status(port: int, page: str) -> int | None:
    """Return the HTTP status of a service's page, or None where nothing answers."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}{page}", timeout=1) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def _service(
    directory: Path,
    name: str,
    command: Sequence[str],
    port_setting: str,
    environment: Mapping[str, str],
    page: str | None = "/live",
) -> ServerProcess:
    """Make a service from a module with its arguments.

    It counts as started once its page answers, or at once where it has none.
    """
    port = free_port()
    return ServerProcess(
        name.replace("-", " "),
        [sys.executable, "-P", "-m", *command],  # -P: PYTHONPATH may name a compiled tree
        is_ready=lambda: page is None or status(port, page) == 200,
        log_path=directory / f"{name}.log",
        environment={"FRAUD_WEB_HOST": LOOPBACK, **environment, port_setting: str(port)},
    )
