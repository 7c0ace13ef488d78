"""The migrations and the services' statements hold on every major version of PostgreSQL from 15 to 18."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.pq import ExecStatus

from ops.access.foreign_database import foreign_rights
from ops.migrations.migrate import migrate
from ops.processes.servers import free_port
from ops.stack.postgres import INSTEAD_OF_BUNDLED, postgres_server, postgres_url
from ops.stack.postgres_releases.programs import released_folder
from ops.stack.versions import POSTGRES_MAJORS
from pipeline.io.postgres import statements

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[3]
FILES = sorted(
    path for folder in ("pipeline", "models", "ops/access", "ops/state") for path in (ROOT / folder).rglob("*.sql")
)
PLACEHOLDER = re.compile(r"%%|%s|%b|%\(\w+\)[sb]")
# What only runs in a transaction of its own, several commands at once, and so can't be prepared.
SETTINGS_ONLY = {"plan_for_points"}
TEMPLATES = ROOT / "pipeline" / "audit" / "tables" / "tables.sql", re.compile(rb"\{(name|table|columns?)\}")
"""The file whose statements are filled in with a table's names first, and how they are known."""
ON_EVERY_MAJOR = (
    "tests/ops/test_migrate.py",
    "tests/execute/test_ledger_store.py",
    "tests/audit/tables/test_followed.py",
)
"""Tests of grants, row security, partitions and triggers, of the ledger, whose rules the database itself holds, and of
the statements that are templates."""
MODULES_TIMEOUT_S = 600


@pytest.fixture(scope="module", params=POSTGRES_MAJORS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Provide the address of a migrated database."""
    port = free_port()
    server = postgres_server(released_folder(request.param), tmp_path_factory.mktemp(f"postgres-{request.param}"), port)
    server.start()
    try:
        with psycopg.connect(postgres_url(port)) as connection:
            assert connection.info.server_version // 10_000 == request.param
        migrate(postgres_url(port))
        yield postgres_url(port)
    finally:
        server.stop()


def test_migrations_are_applied_once(url: str) -> None:
    assert migrate(url) == []


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_every_statement_is_understood(url: str, path: Path) -> None:
    with psycopg.connect(url) as connection:
        for name, statement in statements(".".join(path.parent.relative_to(ROOT).parts), path.stem).items():
            if path == TEMPLATES[0] and TEMPLATES[1].search(statement):
                continue  # one of ON_EVERY_MAJOR runs it
            if name in SETTINGS_ONLY:
                connection.execute(statement)
            else:
                prepared = connection.pgconn.prepare(name.encode(), _numbered(statement))
                assert prepared.status == ExecStatus.COMMAND_OK, f"{name}: {prepared.error_message.decode()}"


def test_what_holds_the_roles_is_the_same_on_every_version(url: str) -> None:
    assert foreign_rights(url) == []


def test_no_statement_is_left_out() -> None:
    assert FILES
    ours = [path for folder in ("pipeline", "models", "ops") for path in (ROOT / folder).rglob("*.sql")]
    assert sorted(ours) == sorted([*FILES, *(ROOT / "ops" / "migrations").glob("*.sql")])


@pytest.mark.timeout(MODULES_TIMEOUT_S)
@pytest.mark.parametrize("major", [major for major in POSTGRES_MAJORS if major != max(POSTGRES_MAJORS)])
def test_stores_pass_their_tests_on(major: int, tmp_path: Path) -> None:
    """The embedded PostgreSQL, on which they run anyway, is the newest."""
    command = [sys.executable, "-m", "pytest", "-m", "not real", "--basetemp", str(tmp_path / "run"), *ON_EVERY_MAJOR]
    environment = {**os.environ, INSTEAD_OF_BUNDLED: str(released_folder(major))}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:]


def _numbered(statement: bytes) -> bytes:
    """Turn psycopg's placeholders into PostgreSQL's own."""
    number = 0

    def replaced(match: re.Match[str]) -> str:
        nonlocal number
        if match[0] == "%%":
            return "%"
        number += 1
        return f"${number}"

    return PLACEHOLDER.sub(replaced, statement.decode()).encode()
