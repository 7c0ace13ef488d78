"""A database of its own for each test, on one server, and a broker."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from ops.migrations.migrate import migrate
from ops.stack.embedded import EmbeddedStack
from pipeline.io.postgres import Connection, connect

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    with EmbeddedStack(tmp_path_factory.mktemp("stack"), with_postgres=True) as stack:
        yield stack


@pytest.fixture
def database_url(stack: EmbeddedStack) -> str:
    """Of the owner, migrated and empty."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(stack.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    url = stack.database_url.rpartition("/")[0] + f"/{name}"
    migrate(url)
    return url


def url_of(database_url: str, role: str) -> str:
    """The same database as another role; the embedded server asks for no password."""
    return database_url.replace("fraud_owner@", f"{role}@")


@pytest.fixture
def owner(database_url: str) -> Iterator[Connection]:
    with closing(connect(database_url, "test")) as connection:
        yield connection


@pytest.fixture
def reviewer_url(database_url: str) -> str:
    return url_of(database_url, "fraud_review")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path
