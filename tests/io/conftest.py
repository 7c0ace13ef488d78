from __future__ import annotations

from collections.abc import Iterator

import pytest

from ops.stack.embedded import EmbeddedStack


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Provide the address of an embedded broker that a module of tests has to itself."""
    with EmbeddedStack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack.bootstrap_servers
