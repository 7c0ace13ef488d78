from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.stack.embedded import EmbeddedStack
from tests.audit.tables.given import Tables


@pytest.fixture
def tables(database_url: str, tmp_path: Path, stack: EmbeddedStack) -> Iterator[Tables]:
    opened = Tables(database_url, tmp_path, stack.bootstrap_servers)
    opened.log.open()
    yield opened
    opened.close()
