"""Copies of PostgreSQL and Redis while everything runs, their loss, and how they are put back."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import psycopg

from ops.bench.rig.commands import completed, with_settings
from ops.bench.rig.waiting import wait_until
from ops.processes.servers import free_port
from ops.stack.kafka.broker import kafka_broker
from ops.stack.postgres import UNPRIVILEGED_ID, system_folder
from ops.stack.real import RealStack
from pipeline.io.kafka.client import members_of
from pipeline.io.settings import Settings
from pipeline.terminal.failures import FAILED_CHECK

COMMAND_S: Final = 600.0
ARCHIVE_S: Final = 5
"""PostgreSQL hands a segment of its log over at least so often; docs/recovery.md has it at 60 s."""


class Means(StrEnum):
    """What the database is put back from."""

    BASE_BACKUP = "a base backup alone, started as after a crash"
    BACKUP_AND_LOG = "a base backup and the archived log, to its end"
    EVERYTHING = "a base backup alone, and the topics, which were lost, too"


class Copies:
    """Of one stack. Each copy has a folder of its own."""

    def __init__(self, stack: RealStack, directory: Path) -> None:
        self._stack, self._directory = stack, directory
        self._archive = directory / "copies" / "log-0"
        self._log_path = directory / "copies.log"
        self._count = self._archives = 0
        self._base = Path()

    def archive(self) -> None:
        """Have PostgreSQL keep its log elsewhere, which takes a restart."""
        command = self._new_archive(self._archive)
        with psycopg.connect(self._stack.database_url, autocommit=True) as connection:
            for name, value in (
                ("archive_mode", "on"),
                ("archive_command", command),
                ("archive_timeout", f"{ARCHIVE_S}s"),
            ):
                connection.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
        assert self._stack.postgres is not None
        self._stack.postgres.stop()
        self._stack.postgres.start()

    def take(self) -> float:
        """Copy both servers as they are; return the seconds that it took."""
        began = time.monotonic()
        self._count += 1
        self._base = self._directory / "copies" / f"base-{self._count}"
        url = self._stack.database_url
        program = str(system_folder() / "pg_basebackup")
        self._run([program, "--dbname", url, "--pgdata", str(self._base), "--checkpoint=fast", "--wal-method=stream"])
        self.fraud("state", "backup", str(self._directory / "copies" / "state"))
        return round(time.monotonic() - began, 1)

    def take_topics(self) -> int:
        """Copy what came to the topics since the last time; how many records."""
        said = self.fraud("topics", "backup", str(self._directory / "copies" / "topics"))
        return sum(each["records"] for each in said)

    def lose_topics(self) -> None:
        """Kill the broker, and put one that is empty in its place."""
        stack, folder = self._stack, self._directory / "stack" / "kafka"
        port = int(stack.bootstrap_servers.rpartition(":")[2])
        stack.broker.kill()
        shutil.rmtree(folder / "logs")
        stack.broker = kafka_broker(folder, port, free_port())
        stack.broker.start(deadline_s=COMMAND_S)

    def put_topics_back(self) -> None:
        self.fraud("topics", "restore", str(self._directory / "copies" / "topics"))

    def lose(self) -> float:
        """Kill both servers and delete their files; return the time of day."""
        postgres, redis = self._stack.postgres, self._stack.redis
        assert postgres is not None
        postgres.kill()
        lost_at_s = time.time()
        redis.kill()
        shutil.rmtree(self._files)
        for path in (self._directory / "stack" / "redis").glob("*"):
            if path.is_dir():
                shutil.rmtree(path)
            elif path.suffix == ".rdb":
                path.unlink()
        return lost_at_s

    def put_back(self, means: Means) -> None:
        """Start both servers with what the latest copy holds."""
        shutil.copytree(self._base, self._files)
        before, self._archive = self._archive, self._directory / "copies" / f"log-{self._archives + 1}"
        self._archives += 1
        with (self._files / "postgresql.auto.conf").open("a") as settings:
            # A server that is started as after a crash writes another log under the names of the one that was lost.
            settings.write(f"archive_command = '{self._new_archive(self._archive)}'\n")
            if means is Means.BACKUP_AND_LOG:
                settings.write(f"restore_command = 'cp {before}/%f %p'\n")
                (self._files / "recovery.signal").touch()
        _give_away(self._files)
        self._files.chmod(0o700)
        assert self._stack.postgres is not None
        self._stack.postgres.start()
        wait_until(self._is_open, COMMAND_S, "reading PostgreSQL's log", every_s=0.2)
        self._stack.redis.start()
        wait_until(self._has_no_worker, COMMAND_S, "the killed worker's session ending", every_s=0.5)
        self.fraud("state", "restore", str(self._directory / "copies" / "state"), "--replace")

    def _has_no_worker(self) -> bool:
        return not members_of(self._stack.bootstrap_servers, Settings().consumer_group, {})

    def recovered_to_s(self) -> float:
        """When the last thing that the ledger or the audit log knows was recorded."""
        with psycopg.connect(self._stack.database_url) as connection:
            row = connection.execute(
                "SELECT extract(epoch FROM greatest((SELECT max(recorded_at) FROM ledger.transition),"
                " (SELECT max(recorded_at) FROM audit.ai_decision_log)))"
            ).fetchone()
        assert row is not None
        return float(row[0])

    def fraud(self, *words: str, **settings: str) -> list[dict[str, Any]]:
        """Run a command of `fraud` to its end; what it says."""
        return self._fraud(words, settings, may_find=False)

    def fraud_check(self, *words: str, **settings: str) -> list[dict[str, Any]]:
        """As `fraud`, for a command that may fail because it finds something."""
        return self._fraud(words, settings, may_find=True)

    def _fraud(self, words: Sequence[str], settings: Mapping[str, str], *, may_find: bool) -> list[dict[str, Any]]:
        environment = {
            "FRAUD_BOOTSTRAP_SERVERS": self._stack.bootstrap_servers,
            "FRAUD_REDIS_URL": self._stack.redis_url,
            **settings,
        }
        done = self._run([sys.executable, "-m", "ops.cli", *words, "--json"], environment, may_find=may_find)
        return list(_said(done))

    def _new_archive(self, folder: Path) -> str:
        """Make a folder for the log; the command that archives to it."""
        folder.mkdir(parents=True)
        _give_away(folder)
        return f"test ! -f {folder}/%f && cp %p {folder}/%f"

    @property
    def _files(self) -> Path:
        return self._directory / "stack" / "postgres" / "files"

    def _is_open(self) -> bool:
        with psycopg.connect(self._stack.database_url) as connection:
            return connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,)

    def _run(self, command: list[str], settings: Mapping[str, str] | None = None, *, may_find: bool = False) -> str:
        done = completed(command, self._log_path, timeout_s=COMMAND_S, environment=with_settings(settings or {}))
        if done.returncode not in ((0, FAILED_CHECK) if may_find else (0,)):
            raise RuntimeError(f"{' '.join(command[-4:])} ended with {done.returncode}; see {self._log_path}")
        return done.stdout


def _said(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        found = json.loads(line)
        assert isinstance(found, dict), "with --json a line is an object"
        yield found


def _give_away(folder: Path) -> None:
    """PostgreSQL runs as nobody where root started it."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, UNPRIVILEGED_ID, UNPRIVILEGED_ID, follow_symlinks=False)
