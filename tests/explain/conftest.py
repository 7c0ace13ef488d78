"""A broker, PostgreSQL, a rail, and on them a bank whose services are fed by hand, record by record."""

from __future__ import annotations

import itertools
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from ops.migrations.migrate import migrate
from ops.rail.process import rail_process, rail_url
from ops.stack.embedded import EmbeddedStack
from ops.stack.processes import free_port
from tests.cli.conftest import fraud  # noqa: F401 - a fixture
from tests.explain.bank import Bank

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory):
    with EmbeddedStack(tmp_path_factory.mktemp("stack"), with_postgres=True) as stack:
        yield stack


@pytest.fixture(scope="session")
def rail(tmp_path_factory: pytest.TempPathFactory):
    port = free_port()
    process = rail_process(tmp_path_factory.mktemp("rail"), port)
    process.start()
    yield rail_url(port)
    process.stop()


@pytest.fixture
def database_url(stack: EmbeddedStack) -> str:
    """Of the owner, migrated and empty."""
    name = f"explain_{next(_numbers)}"
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    url = stack.database_url.rpartition("/")[0] + f"/{name}"
    migrate(url)
    return url


@pytest.fixture
def bank(stack: EmbeddedStack, database_url: str, rail: str, tmp_path: Path):
    with closing(Bank(stack.bootstrap_servers, database_url, rail, tmp_path)) as bank:
        yield bank
