"""A database of its own for each test, on one server; a broker; a rail."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from ops.migrations.migrate import migrate
from ops.rail.misbehaviour import Misbehaviour
from ops.rail.process import rail_process, rail_url
from ops.stack.embedded import EmbeddedStack
from ops.stack.processes import free_port
from pipeline.io.kafka.appender import Appender
from pipeline.io.postgres import Connection, connect
from tests.execute.given import Desk

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    with EmbeddedStack(tmp_path_factory.mktemp("stack"), with_postgres=True) as stack:
        yield stack


@pytest.fixture(scope="session")
def appender(stack: EmbeddedStack) -> Appender:
    return Appender(stack.bootstrap_servers, "test-executor", {})


@pytest.fixture
def database_url(stack: EmbeddedStack) -> str:
    """Of the owner, migrated and empty."""
    name = f"execution_{next(_numbers)}"
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    url = stack.database_url.rpartition("/")[0] + f"/{name}"
    migrate(url)
    return url


@pytest.fixture
def executor_url(database_url: str) -> str:
    return database_url.replace("fraud_owner@", "fraud_executor@")


@pytest.fixture
def owner(database_url: str) -> Iterator[Connection]:
    with closing(connect(database_url, "test")) as connection:
        yield connection


@pytest.fixture
def rail_of(tmp_path: Path):
    """Starts a rail; all are stopped after the test."""
    started = []

    def start(misbehaviour: Misbehaviour | None = None) -> str:
        port = free_port()
        process = rail_process(tmp_path / f"rail-{port}", port, misbehaviour)
        started.append(process)
        process.start()
        return rail_url(port)

    yield start
    for process in started:
        process.stop()


@pytest.fixture
def desk(executor_url: str, appender: Appender, rail_of) -> Iterator[Desk]:
    """An executor against a rail that behaves."""
    with closing(Desk(executor_url, appender, rail_of())) as desk:
        yield desk
