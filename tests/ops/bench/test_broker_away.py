"""The bench of the broker's outages, with a single one, on the real stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.bench.loss import broker_away
from tests.ops.bench.saying import say

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]


def test_workers_decide_again_after_an_outage_longer_than_their_sessions(tmp_path: Path) -> None:
    result = broker_away.run(say, tmp_path, is_quick=True, sizes={"runs": 1})
    assert [] == result["failures"]
    assert result["ok"]
    assert 1 == result["runs"]
    assert not (tmp_path / "busy").exists(), "what kept the disk busy is removed"
