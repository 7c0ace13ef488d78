"""The alerts bench in its quick form, on the real stack: `pytest -m real`."""

import sys
from pathlib import Path

import pytest

from ops.bench.alerts import alerts

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]


def test_no_alert_is_lost_in_sinks_that_fail_and_none_is_told_twice_unsaid(tmp_path: Path) -> None:
    result = alerts.run(lambda line: print(line, file=sys.stderr), tmp_path, is_quick=True)
    assert [] == result["violations"]
    assert (alerts.ALERTS // alerts.QUICK, 0) == (result["alerts"], result["lost"])
    assert 5 >= result["pages_of_the_largest"]
    assert 2 <= result["kills"]
    assert result["ok"], result
