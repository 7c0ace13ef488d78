"""The correctness benches in their quick form, on the real stack: `pytest -m real`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ops.bench.bad_input import bad_input
from ops.bench.loss import determinism, loss

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]


def say(line: str) -> None:
    print(line, file=sys.stderr)


def test_no_bad_record_is_allowed_and_none_ends_the_worker(tmp_path: Path) -> None:
    result = bad_input.run(say, tmp_path, is_quick=True)
    assert [] == result["wrong"]
    assert 0 == result["allowed_bad_records"]
    assert {} == result["violations"]
    assert result["same_process_at_the_end"]


def test_faults_lose_nothing_and_decide_nothing_twice(tmp_path: Path) -> None:
    result = loss.run(say, tmp_path, is_quick=True)
    assert {} == result["violations"], result["first_violations"]
    assert result["ok"]


def test_same_log_gives_the_same_decisions(tmp_path: Path) -> None:
    result = determinism.run(say, tmp_path, is_quick=True)
    assert result["ok"], result["runs"]
