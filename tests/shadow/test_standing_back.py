"""The shadow gives way to everything else on its machine, by its own niceness and that of its session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.shadow import service_command
from pipeline.shadow.service_command import AUTOGROUP, NICENESS, stand_back

TELLS = """
import os
from pipeline.shadow.service_command import AUTOGROUP, stand_back
stand_back()
print(os.getpriority(os.PRIO_PROCESS, 0), AUTOGROUP.read_text() if AUTOGROUP.exists() else "")
"""


def told(*, is_leader: bool) -> list[str]:
    """Return the niceness of a process that stands back, and what Linux says of its session."""
    command = [sys.executable, "-c", TELLS]
    return subprocess.run(
        command, start_new_session=is_leader, capture_output=True, text=True, timeout=300, check=True
    ).stdout.split()


@pytest.mark.parametrize("is_leader", [True, False])
def test_its_process_is_the_least_urgent(is_leader: bool) -> None:
    assert told(is_leader=is_leader)[0] == str(NICENESS)


@pytest.mark.skipif(not AUTOGROUP.exists(), reason="this kernel does not weigh sessions against each other")
def test_its_own_session_is_too_and_one_that_it_shares_is_left_as_it_is() -> None:
    assert told(is_leader=True)[-1] == str(NICENESS)
    before = AUTOGROUP.read_text()
    told(is_leader=False)
    assert AUTOGROUP.read_text() == before


def test_a_kernel_without_the_niceness_of_sessions_is_no_fault(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[int] = []
    monkeypatch.setattr(os, "nice", given.append)
    monkeypatch.setattr(os, "getsid", lambda _: os.getpid())
    monkeypatch.setattr(service_command, "AUTOGROUP", tmp_path / "absent" / "autogroup")
    stand_back()
    assert given == [NICENESS]
