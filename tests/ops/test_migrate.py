"""Migrations are applied once each, in order, as a whole or not at all; and the first of them keeps its promises."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import psycopg
import pytest

from ops.migrations.migrate import FOLDER, MigrationRefused, migrate, migrations
from ops.processes.servers import free_port
from ops.stack.postgres import bundled_folder, postgres_server, postgres_url
from pipeline.io.postgres import PositionMoved, Positions, connect, statements

SERVICES = (
    "fraud_audit",
    "fraud_executor",
    "fraud_review",
    "fraud_rollback",
    "fraud_reconcile",
    "fraud_incident",
    "fraud_bias",
)
FORBIDDEN = (
    "CREATE TABLE public.x (n integer)",
    "CREATE TABLE control.x (n integer)",
    "CREATE SCHEMA x",
    "INSERT INTO control.migration VALUES (99, 'x', sha256(''))",
    "SET ROLE fraud_owner",
)
_numbers = count(1)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port = free_port()
    server = postgres_server(bundled_folder(), tmp_path_factory.mktemp("postgres"), port, settings={"fsync": "off"})
    server.start()
    yield port
    server.stop()


@pytest.fixture
def url(port: int) -> str:
    name = f"migrated_{next(_numbers)}"
    with psycopg.connect(postgres_url(port), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return postgres_url(port, database=name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The foundation alone, to add to."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for name in ("bootstrap.sql", "0001_foundation.sql"):
        shutil.copy(FOLDER / name, folder)
    return folder


def as_role(url: str, role: str) -> str:
    return url.replace("fraud_owner@", f"{role}@")


def test_every_migration_is_applied_once_and_recorded_with_its_hash(url: str) -> None:
    applied = migrate(url)
    assert migrations() == applied
    assert [] == migrate(url)
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT version, name, sha256 FROM control.migration ORDER BY version").fetchall()
    assert [(m.version, m.name, m.sha256) for m in applied] == rows


def test_changed_file_that_was_applied_is_refused(url: str, folder: Path) -> None:
    migrate(url, folder)
    with (folder / "0001_foundation.sql").open("a") as file:
        file.write("-- changed\n")
    with pytest.raises(MigrationRefused, match=r"0001_foundation\.sql was changed after it was applied"):
        migrate(url, folder)


def test_file_added_before_an_applied_one_is_refused(url: str, folder: Path) -> None:
    (folder / "0005_late.sql").write_text("SELECT 1;")
    migrate(url, folder)
    (folder / "0003_early.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationRefused, match="0003 is new, but 0005 is applied"):
        migrate(url, folder)


def test_applied_file_that_is_gone_is_refused(url: str, folder: Path) -> None:
    (folder / "0005_gone.sql").write_text("SELECT 1;")
    migrate(url, folder)
    (folder / "0005_gone.sql").unlink()
    with pytest.raises(MigrationRefused, match="0005 is applied, but its file is gone"):
        migrate(url, folder)


def test_migration_that_fails_leaves_nothing_of_itself(url: str, folder: Path) -> None:
    (folder / "0002_broken.sql").write_text("CREATE TABLE control.half (n integer); SELECT 1 / 0;")
    with pytest.raises(MigrationRefused, match=r"0002_broken\.sql failed"):
        migrate(url, folder)
    with psycopg.connect(url) as connection:
        assert (None,) == connection.execute("SELECT to_regclass('control.half')").fetchone()
        assert (1,) == connection.execute("SELECT max(version) FROM control.migration").fetchone()


def test_files_must_be_named_and_numbered_once(folder: Path) -> None:
    (folder / "0001_again.sql").write_text("")
    with pytest.raises(MigrationRefused, match="the same number"):
        migrations(folder)
    (folder / "0001_again.sql").rename(folder / "again.sql")
    with pytest.raises(MigrationRefused, match="not named"):
        migrations(folder)


@pytest.mark.parametrize("role", [*SERVICES, "fraud_reader", "fraud_worker"])
def test_no_role_but_the_owner_can_make_or_take_tables(url: str, role: str) -> None:
    migrate(url)
    for statement in FORBIDDEN:
        with pytest.raises(psycopg.Error) as raised, psycopg.connect(as_role(url, role)) as connection:
            connection.execute(statement.encode())
        assert "denied" in str(raised.value)


def test_worker_can_not_even_connect(url: str) -> None:
    migrate(url)
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(as_role(url, "fraud_worker"))


def test_position_moves_once_never_back_and_only_by_its_own_role(url: str) -> None:
    migrate(url)
    positions = Positions("audit", "decisions.v1")
    with connect(as_role(url, "fraud_audit"), "test") as connection:
        assert {0: 0, 3: 0} == positions.read(connection, [0, 3])
        positions.advance(connection, 3, 0, 7)
        for before in (0, 6, 8):
            with pytest.raises(PositionMoved):
                positions.advance(connection, 3, before, 9)
        positions.advance(connection, 3, 7, 9)
        assert {0: 0, 3: 9} == positions.read(connection, [0, 3])
        with pytest.raises(psycopg.errors.RestrictViolation):
            connection.execute("UPDATE control.consumer_position SET next_offset = 1")
    with connect(as_role(url, "fraud_executor"), "test") as connection:
        for partition, before in ((3, 9), (1, 0)):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                positions.advance(connection, partition, before, 10)
    for act in ("DELETE FROM control.consumer_position", "TRUNCATE control.consumer_position"):
        with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.RestrictViolation):
            connection.execute(act.encode())


def test_position_that_was_never_stored_starts_at_the_beginning_only(url: str) -> None:
    migrate(url)
    with connect(as_role(url, "fraud_audit"), "test") as connection, pytest.raises(PositionMoved):
        Positions("audit", "decisions.v1").advance(connection, 0, 5, 6)


def test_partitions_are_made_for_months_of_our_own_tables_only(url: str) -> None:
    migrate(url)
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(2):
            made = connection.execute("SELECT control.ensure_partition('audit.review_log', '2025-03-31 23:59:59-02')")
            assert ("review_log_2025_04",) == made.fetchone()
        for refused in ("'control.migration', now()", "'pg_class', now()", "'audit.review_log', '2019-12-31'",
                        "'audit.review_log', now() + interval '3 years'", "'audit.review_log', NULL"):  # fmt: skip
            with pytest.raises(psycopg.errors.InvalidParameterValue):
                connection.execute(f"SELECT control.ensure_partition({refused})".encode())


def test_every_partitioned_table_has_this_month_and_the_next_two(url: str) -> None:
    migrate(url)
    now = datetime.now(UTC)
    months = [divmod(now.year * 12 + now.month - 1 + ahead, 12) for ahead in range(3)]
    query = """SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE relkind = 'p' AND nspname IN ('audit', 'ledger', 'review', 'control', 'shadow') AND EXISTS (
            SELECT FROM pg_inherits JOIN pg_class p ON p.oid = inhrelid
            WHERE inhparent = c.oid AND p.relname = c.relname || %s)"""
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_class WHERE relkind = 'p'").fetchone()
        for year, month in months:
            assert tables == connection.execute(query, [f"_{year}_{month + 1:02}"]).fetchone()


def test_every_statement_has_a_name_and_a_description() -> None:
    for path in Path("pipeline").rglob("*.sql"):
        assert statements(".".join(path.parent.parts), path.stem)


def test_each_function_and_view_is_stated_once() -> None:
    """Whoever reads one in a migration reads it as it is. control.claimed_act grows by what each concern adds."""
    stated = Counter(
        match[1]
        for migration in migrations()
        for match in re.finditer(
            r"CREATE (?:OR REPLACE )?(?:FUNCTION|VIEW) ([a-z]+\.[a-z0-9_]+)", migration.sql.decode()
        )
    )
    assert len(stated) > 50
    assert {name for name, count in stated.items() if count > 1} == {"control.claimed_act"}
