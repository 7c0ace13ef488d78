"""A payment that our code fails on, from poison to its one decision."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.bench.rig.services import status
from ops.bench.rig.waiting import wait_until
from ops.processes.servers import ServerProcess, free_port
from ops.stack.embedded import EmbeddedStack
from ops.stack.topics import create_topics
from pipeline.audit.log_store import AuditLog
from pipeline.domain.alert import Alert
from pipeline.domain.dead_letter import DeadLetter
from pipeline.domain.log import LogRecord
from pipeline.domain.payment import Transaction
from pipeline.io.clock import now_ms
from pipeline.io.kafka.bulk_publisher import BulkPublisher
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection
from pipeline.io.sealing import create_key_file
from pipeline.io.settings import Settings
from tests.archive import WIRE, payment, stored
from tests.commands import Fraud
from tests.known import appoint, settings_of
from tests.servers import url_as

POISON, SOUND = payment(1), payment(2)
DECIDED_S = 120.0
POLL_S = 0.05


class Scene:
    def __init__(self, directory: Path, stack: EmbeddedStack) -> None:
        self.directory, self.stack = directory, stack
        self.settings = Settings(bootstrap_servers=stack.bootstrap_servers)
        self.key_file, self.mended = directory / "key", directory / "mended"
        create_key_file(self.key_file)
        create_topics(stack.bootstrap_servers)
        port = free_port()
        self.worker = ServerProcess(
            "worker",
            [sys.executable, "-m", "tests.redrive.failing_worker", POISON.transaction_id, str(self.mended)],
            is_ready=lambda: status(port, "/ready") == 200,
            log_path=directory / "worker.log",
            environment={
                "FRAUD_BOOTSTRAP_SERVERS": stack.bootstrap_servers,
                "FRAUD_REDIS_URL": stack.redis_url,
                "FRAUD_WEB_PORT": str(port),
                "FRAUD_DEAD_LETTER_KEY_FILE": str(self.key_file),
            },
        )

    def publish(self, *payments: Transaction) -> None:
        publisher = BulkPublisher(self.settings)
        for each in payments:
            publisher.publish("transactions.v1", each.account_id.encode(), WIRE.encode_transaction(each), 0)
        publisher.flush()

    def mend(self) -> None:
        self.worker.stop()
        self.mended.touch()
        self.worker.start()

    def await_outcomes(self, **expected: int) -> None:
        """Wait until decisions, by transaction id, and dead letters, by code, are these and no others."""
        wanted = Counter({name.replace("_", "-"): count for name, count in expected.items()})
        wait_until(lambda: self.outcomes().total() >= wanted.total(), DECIDED_S, "deciding", every_s=POLL_S)
        assert wanted == self.outcomes()

    def outcomes(self) -> Counter[str]:
        letters = [letter.code for letter in self._decoded("transactions.dead.v1", WIRE.decode_dead_letter, DeadLetter)]
        with LogReader.of(self.settings) as log:
            decided = [stored(found.value or b"").decision for found in log.read_all("decisions.v1")]
        return Counter([each.transaction_id for each in decided] + letters)

    def audit(self, owner: Connection) -> None:
        """Have the audit log take in all that was decided, as its service does."""
        audited = AuditLog("decisions.v1", self.directory / "audit", WIRE, lambda: now_ms() * 1000)
        with LogReader.of(self.settings) as log:
            positions = audited.open(owner, list(log.extents("decisions.v1")))
            found = [
                LogRecord(*each.source, each.key or b"", each.value or b"", None)
                for each in log.read_all("decisions.v1")
                if each.source.offset >= positions[each.source.partition]
            ]
        audited.store(owner, sorted(found, key=lambda each: (each.partition, each.offset)))

    def alerts(self) -> Counter[str]:
        return Counter(raised.code for raised in self._decoded("alerts.v1", WIRE.decode_alert, Alert))

    def _decoded(self, topic, decode, kind):
        with LogReader.of(self.settings) as log:
            found = [decode(record.value) for record in log.read_all(topic)]
        assert all(isinstance(each, kind) for each in found)
        return found


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with EmbeddedStack(tmp_path / "stack") as stack:
        scene = Scene(tmp_path, stack)
        scene.worker.start()
        yield scene
        scene.worker.stop()


def test_poison_is_told_given_back_and_redriven_to_exactly_one_decision(
    scene: Scene, fraud: Fraud, database_url: str, owner: Connection, tmp_path: Path
) -> None:
    places = {
        "bootstrap_servers": scene.stack.bootstrap_servers,
        "redis_url": scene.stack.redis_url,
        "seal_directory": scene.settings.seal_directory.resolve(),
        "database_url": url_as(database_url, "fraud_rollback"),
        **settings_of(tmp_path / "people", "ann"),
    }
    appoint(owner, {"ann": "OPERATOR"})

    def redrive(*options: str) -> list[str]:
        asked = ["dead-letters", "redrive", "--reason", "the fault is mended", "--json"]
        answer = fraud(*asked, "--open", scene.key_file, *options, **places)
        assert answer.code == 0, answer.err
        return [json.loads(line)["fate"] for line in answer.out.splitlines()]

    scene.publish(POISON, SOUND)
    scene.await_outcomes(tx_000002=1, POISON=1)
    assert scene.alerts()["POISON"] == 1
    scene.publish(POISON)  # upstream tries again: its id was given back, so it is tried, and fails
    scene.await_outcomes(tx_000002=1, POISON=2)
    scene.mend()
    with LogReader.of(scene.settings) as log:
        first = ("--place", f"{log.partition_of('transactions.v1', POISON.account_id)}:0")
    asked = ("dead-letters", "redrive", "--dry-run", "--open", scene.key_file, *first, "--place", "3:999")
    answer = fraud(*asked, **places)
    assert (answer.code, "it would be decided again" in answer.out) == (1, True)
    assert "No such letter is about 3:999" in answer.err
    assert ["REDRIVEN"] == redrive(*first, "--dry-run")
    assert ["REDRIVEN"] == redrive(*first)
    scene.await_outcomes(tx_000001=1, tx_000002=1, POISON=2)
    assert ["SENT_BEFORE"] == redrive(*first)
    scene.audit(owner)
    assert ["DECIDED"] == redrive(*first)
    scene.publish(POISON, SOUND)
    scene.await_outcomes(tx_000001=1, tx_000002=1, POISON=2, DUPLICATE=2)
    rows = owner.execute("SELECT requested_by, reason FROM control.redrive").fetchall()
    assert rows == [("ann", "the fault is mended")]
