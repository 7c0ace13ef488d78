from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ops.stack.embedded import EmbeddedStack
from tests.oncall.stand import Stand


@pytest.fixture
def stand(stack: EmbeddedStack, database_url: str, tmp_path: Path) -> Iterator[Stand]:
    with closing(Stand(stack.bootstrap_servers, database_url, tmp_path)) as stand:
        yield stand
