"""Fixtures that every folder of tests shares. tests/README.md says which to take for what."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.archive import Archive
from tests.commands import fraud
from tests.rails import rail_address, rail_of
from tests.redis_servers import redis_at, started_redis
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
    "started_redis",
]


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)
