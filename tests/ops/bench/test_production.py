"""The production Compose files, acted out in their quick form: `pytest -m real`."""

import sys
from pathlib import Path

import pytest

from ops.bench.production import production

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]
CHECKED = (
    "kafka",
    "redis",
    "postgres",
    "worker",
    "audit",
    "executor",
    "review",
    "reconcile",
    "incident",
    "bias",
    "alerts",
)


@pytest.mark.skipif(production.why_not() is not None, reason=production.why_not() or "it can be acted out")
def test_production_comes_up_as_the_files_say_and_settles_a_payment(tmp_path: Path) -> None:
    result = production.run(lambda line: print(line, file=sys.stderr), tmp_path, is_quick=True)
    assert [] == result["faults"]
    assert "SETTLED" in str(result["states"])
    assert int(str(result["heads"])) > 0
    seen = result["health_checks_seen_to_fail"]
    assert isinstance(seen, list)
    assert {f"{name}: stopped" for name in CHECKED} <= set(seen)
    assert {f"{name}: wrong credential" for name in CHECKED if name != "worker"} <= set(seen)
    assert result["ok"], result
