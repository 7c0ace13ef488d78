from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.audit.logs import Bench
from tests.servers import Postgres


@pytest.fixture
def bench(postgres: Postgres, database_url: str, tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(postgres.server, database_url, tmp_path)
    yield opened
    opened.close()
