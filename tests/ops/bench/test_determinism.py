"""The bench of determinism in its quick form, on the real stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.bench.loss import determinism
from tests.ops.bench.saying import say

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]


def test_same_log_gives_the_same_decisions(tmp_path: Path) -> None:
    result = determinism.run(say, tmp_path, is_quick=True)
    assert result["ok"], result["runs"]
