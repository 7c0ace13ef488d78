"""One PostgreSQL for the tests here, from pip's binaries, and a migrated database for each test."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from ops.migrations.migrate import migrate
from ops.stack.postgres import PostgresServer, bundled_folder, postgres_server, postgres_url
from ops.stack.processes import free_port
from tests.audit.logs import Bench

TEMPLATE = "audit_template"
_numbers = count(1)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresServer, int]]:
    port = free_port()
    # Nothing here asks what survives a crash of the machine; a kill of the server loses no page either way.
    settings = {"fsync": "off", "full_page_writes": "off"}
    server = postgres_server(bundled_folder(), tmp_path_factory.mktemp("postgres"), port, settings=settings)
    server.start()
    with psycopg.connect(postgres_url(port), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TEMPLATE}".encode())
    migrate(postgres_url(port, database=TEMPLATE))
    yield server, port
    server.stop()


@pytest.fixture
def database(postgres: tuple[PostgresServer, int]) -> str:
    """The name of a migrated database of the test's own."""
    name = f"audit_{next(_numbers)}"
    with psycopg.connect(postgres_url(postgres[1]), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}".encode())
    return name


@pytest.fixture
def bench(postgres: tuple[PostgresServer, int], database: str, tmp_path: Path) -> Iterator[Bench]:
    opened = Bench(postgres[0], postgres[1], database, tmp_path)
    yield opened
    opened.close()
