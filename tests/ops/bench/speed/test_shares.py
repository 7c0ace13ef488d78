"""The bench of shares, small."""

from __future__ import annotations

from pathlib import Path

from ops.bench.speed import shares


def test_it_measures_each_share_and_the_look(tmp_path: Path) -> None:
    found = shares.run(lambda _: None, tmp_path, is_quick=True)
    costs = found["judge_us"]
    assert isinstance(costs, dict)
    assert list(costs) == ["0 %", "1 %", "10 %", "50 %"]
    assert all(cost > 0 for cost in costs.values())
    assert found["is_ok"] is True
