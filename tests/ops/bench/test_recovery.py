"""The recovery bench in its quick form, on the real stack with every service: `pytest -m real`."""

import sys
from pathlib import Path

import pytest

from ops.bench.recovery import recovery
from ops.bench.recovery.copies import Means

pytestmark = [pytest.mark.real, pytest.mark.timeout(1800)]


def test_what_is_put_back_is_reconciled_with_the_rail_and_nothing_is_paid_twice(tmp_path: Path) -> None:
    result = recovery.run(lambda line: print(line, file=sys.stderr), tmp_path, is_quick=True)
    assert {} == result["violations"]
    assert 0 == result["statement_differences"]
    losses = result["losses"]
    assert isinstance(losses, dict)
    assert {str(means) for means in Means} == set(losses)
    for loss in losses.values():
        assert loss["noticed"]
        assert 0 == loss["paid_while_refusing"]
    assert 0 < losses[Means.BASE_BACKUP]["payments_taken_over"]
    assert result["ok"], result
