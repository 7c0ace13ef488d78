"""An executor that is handed its records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from ops.stack.embedded import EmbeddedStack
from pipeline.io.kafka.appender import Appender
from tests.execute.given import Desk
from tests.servers import url_as


@pytest.fixture(scope="session")
def appender(stack: EmbeddedStack) -> Appender:
    return Appender(stack.bootstrap_servers, "test-executor", {})


@pytest.fixture
def executor_url(database_url: str) -> str:
    return url_as(database_url, "fraud_executor")


@pytest.fixture
def desk(executor_url: str, appender: Appender, rail_address: str) -> Iterator[Desk]:
    """An executor against a rail that behaves."""
    with closing(Desk(executor_url, appender, rail_address)) as desk:
        yield desk
