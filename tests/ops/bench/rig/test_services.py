"""Processes that end by themselves, just as a bench is about to do something with them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ops.bench.rig import services
from ops.bench.rig.evidence import whole_lines
from ops.bench.rig.services import KILLS_MAX, kill_kept
from ops.bench.rig.supervision import Supervisor
from ops.processes.servers import ServerProcess

ENDS = [sys.executable, "-c", "raise SystemExit(1)"]


def process(folder: Path, *command: str) -> ServerProcess:
    return ServerProcess("process", command, is_ready=lambda: False, log_path=folder / "process.log")


@pytest.fixture
def ended() -> psutil.Process:
    """A process that was found, and has ended since."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = psutil.Process(child.pid)
        child.kill()
    return found


@pytest.fixture
def living() -> Iterator[psutil.Process]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield psutil.Process(child.pid)
        child.kill()


def test_a_worker_that_ends_before_the_signal_is_not_the_one_that_is_killed(
    ended: psutil.Process, living: psutil.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter([ended, living])
    monkeypatch.setattr(services, "kept", lambda _: next(found))
    kill_kept(process(tmp_path))
    assert not living.is_running()


def test_workers_that_end_again_and_again_are_a_failure(
    ended: psutil.Process, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "kept", lambda _: ended)
    with pytest.raises(TimeoutError, match=f"lost {KILLS_MAX} workers"):
        kill_kept(process(tmp_path))


def test_what_ends_while_it_starts_is_started_again_within_a_bound(tmp_path: Path) -> None:
    supervisor, ending = Supervisor(restarts_max=1), process(tmp_path, *ENDS)
    supervisor.start(ending)
    assert 0 == supervisor.restarts
    supervisor.look_after([ending])
    assert 1 == supervisor.restarts
    with pytest.raises(AssertionError, match="keep ending"):
        supervisor.look_after([ending])


@pytest.mark.parametrize(
    ("text", "lines"), [("", []), ('{"a"', []), ('{"a": 1}\n{"b', ['{"a": 1}']), ("one\ntwo\n", ["one", "two"])]
)
def test_a_line_that_is_being_written_is_none_yet(text: str, lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "log").write_text(text)
    assert lines == whole_lines(tmp_path / "log")
