"""The rollback bench in its quick form, on the real stack with every service: `pytest -m real`."""

import sys
from pathlib import Path

import pytest

from ops.bench.rollback import rollback

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]


def test_a_rollback_under_traffic_and_kills_does_what_was_planned_and_nothing_else(tmp_path: Path) -> None:
    result = rollback.run(lambda line: print(line, file=sys.stderr), tmp_path, is_quick=True)
    assert {} == result["violations"]
    assert 3 == result["kills"]
    assert 0 < result["reviewed_meanwhile"]
    assert 0 < result["stale_reversals"]
    assert 0 < result["rolled_back"]["changing"]
    assert result["ok"], result
