"""PostgreSQL as a process, from the binaries that pip brings, is killed, paused, stopped and started again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from ops.processes.servers import LOOPBACK, free_port
from ops.stack.embedded import EmbeddedStack
from ops.stack.postgres import (
    PostgresServer,
    answers,
    bundled_folder,
    postgres_server,
    postgres_url,
    system_folder,
)
from ops.stack.versions import POSTGRES_SETTINGS
from tests.ops.stack.rounds import has_ended


class Server:
    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.log_path = directory / "postgres.log"
        self.process: PostgresServer = postgres_server(bundled_folder(), directory, self.port)
        self.url = postgres_url(self.port)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("postgres"))
    server.process.start()
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (number integer)")
    yield server
    server.process.stop()


def numbers(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM kept ORDER BY number").fetchall()]


def test_committed_rows_outlive_kill_and_stop_on_the_same_port(server: Server) -> None:
    for number, end in enumerate((server.process.kill, server.process.stop), start=1):
        with psycopg.connect(server.url) as connection:
            connection.execute("INSERT INTO kept VALUES (%s)", [number])
        end()
        assert not answers(server.url)
        server.process.start()
        assert list(range(1, number + 1)) == numbers(server.url)


def test_its_log_quotes_nothing_of_what_was_refused(server: Server) -> None:
    """Neither the statement, nor the row that a constraint names, nor the line of a COPY (I10)."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE held (account_id text PRIMARY KEY, amount_minor bigint CHECK (amount_minor < 9))"
        )
        connection.execute("INSERT INTO held VALUES ('GB29-SECRET', 1)")
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO held VALUES ('GB29-SECRET', 1)")
        with pytest.raises(psycopg.errors.CheckViolation), connection.cursor() as cursor:
            copy_one(cursor)
    logged = server.log_path.read_text()
    assert "duplicate key value" in logged
    assert "violates check constraint" in logged
    assert "GB29-SECRET" not in logged
    assert "INSERT INTO held" not in logged


def copy_one(cursor: psycopg.Cursor[psycopg.rows.TupleRow]) -> None:
    with cursor.copy("COPY held FROM STDIN") as copy:
        copy.write_row(("GB29-SECRET-2", 10))


def test_kill_ends_the_sessions_too(server: Server) -> None:
    with psycopg.connect(server.url) as connection:
        session_pid = connection.info.backend_pid
        server.process.kill()
    assert has_ended(session_pid)
    server.process.start()


def test_stop_does_not_wait_for_sessions(server: Server) -> None:
    with psycopg.connect(server.url, autocommit=True):
        server.process.stop(grace_s=10)
        assert not server.process.is_running
    server.process.start()


def test_paused_server_is_silent_until_resumed(server: Server) -> None:
    server.process.pause()
    was_silent = not answers(server.url)
    server.process.resume()
    assert was_silent
    assert answers(server.url)


def test_every_setting_of_the_stacks_is_in_force(server: Server) -> None:
    with psycopg.connect(server.url) as connection:
        found = {name: connection.execute(f"SHOW {name}".encode()).fetchone() for name in POSTGRES_SETTINGS}
        checksums = connection.execute("SHOW data_checksums").fetchone()
    assert {name: (value,) for name, value in POSTGRES_SETTINGS.items()} == found
    assert ("on",) == checksums


def test_server_listens_on_loopback_only_and_not_as_root(server: Server) -> None:
    process = psutil.Process(server.process.pid)
    hosts = {c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN}
    assert {LOOPBACK} == hosts
    assert process.uids().effective != 0


def test_embedded_stack_has_a_database_only_when_asked(tmp_path: Path) -> None:
    with EmbeddedStack(tmp_path / "with", with_postgres=True) as stack:
        assert answers(stack.database_url)
        pid = int(stack.addresses()["postgres_pid"])
    assert has_ended(pid)
    without = EmbeddedStack(tmp_path / "without")
    assert without.postgres is None
    assert "" == without.database_url


def test_system_s_programs_are_taken_where_there_are_any() -> None:
    assert (system_folder() / "initdb").exists()
    assert (bundled_folder() / "postgres").exists()
