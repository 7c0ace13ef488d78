"""All ten drills on the real stack, by the command as people give it: each must pass.

Beside them stands a deployment that decides nothing: drills need its broker, its Redis and its database. With the
policy's own windows the ten take about five hours; a quick run shortens them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ops.migrations.migrate import migrate
from ops.stack.real import RealStack
from ops.stack.topics import create_topics
from pipeline.drills.drills import DrillName, Verdict

DRILL_S: Final = 2 * 3_600
"""Time limit of one drill."""


def run(say: Callable[[str], None], folder: Path, *, is_quick: bool) -> dict[str, object]:
    with RealStack(folder / "stack", with_postgres=True) as stack:
        create_topics(stack.bootstrap_servers)
        migrate(stack.database_url)
        settings = {
            "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
            "FRAUD_REDIS_URL": stack.redis_url,
            "FRAUD_DATABASE_URL": stack.database_url,
        }
        drills = {drill.value: _drilled(say, drill, folder, settings, is_short=is_quick) for drill in DrillName}
    return {"ok": all(each["verdict"] == Verdict.PASSED for each in drills.values()), "drills": drills}


def _drilled(
    say: Callable[[str], None], drill: DrillName, folder: Path, settings: dict[str, str], *, is_short: bool
) -> dict[str, Any]:
    command = [sys.executable, "-m", "ops.cli", "drill", drill, "--json", "--directory", str(folder / "reports")]
    command += ["--short"] if is_short else []
    done = subprocess.run(  # noqa: S603 - our own command
        command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=DRILL_S, check=False
    )
    (folder / f"{drill}.log").write_text(done.stderr, encoding="utf-8")
    if not done.stdout:
        say(f"{drill}: it ended with {done.returncode}")
        return {"verdict": "NONE", "exit": done.returncode}
    report = json.loads(done.stdout)
    say(f"{drill}: {report['verdict']} {report['why']}")
    figures = {finding["measure"]: finding["figure"] for finding in report["findings"]}
    unmet = {finding["measure"]: finding["why"] for finding in report["findings"] if not finding["is_met"]}
    return {
        "verdict": report["verdict"],
        "exit": done.returncode,
        "why": report["why"],
        **figures,
        "unmet": unmet,
        "faults": report["faults"],
    }
