"""A server as a process of its own: start it until it answers, stop it, kill it, pause it."""

import contextlib
import fcntl
import itertools
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import psutil

LOOPBACK = "127.0.0.1"
START_DEADLINE_S = 240.0  # Kafka answers after 4 s on two idle cores; a loaded machine may need thirty times that
STOP_GRACE_S = 20.0  # a broker flushes its logs on SIGTERM; what needs longer is killed
POLL_INTERVAL_S = 0.05
LOG_TAIL_CHARACTERS = 2_000
PORTS_FIRST = 10_240
PORTS_A_SHARE = 100
PORT_SHARES = 220  # the last port of the last share is 32239
RESERVED_MAX = 20  # more than one process starts servers at once
_port_turns = itertools.count()
_reserved: deque[int] = deque()
_TIED = Path(__file__).with_name("tied.py")


class ServerFailed(Exception):
    """A server ended, or did not answer, before its deadline. The message holds the end of its log."""


class ServerProcess:
    """One server. Every start runs the same command, so it comes back on the same port with the same files.

    is_ready: asked again and again after a start; True once the server answers. It must return within about a second.
    The process ends with the thread that called `start` (Linux), and is out of reach of the terminal's Ctrl-C:
    whoever uses the server shuts down first.
    """

    stop_signal = signal.SIGTERM

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        is_ready: Callable[[], bool],
        log_path: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._command = list(command)
        self._is_ready = is_ready
        self._environment = dict(environment or {})
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Raises ServerFailed when the server is not running."""
        if self._child is None or self._child.poll() is not None:
            raise ServerFailed(f"{self.name} is not running. Its log is {self.log_path}.")
        return self._child.pid

    @property
    def environment(self) -> Mapping[str, str]:
        """What the server's environment has beyond this process's own."""
        return self._environment

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self, *, deadline_s: float = START_DEADLINE_S) -> None:
        """Returns once the server answers. Raises ServerFailed when it ends first or the deadline passes."""
        self.launch()
        self.wait_ready(deadline_s=deadline_s)

    def launch(self) -> None:
        """Start the server without waiting for it: some answer only once others run."""
        assert not self.is_running, f"{self.name} runs already"
        self._child = self._launch()

    def wait_ready(self, *, deadline_s: float = START_DEADLINE_S) -> None:
        """Wait for the answer of a server that was launched, as `start` does."""
        deadline = time.monotonic() + deadline_s
        while not self._is_ready():
            if self._has_ended_within(POLL_INTERVAL_S):
                raise ServerFailed(f"{self.name} ended while starting:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self.name} gave no answer within {deadline_s:g} s:\n{self._log_tail()}")

    def stop(self, *, grace_s: float = STOP_GRACE_S) -> None:
        """Its stop signal, then SIGKILL after grace_s. A server that isn't running stays so."""
        if not self.is_running:
            return
        self.resume()  # a paused process can't see it
        self._signal(self.stop_signal)
        if not self._has_ended_within(grace_s):
            self.kill()

    def kill(self) -> None:
        """SIGKILL; returns once the process is gone."""
        self._signal(signal.SIGKILL)
        if self._child is not None:
            self._child.wait()

    def pause(self) -> None:
        """SIGSTOP: it keeps its connections and its memory, and answers nothing."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _launch(self) -> subprocess.Popen[bytes]:
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - the command is ours
                [sys.executable, "-ES", str(_TIED), str(os.getpid()), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )

    def _signal(self, number: signal.Signals) -> None:
        if self._child is not None and self._child.poll() is None:
            os.killpg(self._child.pid, number)  # its session is its own, so what it started gets the signal too

    def _has_ended_within(self, timeout_s: float) -> bool:
        assert self._child is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(timeout_s)
        return self._child.returncode is not None

    def _log_tail(self) -> str:
        return self.log_path.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:]


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on, and that no process is likely to take meanwhile.

    Systems pick the ports of outgoing connections from 32768 or 49152 up, so none below is taken by one. A process
    looks in a share of its own, by its id, and takes turns there: one that asks twice before it uses the first port
    gets two. Ids are more than shares, so a process's latest RESERVED_MAX ports are also reserved while it lives:
    another one of its share doesn't get a port whose server still starts. Raises ServerFailed.
    """
    first = PORTS_FIRST + os.getpid() % PORT_SHARES * PORTS_A_SHARE
    for _ in range(PORTS_A_SHARE):
        port = first + next(_port_turns) % PORTS_A_SHARE
        with socket.socket() as probe, contextlib.suppress(OSError):
            fcntl.lockf(_reservations(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            probe.bind((LOOPBACK, port))
            _reserved.append(port)
            if len(_reserved) > RESERVED_MAX:
                fcntl.lockf(_reservations(), fcntl.LOCK_UN, 1, _reserved.popleft())
            return port
    raise ServerFailed(f"Every port from {first} to {first + PORTS_A_SHARE - 1} is in use.")


@cache
def _reservations() -> int:
    """Open the file whose byte at each port's number is locked by the process that the port is reserved for.

    The system lets go of a process's locks when it ends, however that happens.
    """
    path = Path(tempfile.gettempdir()) / f"fraud-ports-of-{os.getuid()}"
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)


def process_cpu_seconds(pid: int) -> float:
    """User and system time of a running process and all its threads since its start, in seconds."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
