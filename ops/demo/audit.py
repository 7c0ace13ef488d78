"""The audit log in the demonstration: signed at once, exported, and verified by a process without a database."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from ops.demo.scene import Scene
from ops.processes.servers import ServerProcess
from pipeline.audit.chain import ENTRY_BYTES
from pipeline.audit.leaf_files import leaf_path, partitions_of
from pipeline.audit.outside_command import export_log, heads
from pipeline.io.avro.wire import WireFormat
from pipeline.terminal.failures import Failure

ANCHOR_S: Final = 60.0
VERIFIER_S: Final = 300
TICK_S: Final = 0.1
UNANSWERED: Final = 2
"""The verifier's exit code where it can't say."""


class Verified(NamedTuple):
    """The offline verifier's answer about an export: its rows, those under a signed head, and what doesn't fit."""

    rows: int
    partitions: int
    heads: int
    signed: int
    findings: int

    @property
    def is_good(self) -> bool:
        return not self.findings and self.rows == self.signed > 0


def verify_audit(scene: Scene, wire: WireFormat, audit: ServerProcess, folder: Path) -> Verified:
    """Verify the audit log. Nothing is written meanwhile, so every row must be under a signed head.

    Raises Failure where the verifier can't say.
    """
    os.kill(audit.pid, signal.SIGUSR1)
    deadline_s = time.monotonic() + ANCHOR_S
    while _signed(scene) < _leaves(scene):
        if time.monotonic() > deadline_s:
            raise Failure("The audit service signs no head.", f"Its log is {audit.log_path}.")
        time.sleep(TICK_S)
    export_log(scene.as_role("fraud_reader"), wire, folder, with_topic=True)
    report = _verifier(folder, Path(f"{scene.settings.audit_key_file}.keys"))
    return Verified(report["rows"], report["partitions"], report["heads"], report["signed"], report["found"])


def _signed(scene: Scene) -> int:
    """Count the records under the latest head of each partition."""
    latest: dict[int, int] = {}
    for signed in heads(scene.settings):
        latest[signed.head.partition] = max(signed.head.tree_size, latest.get(signed.head.partition, 0))
    return sum(latest.values())


def _leaves(scene: Scene) -> int:
    directory, topic = scene.settings.audit_directory, scene.settings.topic("decisions.v1")
    sizes = [leaf_path(directory, topic, partition).stat().st_size for partition in partitions_of(directory, topic)]
    return sum(sizes) // ENTRY_BYTES


def _verifier(folder: Path, keys: Path) -> dict[str, Any]:
    """Nobody witnesses the demonstration's log, which is two minutes old."""
    command = [sys.executable, "-m", "ops.verifier", "log", str(folder), "--keys", str(keys)]
    command += ["--unwitnessed", "--all", "--json"]
    done = subprocess.run(  # noqa: S603 - the command is ours
        command, capture_output=True, text=True, timeout=VERIFIER_S, check=False
    )
    if done.returncode >= UNANSWERED:
        raise Failure("The audit log could not be verified.", done.stderr.strip())
    report: dict[str, Any] = json.loads(done.stdout)
    return report
