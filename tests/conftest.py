"""Fixtures that every folder of tests shares. tests/README.md says which to take for what."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import hypothesis
import pytest

from tests.archive import Archive
from tests.commands import fraud
from tests.rails import rail_address, rail_of
from tests.redis_servers import redis_at, started_cluster, started_redis
from tests.servers import database_url, owner, postgres, stack

__all__ = [
    "archive",
    "database_url",
    "fraud",
    "owner",
    "postgres",
    "rail_address",
    "rail_of",
    "redis_at",
    "stack",
    "started_cluster",
    "started_redis",
]

WORKERS_A_CORE: Final = 2
"""Of `-n auto`: a test waits for servers more than it computes."""
WORKERS_MAX: Final = 8
"""Each has servers of its own, about half a gigabyte."""

# The tests start hundreds of processes; each would compile every module that it imports anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# By default an example that takes over 0.2 s fails its test, and so do examples that take long to make: beside other
# tests that says nothing about ours.
hypothesis.settings.register_profile(
    "in parallel",
    hypothesis.settings(),
    deadline=None,
    suppress_health_check=[*hypothesis.settings().suppress_health_check, hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("in parallel")


def pytest_xdist_auto_num_workers() -> int:
    return min(WORKERS_A_CORE * (os.cpu_count() or 1), WORKERS_MAX)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a test that may take long come first, so that no worker is left alone with them in the end."""
    longest_s: dict[Path, float] = {}
    for test in items:
        longest_s[test.path] = max(longest_s.get(test.path, 0.0), _limit_s(test))
    items.sort(key=lambda test: -longest_s[test.path])


def _limit_s(test: pytest.Item) -> float:
    """What a test's own mark says; 0 where the limit of all applies."""
    mark = test.get_closest_marker("timeout")
    return float(mark.args[0]) if mark is not None else 0.0


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)
