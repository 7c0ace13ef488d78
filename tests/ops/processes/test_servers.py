"""A server as a process: what is said when it doesn't start, and how it ends."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from ops.processes.servers import (
    LOOPBACK,
    PORT_SHARES,
    PORTS_A_SHARE,
    PORTS_FIRST,
    ServerFailed,
    ServerProcess,
    free_port,
)


def test_server_that_ends_while_starting_is_reported_with_its_log(tmp_path: Path) -> None:
    server = _shell("echo no such luck; exit 3", tmp_path, is_ready=False)
    with pytest.raises(ServerFailed, match="no such luck"):
        server.start()
    assert not server.is_running


def test_server_that_never_answers_is_killed_at_the_deadline(tmp_path: Path) -> None:
    server = _shell("exec tail -f /dev/null", tmp_path, is_ready=False)
    with pytest.raises(ServerFailed, match=r"no answer within 0\.2 s"):
        server.start(deadline_s=0.2)
    assert not server.is_running


def test_server_deaf_to_termination_is_killed_after_its_grace(tmp_path: Path) -> None:
    ready_path = tmp_path / "ready"
    server = ServerProcess(
        "The shell",
        ["sh", "-c", f"trap '' TERM; touch {ready_path}; while :; do tail -f /dev/null; done"],
        is_ready=ready_path.exists,
        log_path=tmp_path / "shell.log",
    )
    server.start()
    server.stop(grace_s=0.2)
    assert not server.is_running


def test_paused_server_can_be_stopped(tmp_path: Path) -> None:
    server = _shell("exec tail -f /dev/null", tmp_path, is_ready=True)
    server.start()
    server.pause()
    server.stop()
    assert not server.is_running


def test_stopping_what_does_not_run_does_nothing(tmp_path: Path) -> None:
    server = _shell("exit 0", tmp_path, is_ready=True)
    server.stop()
    with pytest.raises(ServerFailed, match="The shell is not running"):
        _ = server.pid


def test_ports_are_handed_out_in_turn_and_passed_over_while_in_use() -> None:
    with socket.socket() as listening:
        listening.bind((LOOPBACK, free_port()))
        ports = [free_port() for _ in range(PORTS_A_SHARE)]
        assert listening.getsockname()[1] not in ports
        assert len(set(ports[:10])) == 10
        assert {(port - PORTS_FIRST) // PORTS_A_SHARE for port in ports} == {os.getpid() % PORT_SHARES}


def test_a_port_is_reserved_while_the_process_that_asked_lives() -> None:
    """Two processes of one share, where neither has used its port yet."""
    ask = "import os, sys; os.getpid = lambda: int(sys.argv[1]); from ops.processes.servers import free_port; "
    command = [sys.executable, "-c", ask + "print(free_port(), flush=True); input()", str(os.getpid())]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        reserved = int(other.stdout.readline())
        assert reserved not in [free_port() for _ in range(PORTS_A_SHARE)]
        other.communicate("\n")
    assert reserved in [free_port() for _ in range(PORTS_A_SHARE)]


def _shell(script: str, directory: Path, *, is_ready: bool) -> ServerProcess:
    return ServerProcess("The shell", ["sh", "-c", script], is_ready=lambda: is_ready, log_path=directory / "shell.log")
