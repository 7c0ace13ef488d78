"""The servers that tests share: each is started once a test process, when the first test asks for it.

With workers in parallel each worker has its own, so that nothing that a test leaves behind can meet another worker's.
Tests that break a server start one of their own.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Final, NamedTuple

import psycopg
import pytest

from ops.access.roles import POSTGRES_OWNER
from ops.migrations.migrate import migrate
from ops.processes.servers import free_port
from ops.stack.embedded import EmbeddedStack
from ops.stack.postgres import PostgresServer, bundled_folder, postgres_server, postgres_url
from ops.stack.topics import create_topics
from pipeline.io.postgres import Connection, connect

TEMPLATE: Final = "migrated"
# Nothing on the shared server asks what survives a crash of the machine; a kill of the server loses no page either way.
POSTGRES_UNSAFE: Final = MappingProxyType({"fsync": "off", "full_page_writes": "off"})
MEMORY: Final = Path("/dev/shm")
MEMORY_FREE_BYTES_MIN: Final = 4 * 2**30
"""A container's is 64 MB where nobody says otherwise; the databases of a whole run take some hundred."""
SOON_FREE: Final = MappingProxyType({"session.timeout.ms": "3000", "heartbeat.interval.ms": "250"})
"""Of a member whose place in its group another takes during the test. Nobody but the session's timeout tells the mock
broker that a static member has gone, and it then holds the group for as long, less a second. It can't be much shorter:
a member that a busy machine keeps from beating for as long is shut out, and ends."""

_numbers = itertools.count(1)


def unused_prefix() -> str:
    """Of topics that no other test of this process has: each has some of its own on the shared broker."""
    return f"t{next(_numbers)}."


def url_as(database_url: str, role: str) -> str:
    """The same database as another role; the shared server asks for no password."""
    return database_url.replace(f"{POSTGRES_OWNER}@", f"{role}@")


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStack]:
    """The mock broker, with the project's topics, and Redis."""
    with EmbeddedStack(tmp_path_factory.mktemp("stack")) as stack:
        create_topics(stack.bootstrap_servers)
        yield stack


class Postgres(NamedTuple):
    """The server; copying: how it copies a database the soonest."""

    server: PostgresServer
    port: int
    copying: str

    def execute(self, *statements: str) -> None:
        with psycopg.connect(postgres_url(self.port), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """With a migrated database, from which each test's own is copied."""
    port = free_port()
    with _folder(tmp_path_factory) as folder:
        server = postgres_server(bundled_folder(), folder, port, settings=POSTGRES_UNSAFE)
        server.start()
        postgres = Postgres(server, port, "FILE_COPY" if folder.is_relative_to(MEMORY) else "WAL_LOG")
        postgres.execute(f"CREATE DATABASE {TEMPLATE}")
        migrate(postgres_url(port, database=TEMPLATE))
        yield postgres
        server.stop()


@contextmanager
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make the server's folder in memory where there is enough: a copy, 900 files, takes a fifth of the time there."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < MEMORY_FREE_BYTES_MIN:
        yield tmp_path_factory.mktemp("postgres")
        return
    with TemporaryDirectory(prefix="fraud-tests-", dir=MEMORY) as folder:
        yield Path(folder)


@pytest.fixture
def database_url(postgres: Postgres) -> Iterator[str]:
    """Of the owner of a migrated, empty database that only this test has."""
    name = f"test_{next(_numbers)}"
    # A copy has the tables and their rights, but not the rights on the database itself.
    rights = f"(SELECT datacl FROM pg_database WHERE datname = '{TEMPLATE}')"
    postgres.execute(
        f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY {postgres.copying}",
        f"UPDATE pg_database SET datacl = {rights} WHERE datname = '{name}'",
    )
    yield postgres_url(postgres.port, database=name)
    postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def owner(database_url: str) -> Iterator[Connection]:
    with closing(connect(database_url, "test")) as connection:
        yield connection
