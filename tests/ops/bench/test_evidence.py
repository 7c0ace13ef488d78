"""A bench that fails keeps the logs of its processes and says where in its last line; a good one leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ops.bench.rig.evidence import CUT_LIST, SCRATCH, cut_to_size, folder_for

PLANTED = """
import signal, sys, threading, time
from functools import partial
from pathlib import Path
from ops.bench.rig.evidence import carry_out
from ops.bench.rig.supervision import running
from ops.processes.servers import ServerProcess

ECHO = "import sys, time; print('started as', sys.argv[1], flush=True); time.sleep(600)"

def run(say, folder, *, is_quick):
    command = [sys.executable, "-c", ECHO]
    starts = {"worker": 1, "rail": 1}
    def has_said(name):
        return (folder / f"{name}.log").read_text().count("started") == starts[name]
    worker, rail = (
        ServerProcess(name, [*command, name], is_ready=partial(has_said, name), log_path=folder / f"{name}.log")
        for name in starts
    )
    with running(worker, rail):
        worker.kill()
        starts["worker"] += 1
        worker.start()
        library = threading.Thread(target=lambda: print("a client library's words", file=sys.stderr))
        library.start()
        library.join()
        say("everything runs")
        return ENDING(folder)

def wait(folder):
    time.sleep(600)

signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background of a shell are deaf to it
sys.exit(carry_out("planted", run, Path(sys.argv[1]), is_quick=True, is_kept="--keep" in sys.argv))
"""
ENDINGS = {
    "good": "lambda folder: {'ok': True, 'figure': 7}",
    "violation": "lambda folder: {'ok': False, 'violations': {'LOST': 1}}",
    "exception": "lambda folder: 1 / 0",
    "timeout": "lambda folder: __import__('ops.bench.rig.waiting').bench.rig.waiting.wait_until("
    "lambda: False, 0.1, 'deciding', every_s=0.01)",
    "waiting": "wait",
}


def planted(folder: Path, ending: str, *arguments: str) -> subprocess.Popen[str]:
    folder.mkdir()
    script = PLANTED.replace("ENDING", f"({ENDINGS[ending]})" if ending != "waiting" else "wait")
    command = [sys.executable, "-c", script, str(folder), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_good_bench_leaves_nothing(tmp_path: Path) -> None:
    bench = planted(tmp_path / "bench", "good")
    out, err = bench.communicate(timeout=300)
    assert 0 == bench.returncode, err
    assert [] == list(tmp_path.iterdir())
    assert 7 == json.loads(out.splitlines()[-1])["figure"]


def test_a_good_bench_keeps_its_folder_when_asked(tmp_path: Path) -> None:
    bench = planted(tmp_path / "bench", "good", "--keep")
    _, err = bench.communicate(timeout=300)
    assert 0 == bench.returncode
    assert_kept(tmp_path / "bench", err)


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("violation", None),
        ("exception", "ZeroDivisionError: division by zero"),
        ("timeout", "TimeoutError: deciding took more than 0 s"),
    ],
)
def test_a_bench_that_fails_keeps_the_logs_and_names_them_last(tmp_path: Path, ending: str, said: str | None) -> None:
    bench = planted(tmp_path / "bench", ending)
    out, err = bench.communicate(timeout=300)
    answer = json.loads(out.splitlines()[-1])
    assert 1 == bench.returncode
    assert ("planted", False, said) == (answer["bench"], answer["ok"], answer.get("error"))
    assert_kept(tmp_path / "bench", err)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_bench_that_is_ended_keeps_the_logs_and_ends_its_processes(tmp_path: Path, number: signal.Signals) -> None:
    bench = planted(tmp_path / "bench", "waiting")
    assert bench.stderr is not None
    first = [bench.stderr.readline(), bench.stderr.readline()]
    assert "everything runs\n" == first[1]
    bench.send_signal(number)
    out, err = bench.communicate(timeout=300)
    assert 128 + number == bench.returncode
    assert json.loads(out.splitlines()[-1])["ok"] is False
    assert_kept(tmp_path / "bench", err)


def test_the_command_keeps_its_folder_where_no_stack_can_be_had(tmp_path: Path) -> None:
    """The whole command runs on a machine that has neither Redis nor Java."""
    command = [sys.executable, "-m", "ops.bench", "bad-input", "--quick"]
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    (folder,) = (tmp_path / "var" / "bench").glob("bad-input-*")
    assert 1 == done.returncode
    assert "StackFailure" in json.loads(done.stdout.splitlines()[-1])["error"]
    assert done.stderr.endswith(f"The logs of every process are in {folder}\n")
    assert "redis-server is not on the PATH" in (folder / "bench.log").read_text()


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    with pytest.raises(FileExistsError):
        folder_for("loss", tmp_path)
    assert tmp_path / "new" == folder_for("loss", tmp_path / "new")


def test_a_kept_folder_is_cut_to_size_and_says_what_went(tmp_path: Path) -> None:
    sizes = {"stack/kafka/1.segment": 5_000, "stack/kafka/2.segment": 900, "settings.toml": 80, f"{SCRATCH}/x.pyc": 50}
    for name, size in sizes.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    (tmp_path / "worker.log").write_bytes(b"first" + b"." * 3_000 + b"last")
    cut_to_size(tmp_path, kept_bytes_max=4_000, log_bytes_max=1_000)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    log = (tmp_path / "worker.log").read_bytes()
    assert {"worker.log", "settings.toml", "stack/kafka/2.segment", CUT_LIST} == left
    assert "shortened worker.log\nremoved stack/kafka/1.segment\n" == (tmp_path / CUT_LIST).read_text()
    assert log.startswith(b"first")
    assert log.endswith(b"last")
    assert b"2,009 bytes are cut out here" in log


def assert_kept(folder: Path, stderr: str) -> None:
    assert f"The logs of every process are in {folder}" == stderr.splitlines()[-1]
    assert ["bench.log", "rail.log", "worker.log"] == sorted(path.name for path in folder.iterdir())
    assert 2 * "started as worker\n" == (folder / "worker.log").read_text(), "a second start overwrites nothing"
    assert "started as rail\n" == (folder / "rail.log").read_text()
    assert "everything runs" in (folder / "bench.log").read_text()
    assert "a client library's words" in (folder / "bench.log").read_text()
    assert "a client library's words" not in stderr
