"""The commands of the README's "Use it", as they stand there, pasted one after another."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from ops.bench.rig.waiting import wait_until
from ops.processes.servers import free_port

ROOT = Path(__file__).parents[3]
PORTS = ("FRAUD_WEB_PORT", "FRAUD_AUDIT_PORT", "FRAUD_EXECUTOR_PORT")
START_S = 120.0
DONE_S = 120.0
TAIL = "fraud decisions tail"
FENCED = re.compile(r"^```\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.mark.timeout(1200)  # it starts everything there is, on a machine that runs other tests meanwhile
@pytest.mark.parametrize(
    ("name", "folder"), [("embedded", "embedded"), pytest.param("real", "stack", marks=pytest.mark.real)]
)
def test_commands_of_the_readme_work_one_after_another(name: str, folder: str, tmp_path: Path) -> None:
    stack_command, pasted = _use_it()
    shell = _Shell(tmp_path, folder)
    with ExitStack() as running:
        running.enter_context(shell.service(stack_command.replace("embedded", name)))
        wait_until((tmp_path / "var" / folder / "stack.env").exists, START_S, "starting the stack")
        for line in pasted:
            if line.endswith("&"):
                running.enter_context(shell.service(line.removesuffix("&")))
            elif line == TAIL:
                wait_until(lambda: " MODEL " in shell.run(TAIL), DONE_S, "the model's deciding")
            elif not line.startswith("export "):
                shell.run(line)
        assert re.search(r"[1-9][\d,]* identical, 0 different, 0 unverifiable", shell.run("fraud verify --all"))
        wait_until(lambda: "executions" in shell.run("fraud ledger check"), DONE_S, "executing")
        wait_until(lambda: _audited(tmp_path / "var" / folder / "stack.env") > 0, DONE_S, "auditing")


def test_readme_s_settings_are_those_that_the_stack_writes() -> None:
    _, pasted = _use_it()
    assert pasted[0] == "export PATH=$PWD/.venv/bin:$PATH FRAUD_ENV_FILE=var/embedded/stack.env"


def _use_it() -> tuple[str, list[str]]:
    """The command that holds the stack, and the lines that are pasted beside it."""
    section = (ROOT / "README.md").read_text().partition("## Use it\n")[2].partition("\n## ")[0]
    first, second, _ = FENCED.findall(section)  # the last asks a service for a head, by its number in a shell
    return first.strip(), second.strip().splitlines()


def _audited(settings_path: Path) -> int:
    """Count the rows of the audit log, as the reader does."""
    settings = dict(line.split("=", 1) for line in settings_path.read_text().splitlines())
    (url,) = shlex.split(settings["FRAUD_DATABASE_URL"])
    with psycopg.connect(url.replace("{role}", "fraud_reader")) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM audit.ai_decision_log").fetchall()
    assert isinstance(count, int)
    return count


class _Shell:
    """A shell that runs what a person pastes, in a folder of its own, with the README's settings and free ports."""

    def __init__(self, folder: Path, stack_folder: str) -> None:
        self._folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FRAUD_")}
        self._environment = {
            **kept,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "FRAUD_ENV_FILE": f"var/{stack_folder}/stack.env",
            **{name: str(free_port()) for name in PORTS},
        }

    def run(self, line: str) -> str:
        """Run a command, which must end well, and return what it prints."""
        done = subprocess.run(
            shlex.split(line), cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=DONE_S
        )
        assert done.returncode == 0, f"{line}: {done.stdout[-1000:]}{done.stderr[-1000:]}"
        return done.stdout

    @contextmanager
    def service(self, line: str) -> Iterator[None]:
        """Start a command that is stopped in the end as a person stops it; it must end well then."""
        command, _, log_name = line.strip().partition("2>")
        command = command.removeprefix(".venv/bin/")
        log_path = self._folder / (log_name or "var/stack.log")
        log_path.parent.mkdir(exist_ok=True)
        with log_path.open("wb") as log:
            process = subprocess.Popen(
                shlex.split(command), cwd=self._folder, env=self._environment, stdout=log, stderr=log
            )
        try:
            yield
            assert process.poll() is None, f"{command} ended: {log_path.read_text()[-2000:]}"
            process.send_signal(signal.SIGTERM)
            assert process.wait(DONE_S) == 0, f"{command}: {log_path.read_text()[-2000:]}"
        finally:
            process.kill()
            process.wait()
