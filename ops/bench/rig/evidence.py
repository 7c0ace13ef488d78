"""The folder of a bench, in which every process that it starts leaves its log. A run that goes well removes it.

A run that fails keeps its folder, whether it fails by a violation, an exception, a wait that took too long, Ctrl-C or
SIGTERM, and the last line on stderr names it. A run that is killed says nothing more, but it named the folder when it
began.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Final, NamedTuple

PARENT: Final = Path("var/bench")
LOG_NAME: Final = "bench.log"
KEPT_BYTES_MAX: Final = 1024**3
"""Size of a folder that stays. The servers' files are removed first, the largest before the others, because the logs
are the evidence."""
LOG_BYTES_MAX: Final = 64 * 1024**2
"""Size of each log in a folder that stays: its first tenth and its latest nine tenths. The part between them is cut."""
SCRATCH: Final = "bytecode"
"""Name of the folder of what Python compiled, which is no evidence of anything."""
CUT_LIST: Final = "cut-to-size.txt"

Say = Callable[[str], None]
Run = Callable[..., dict[str, object]]
"""`run(say, folder, *, is_quick)` measures and returns what it measured; "ok" is False where it failed."""


class Ending(NamedTuple):
    """The end of a run: its answer, and the exit code of the process."""

    answer: dict[str, object]
    code: int


class _Terminated(BaseException):
    """SIGTERM, raised like Ctrl-C so that all that was started is ended."""


def folder_for(name: str, directory: Path | None) -> Path:
    """Make a new folder: `directory`, or one of the bench's own under PARENT.

    Raises FileExistsError where it holds something, because a run that goes well removes all of it.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    folder = (directory or PARENT / f"{name}-{stamp}").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty")
    return folder


def carry_out(name: str, run: Run, folder: Path, *, is_quick: bool, is_kept: bool) -> int:
    """Run a bench in `folder`, print its answer as the last line of stdout, and return the exit code.

    From here on stderr is the folder's log; messages for people go to the terminal too.
    """
    say = divert_stderr(folder / LOG_NAME)
    say(f"{name}: logs are in {folder} while it runs")
    signal.signal(signal.SIGTERM, _terminate)
    answer, code = _ending(run, say, folder, is_quick=is_quick)
    print(json.dumps({"bench": name, "quick": is_quick, "cores": os.cpu_count(), **answer}), flush=True)
    if code == 0 and not is_kept:
        shutil.rmtree(folder)
        return code
    cut_to_size(folder)
    say(f"The logs of every process are in {folder}")
    return code


def divert_stderr(log_path: Path) -> Say:
    """Send all that this process and those that it starts write to stderr to the log.

    Client libraries and threads write there when they please, and must not come after the last line. The function that
    is returned writes to the terminal and to the log.
    """
    sys.stderr.flush()
    terminal = os.dup(2)
    log = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 2)
    os.close(log)

    def say(line: str) -> None:
        for descriptor in (2, terminal):  # the log first, so that it holds whatever somebody has read
            os.write(descriptor, f"{line}\n".encode())

    return say


def whole_lines(log_path: Path) -> list[str]:
    """Return a log's lines, but for one that its process is just writing."""
    return log_path.read_text(errors="replace").rpartition("\n")[0].splitlines()


def cut_to_size(folder: Path, kept_bytes_max: int = KEPT_BYTES_MAX, log_bytes_max: int = LOG_BYTES_MAX) -> None:
    """Bound the size of a folder. CUT_LIST in it names what was removed."""
    for scratch in folder.rglob(SCRATCH):
        shutil.rmtree(scratch)
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    logs = [path for path in files if path.suffix == ".log"]
    shortened = [path for path in logs if _shorten(path, log_bytes_max)]
    others = sorted(set(files) - set(logs), key=lambda path: path.stat().st_size, reverse=True)
    total, removed = sum(path.stat().st_size for path in files), []
    for path in others:
        if total <= kept_bytes_max:
            break
        total -= path.stat().st_size
        path.unlink()
        removed.append(path)
    lines = [f"shortened {path.relative_to(folder)}" for path in shortened]
    lines += [f"removed {path.relative_to(folder)}" for path in removed]
    if lines:
        (folder / CUT_LIST).write_text("".join(f"{line}\n" for line in lines))


def _ending(run: Run, say: Say, folder: Path, *, is_quick: bool) -> Ending:
    try:
        answer = run(say, folder, is_quick=is_quick)
    except KeyboardInterrupt:
        return Ending({"ok": False, "error": "interrupted"}, 128 + signal.SIGINT)
    except _Terminated:
        return Ending({"ok": False, "error": "terminated"}, 128 + signal.SIGTERM)
    except Exception as error:  # the outermost loop of a bench, whose answer is whatever ended it
        say(traceback.format_exc().rstrip())
        return Ending({"ok": False, "error": f"{type(error).__name__}: {error}"}, 1)
    return Ending(answer, 0 if answer.get("ok", True) else 1)


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise _Terminated


def _shorten(log_path: Path, bytes_max: int) -> bool:
    """Cut a log to its bound; return whether it was too long."""
    size = log_path.stat().st_size
    if size <= bytes_max:
        return False
    first, cut_to = bytes_max // 10, log_path.with_suffix(".cut")
    with log_path.open("rb") as source, cut_to.open("wb") as target:
        target.write(source.read(first))
        target.write(f"\n... {size - bytes_max:,} bytes are cut out here ...\n".encode())
        source.seek(size - (bytes_max - first))
        shutil.copyfileobj(source, target)
    cut_to.replace(log_path)
    return True
