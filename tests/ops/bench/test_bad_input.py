"""The bench of bad input in its quick form, on the real stack."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.bench.bad_input import bad_input
from tests.ops.bench.saying import say

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]


def test_no_bad_record_is_allowed_and_none_ends_the_worker(tmp_path: Path) -> None:
    result = bad_input.run(say, tmp_path, is_quick=True)
    assert [] == result["wrong"]
    assert 0 == result["allowed_bad_records"]
    assert {} == result["violations"]
    assert result["same_process_at_the_end"]
