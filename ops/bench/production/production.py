"""Act production out, as the Compose files say it, from nothing to a settled payment and a stored, anchored decision.

Docker can't run everywhere, so the bench does what Compose does: it reads the files, and starts each service in their
order and on their conditions, under its user, with its environment, secrets, volumes, memory and networks. What isn't
acted out is said in docs/measurements.md. The stage (stage.py) runs in namespaces that end with it, as root.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

STAGE_S_MAX: Final = 1500.0
NEEDED: Final = ("unshare", "nsenter", "setpriv", "ip")


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    if (why := why_not()) is not None:
        return {"ok": False, "why": why}
    command = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += [sys.executable, "-m", "ops.bench.production.stage", str(folder), *(["--quick"] if is_quick else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as stage:  # noqa: S603 - the command is ours
        assert stage.stdout is not None, "it is a pipe"
        answer: dict[str, object] = {"ok": False, "why": "the stage ended without an answer; its log says why"}
        for line in stage.stdout:
            if line.startswith("{"):
                answer = json.loads(line)
            else:
                say(line.rstrip())
    return answer


def why_not() -> str | None:
    """Return why it can't be acted out on this machine, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "services run under users and namespaces of their own, which only root on Linux can give them"
    if missing := [program for program in NEEDED if shutil.which(program) is None]:
        return f"{', '.join(missing)} is missing. Install it: apt-get install util-linux iproute2"
    tried = ["unshare", "--mount", "--net", "--uts", "--pid", "--fork", "true"]
    if subprocess.run(tried, capture_output=True, check=False).returncode != 0:  # noqa: S603 - the command is ours
        return "this machine makes no namespaces"
    return None
