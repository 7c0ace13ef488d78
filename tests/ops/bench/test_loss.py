"""The bench of loss in its quick form, on the real stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.bench.loss import loss
from tests.ops.bench.saying import say

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]


def test_faults_lose_nothing_and_decide_nothing_twice(tmp_path: Path) -> None:
    result = loss.run(say, tmp_path, is_quick=True)
    assert {} == result["violations"], result["first_violations"]
    assert result["ok"]
