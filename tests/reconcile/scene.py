"""The whole pipeline in the production profile on the secure stack, each process with its own credentials."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path

import psycopg

from ops.access.rights import Principal
from ops.access.roles import ROLES, set_passwords
from ops.bench.rig.feeder import known_records
from ops.bench.rig.services import status
from ops.bench.rig.topics_io import Outbound
from ops.bench.rig.waiting import wait_until
from ops.migrations.migrate import migrate
from ops.processes.servers import ServerFailed, ServerProcess, free_port
from ops.rail.process import rail_url
from ops.stack.certificates import certificates
from ops.stack.real import RealStack
from ops.stack.topics import create_topics
from pipeline.io.kafka.bulk_publisher import BulkPublisher
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.sealing import create_key_file
from pipeline.io.settings import Profile, Settings
from pipeline.keys.key_files import create_signing_key, read_key_set, replace_key_set, set_path_beside
from pipeline.keys.key_sets import KeyUse, with_key
from pipeline.seals.seal_files import KEYS_FILE, make_seal_keys
from tests.in_production import approve_model, publish_feeds

PARTITIONS = 2
EXECUTOR_KEY = f"{KeyUse.EXECUTIONS}.key"
WORKER_GROUP = "fraud-decide"
START_ATTEMPTS = 5
SECONDS_MAX = 120
PASSWORD = "correct-horse-battery-staple"  # of every role; each has its own rights


class Scene:
    def __init__(self, directory: Path, stack: RealStack) -> None:
        self.stack, self.directory = stack, directory
        create_topics(stack.bootstrap_servers, partitions=PARTITIONS, client_settings=stack.admin_options)
        migrate(stack.database_url)
        set_passwords(stack.database_url, dict.fromkeys(ROLES, PASSWORD))
        options = stack.client_options(Principal.RECONCILE)
        self.reading = LogReader(stack.bootstrap_servers, "fraud-reconcile", options)
        make_seal_keys(directory / "seals")
        _add_executor_key(directory / "seals")
        publish_feeds(directory / "feeds", directory / "seals" / KEYS_FILE)
        approved = approve_model(directory / "bank", directory / "seals" / KEYS_FILE)
        approved["FRAUD_FEEDS_PATH"] = str(directory / "feeds")
        self.worker = self._process("worker", ["worker", "run"], "FRAUD_WEB_PORT", "/ready", **approved)
        self.audit = self._process("audit", ["audit", "run"], "FRAUD_AUDIT_PORT", "/ready")
        self.executor = self._process(
            "executor", ["executor", "run"], "FRAUD_EXECUTOR_PORT", "/ready", **self._rail_settings()
        )
        self._records = known_records(11)
        self.published = 0

    def start(self, *processes: ServerProcess) -> None:
        """As a supervisor does: one that ends while starting, as on a broker's first day, is started again."""
        for process in processes:
            for attempt in range(START_ATTEMPTS):
                try:
                    process.start()
                    break
                except ServerFailed:
                    if attempt == START_ATTEMPTS - 1:
                        raise

    def stop(self) -> None:
        for process in (self.worker, self.audit, self.executor):
            process.stop()
        self.reading.close()

    def publish(self, count: int) -> list[Outbound]:
        """Payments with duplicates, conflicts and garbage among them."""
        settings = Settings(
            bootstrap_servers=self.stack.bootstrap_servers, kafka_options=self.stack.client_options(Principal.PUBLISHER)
        )
        publisher, records = BulkPublisher(settings), list(islice(self._records, count))
        for record in records:
            publisher.publish("transactions.v1", record.key, record.value, record.timestamp_ms)
        publisher.flush()
        self.published += count
        return records

    def wait_until_decided(self) -> None:
        """A worker that gives up its place, as on a machine too busy for its commits, is started again."""

        def is_decided() -> bool:
            if not self.worker.is_running:
                self.start(self.worker)
            return sum(self.reading.committed_of(WORKER_GROUP, "transactions.v1").values()) >= self.published

        wait_until(is_decided, SECONDS_MAX, "deciding")

    def settings(self, name: str, **changes: object) -> Settings:
        """Those that a process of that name would have in production."""
        return Settings(
            profile=Profile.PRODUCTION,
            secrets_from=f"file:{self.secrets(name)}",
            bootstrap_servers=self.stack.bootstrap_servers,
            **changes,
        )

    def secrets(self, name: str) -> Path:
        """The folder of one process's secrets, and of nobody else's."""
        folder = self.directory / f"secrets-{name}"
        if folder.exists():
            return folder
        folder.mkdir(mode=0o700)
        shutil.copy(self.directory / "seals" / KEYS_FILE, folder / "seal_keys")
        (folder / "seal_keys").chmod(0o600)
        _write(folder / "kafka_options", json.dumps(self.stack.client_options(Principal(f"fraud-{name}"))))
        if name == "worker":
            _write(folder / "redis_url", self.stack.redis_url)
            create_key_file(folder / "dead_letter_key")
            shutil.copy(self.directory / "seals" / "decisions.key", folder / "seal_key")
            return folder
        _write(folder / "database_url", self.database_url(f"fraud_{name}"))
        if name == "executor":
            shutil.copy(self.directory / "seals" / EXECUTOR_KEY, folder / "seal_key")
        if name == "audit":
            create_signing_key(folder / "audit_key")
            set_path_beside(folder / "audit_key").rename(folder / "audit_keys")
        return folder

    def database_url(self, role: str) -> str:
        return f"postgresql://{role}:{PASSWORD}@{self.stack.database_url.rpartition('@')[2]}"

    def tamper(self, *statements: str) -> int:
        """As a superuser who passes the triggers by, in one transaction; how many rows the first statement touched."""
        with closing(psycopg.connect(self.stack.database_url)) as connection, connection.transaction():
            connection.execute("SET LOCAL session_replication_role = replica")
            counts = [connection.execute(statement.encode()).rowcount for statement in statements]
        return counts[0]

    def ask(self, query: str) -> Sequence[tuple[object, ...]]:
        with closing(psycopg.connect(self.stack.database_url, autocommit=True)) as connection:
            return connection.execute(query.encode()).fetchall()

    def follower(self, grace_s: float) -> ServerProcess:
        return self._process(
            "reconcile",
            ["reconcile", "run"],
            "FRAUD_RECONCILE_PORT",
            "/live",
            FRAUD_RECONCILE_GRACE_S=str(grace_s),
            FRAUD_FEEDS_PATH=str(self.directory / "feeds"),
        )

    def _rail_settings(self) -> dict[str, str]:
        """A rail that is away: no account is open, so nothing is paid."""
        made = certificates(self.directory / "rail")
        return {
            "FRAUD_RAIL_URL": rail_url(free_port(), is_secure=True),
            "FRAUD_RAIL_AUTHORITY_FILE": str(made.authority_path),
            "FRAUD_RAIL_CERTIFICATE_FILE": str(made.certificate_path),
            "FRAUD_RAIL_KEY_FILE": str(made.key_path),
        }

    def _process(self, name: str, arguments: list[str], port_name: str, page: str, **more: str) -> ServerProcess:
        port = free_port()
        return ServerProcess(
            name,
            [sys.executable, "-m", "ops.cli", *arguments],
            is_ready=lambda: status(port, page) == 200,
            log_path=self.directory / f"{name}.log",
            environment={
                "FRAUD_PROFILE": "production",
                "FRAUD_SECRETS_FROM": f"file:{self.secrets(name)}",
                "FRAUD_BOOTSTRAP_SERVERS": self.stack.bootstrap_servers,
                "FRAUD_AUDIT_DIRECTORY": str(self.directory / "outside"),
                port_name: str(port),
                **more,
            },
        )


def _add_executor_key(seals: Path) -> None:
    """Development makes none, and in production no executor starts without."""
    key = create_signing_key(seals / EXECUTOR_KEY, KeyUse.EXECUTIONS, with_set=False)
    keys = seals / KEYS_FILE
    replace_key_set(keys, with_key(read_key_set(keys), KeyUse.EXECUTIONS, key.public, 0))


def _write(path: Path, secret: str) -> None:
    path.touch(mode=0o600)
    path.write_text(secret)
