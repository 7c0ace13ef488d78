"""A bank whose services are fed by hand, record by record."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from ops.stack.embedded import EmbeddedStack
from tests.explain.bank import Bank


@pytest.fixture
def bank(stack: EmbeddedStack, database_url: str, rail_address: str, tmp_path: Path):
    with closing(Bank(stack.bootstrap_servers, database_url, rail_address, tmp_path)) as bank:
        yield bank
