"""The audit service as it is run, on the embedded stack: stored, anchored, killed, started again, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from confluent_kafka import Producer

from ops.bench.rig.evidence import whole_lines
from ops.bench.rig.waiting import wait_until
from ops.migrations.migrate import migrate
from ops.processes.servers import ServerProcess
from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.audit.leaf_files import head_paths, partitions_of
from pipeline.domain.alert import Alert
from pipeline.domain.dead_letter import DeadLetter
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.partitioner import Partitioner, Partitioning
from pipeline.keys.key_files import create_signing_key
from pipeline.keys.key_sets import KeyUse
from tests.audit.logs import TOPIC, WIRE, values
from tests.sealing import seal_headers
from tests.servers import SOON_FREE

DEADLINE_S = 120.0
COUNT = 300


class Running:
    """The service on a stack of its own."""

    def __init__(self, stack: EmbeddedStack, folder: Path) -> None:
        self.stack, self.folder = stack, folder
        self.key = folder / "key"
        create_signing_key(self.key)
        self.environment = {
            "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
            "FRAUD_DATABASE_URL": stack.database_url.replace("fraud_owner@", "fraud_audit@"),
            "FRAUD_AUDIT_DIRECTORY": str(folder / "outside"),
            "FRAUD_AUDIT_KEY_FILE": str(self.key),
            "FRAUD_AUDIT_PORT": "0",
            "FRAUD_SERVICE_PATIENCE_S": "30",
            "FRAUD_KAFKA_OPTIONS": json.dumps(dict(SOON_FREE)),
        }
        self.log_path = folder / "audit.log"
        self.service = ServerProcess(
            "audit",
            [sys.executable, "-m", "ops.cli", "audit", "run"],
            is_ready=lambda: True,
            log_path=self.log_path,
            environment=self.environment,
        )

    def count(self, table: str) -> int:
        with psycopg.connect(self.stack.database_url) as connection:
            found = connection.execute(f"SELECT count(*) FROM audit.{table}".encode()).fetchone()
        assert found is not None
        return int(found[0])

    def logged(self, event: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in whole_lines(self.log_path) if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def publish(self, begin: int, end: int) -> None:
        send(self.stack, TOPIC, list(values(COUNT)[begin:end]))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, "FRAUD_DATABASE_URL": self.stack.database_url}
        command = [sys.executable, "-m", "ops.cli", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def send(stack: EmbeddedStack, topic: str, sent: list[bytes], *, is_sealed: bool = True) -> None:
    producer = Producer({"bootstrap.servers": stack.bootstrap_servers, "log_level": 2})
    for value in sent:
        key = value[12:48]
        partition = Partitioning(Partitioner.CRC32, 4).of(key)
        sealed = seal_headers(topic, key, value, partition, KeyUse.DECISIONS) if is_sealed else None
        producer.produce(topic, value, key, partition, headers=sealed)
    assert 0 == producer.flush(DEADLINE_S)


def until(is_so: Callable[[], bool], what: str) -> None:
    wait_until(is_so, DEADLINE_S, what, every_s=0.05)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("audit")
    with EmbeddedStack(folder / "stack", with_postgres=True) as stack:
        migrate(stack.database_url)
        create_topics(stack.bootstrap_servers)
        running = Running(stack, folder)
        yield running
        running.service.stop()


@pytest.mark.timeout(900)
def test_life_of_the_service(running: Running) -> None:
    """One story, for a stack and a service take seconds to start: each step stands on the one before."""
    service, stack = running.service, running.stack
    running.publish(0, 100)
    service.start()
    until(lambda: running.count("ai_decision_log") == 100, "storing the first decisions")

    service.kill()  # whatever it was doing, what it stored is whole, and it goes on from there
    running.publish(100, 200)
    service.start()
    until(lambda: running.count("ai_decision_log") == 200, "storing after a kill")

    assert stack.postgres is not None
    stack.postgres.kill()
    running.publish(200, 300)
    stack.postgres.start()
    until(lambda: running.count("ai_decision_log") == 300, "storing after PostgreSQL was killed")
    assert running.logged("audit_holds") or not running.logged("audit_ended")

    letter = DeadLetter(
        "DUPLICATE", "decided already", "transactions.v1", 1, 7, 1_764_072_000_000, bytes(32), 9, "none", b"sealed"
    )
    letters = "transactions.dead.v1"
    send(stack, letters, [WIRE.encode(letter), b"garbage"], is_sealed=False)
    send(stack, letters, [WIRE.encode(letter)] * 3)
    until(lambda: running.count("dead_letter") == 3, "storing dead letters")
    unproved = [each for each in alerts(stack) if each.code == "RECORD_UNPROVED"]
    assert {letters} == {each.evidence["topic"] for each in unproved}, "what no worker wrote is told, and is no letter"

    os.kill(service.pid, signal.SIGUSR1)
    outside = running.folder / "outside"
    until(lambda: all(head_paths(outside, TOPIC, p) for p in partitions_of(outside, TOPIC)), "anchoring")
    until(lambda: len(running.logged("audit_anchored")) >= 4, "telling of it")
    assert all(not path.stat().st_mode & 0o222 for path in head_paths(outside, TOPIC, 0))

    exported = running.command("audit", "export", str(running.folder / "export"), "--json")
    assert 0 == exported.returncode, exported.stderr
    assert 8 == json.loads(exported.stdout)["anchors"]  # of four partitions, and of the tables' four streams
    keys = str(running.folder / "key.keys")
    verify = ("audit", "verify", str(running.folder / "export"), "--keys", keys, "--all", "--json")
    verified = running.command(*verify, "--unwitnessed")
    told = json.loads(verified.stdout.splitlines()[-1])
    assert (0, 0, 300, 300, 4) == (verified.returncode, *(told[name] for name in ("found", "rows", "signed", "heads")))
    unseen = running.command(*verify)
    assert (1, "WITNESS_MISSING") == (unseen.returncode, json.loads(unseen.stdout.splitlines()[0])["kind"])

    proved = running.command("audit", "prove", "tx-000017")
    proof_path = running.folder / "proof.json"
    proof_path.write_text(proved.stdout)
    verifier = [sys.executable, "-m", "ops.verifier", "proof", str(proof_path)]
    holds = subprocess.run(
        [*verifier, "--keys", keys], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (0, "The proof holds.\n") == (holds.returncode, holds.stdout)
    heads = running.command("audit", "heads", "--keys", keys)
    assert (0, 4) == (heads.returncode, heads.stdout.count(" holds"))

    service.stop()
    assert running.logged("audit_stopped")
    checked = running.command("audit", "check", "--json")
    assert (0, True, 300) == (checked.returncode, *(json.loads(checked.stdout)[name] for name in ("holds", "rows")))

    forge_a_row(running)
    for times in (1, 2):  # and when it is started again
        service.start()
        until(lambda times=times: len(running.logged("audit_refuses")) == times, "refusing to continue a forged log")
        service.stop()
    assert "is not as it was written" in str(running.logged("audit_refuses")[-1]["why"])
    assert {"AUDIT_NOT_CONTINUED", "RECORD_UNPROVED"} == {alert.code for alert in alerts(stack) if not alert.is_over}
    forge_a_row(running)  # the same bit again, so the row is as it was
    checked = running.command("audit", "check", "--json")
    assert (0, False) == (checked.returncode, json.loads(checked.stdout)["lifted"]), checked.stderr

    send(stack, TOPIC, [b"\xc3\x01 is no decision"])
    service.start()
    until(lambda: bool(running.logged("audit_ended")), "ending on what it can't store")
    (ended,) = running.logged("audit_ended")
    assert "RecordRefused" == ended["error"]
    assert "decisions.v1[" in str(ended["why"])
    assert 300 == running.count("ai_decision_log")


def forge_a_row(running: Running) -> None:
    flipped = "set_byte(record, 20, get_byte(record, 20) # 1)"
    with psycopg.connect(running.stack.database_url) as connection:
        connection.execute("SET session_replication_role = replica")
        where = "topic_partition = 0 AND topic_offset = 3"
        changed = connection.execute(f"UPDATE audit.ai_decision_log SET record = {flipped} WHERE {where}".encode())
        assert 1 == changed.rowcount


def alerts(stack: EmbeddedStack) -> list[Alert]:
    with LogReader(stack.bootstrap_servers, "test", {}) as log:
        found = [WIRE.decode_alert(record.value) for record in log.read_all("alerts.v1")]
    return [each for each in found if isinstance(each, Alert)]


def test_service_without_a_key_says_so(running: Running) -> None:
    environment = {**running.environment, "FRAUD_AUDIT_KEY_FILE": ""}
    command = [sys.executable, "-m", "ops.cli", "audit", "run"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert 2 == done.returncode
    assert "fraud keys create audit" in done.stderr
