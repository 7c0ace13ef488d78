"""Forged records of decisions.v1 before the services as users run them: nobody acts on them, and nobody stops."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from ops.bench.rig import waiting
from ops.bench.rig.database import settled_offsets, states
from ops.bench.rig.services import executor_process
from ops.bench.rig.stored import Tail
from ops.processes.servers import ServerFailed, ServerProcess
from ops.stack.embedded import EmbeddedStack
from pipeline.domain.alert import Alert, Severity
from pipeline.domain.log import SEAL_HEADER, Header
from pipeline.execute.ledger_admin_store import append_openings
from pipeline.execute.references import Opening
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.io.postgres import Connection, connect
from pipeline.keys.key_files import SigningKey, create_signing_key, read_key_set, replace_key_set
from pipeline.keys.key_sets import KeyUse, with_key, with_revocation
from pipeline.seals.seal_files import KEYS_FILE, make_seal_keys
from tests.archive import CLOSED, Archive, payment
from tests.decisions import decision_of, reversal_of
from tests.execute.audited import AuditedTopic
from tests.execute.given import NOON_MS
from tests.seals.given import sealed, sealer_with, signing_key
from tests.servers import SOON_FREE, unused_prefix, url_as

WIRE = WireFormat()
WAIT_S = 120.0
KEY = b"key"

Forge = Callable[["Scene", bytes], list[Header] | None]


class Scene:
    """decisions.v1 under a prefix of its own, keys of its own, and an executor that trusts them."""

    def __init__(self, stack: EmbeddedStack, folder: Path, audit_connection: Connection, log: LogReader) -> None:
        self.servers, self.prefix, self.folder = stack.bootstrap_servers, unused_prefix(), folder / "seals"
        self.topic = f"{self.prefix}decisions.v1"
        self._audited = AuditedTopic(audit_connection, log, self.topic)
        make_seal_keys(self.folder)
        self._producer = Producer({"bootstrap.servers": self.servers, "enable.idempotence": True, "log_level": 2})
        for name in ("decisions.v1", "executions.v1", "alerts.v1"):
            self._producer.list_topics(self.prefix + name, timeout=WAIT_S)  # the mock broker makes it
        self.environment = {
            "FRAUD_TOPIC_PREFIX": self.prefix,
            "FRAUD_SEAL_DIRECTORY": str(self.folder),
            "FRAUD_KAFKA_OPTIONS": json.dumps(dict(SOON_FREE)),
        }

    def key(self, use: KeyUse) -> SigningKey:
        return SigningKey.from_file(self.folder / f"{use}.key")

    def seal(self, value: bytes, use: KeyUse = KeyUse.DECISIONS, partition: int = 0, topic: str = "") -> list[Header]:
        return self.seal_with(self.key(use), value, partition, topic)

    def seal_with(self, key: SigningKey, value: bytes, partition: int = 0, topic: str = "") -> list[Header]:
        [record] = sealed(sealer_with(key, topic or self.topic, lambda _: partition), value, key=KEY)
        assert record.headers is not None
        return record.headers

    def append(self, *records: tuple[bytes, list[Header] | None], partition: int = 0) -> None:
        for value, headers in records:
            self._producer.produce(self.topic, value, KEY, partition, headers=headers)
        assert 0 == self._producer.flush(WAIT_S)
        self._audited.take_in(partition)

    def alerts(self, code: str) -> list[Alert]:
        found = [WIRE.decode_alert(found.value) for found in Tail(self.servers, f"{self.prefix}alerts.v1").news()]
        return [alert for alert in found if isinstance(alert, Alert) and alert.code == code]

    def trust(self, change: Callable[[Any], Any]) -> None:
        path = self.folder / KEYS_FILE
        replace_key_set(path, change(read_key_set(path)))


@pytest.fixture
def scene(stack: EmbeddedStack, database_url: str, tmp_path: Path) -> Iterator[Scene]:
    servers, url = stack.bootstrap_servers, url_as(database_url, "fraud_audit")
    with closing(connect(url, "test")) as connection, LogReader(servers, "test-seals", {}) as log:
        yield Scene(stack, tmp_path, connection, log)


@pytest.fixture
def executor(scene: Scene, database_url: str, rail_of: Callable[[], str], tmp_path: Path) -> Iterator[ServerProcess]:
    process = executor_process(tmp_path, scene.servers, database_url, rail_of(), environment=scene.environment)
    yield process
    process.stop()


def wait_until(is_done: Callable[[], bool]) -> None:
    waiting.wait_until(is_done, WAIT_S, "what was waited for", every_s=0.1)


def decisions(folder: Path, owner: Connection, count: int) -> list[bytes]:
    """Decisions that allow a payment each, from accounts that have the money."""
    payments = [payment(number) for number in range(count)]
    append_openings(owner, [Opening(each.account_id, "GBP", 0, 10**6) for each in payments], NOON_MS)
    return Archive(folder).values(payments, [CLOSED] * count)


def passed_over(owner: Connection, consumer: str = "executor") -> list[tuple[int, str]]:
    query = "SELECT topic_offset, why FROM control.unproved_record WHERE consumer = %s ORDER BY topic_offset"
    return owner.execute(query, [consumer]).fetchall()


def _no_seal(_: Scene, _value: bytes) -> None:
    return None


def _garbage(_: Scene, _value: bytes) -> list[Header]:
    return [(SEAL_HEADER, b"x" * 75)]


def _strangers(scene: Scene, value: bytes) -> list[Header]:
    return scene.seal_with(signing_key(), value)


def _reviewers(scene: Scene, value: bytes) -> list[Header]:
    return scene.seal(value, KeyUse.REVIEWS)


def _other_partition(scene: Scene, value: bytes) -> list[Header]:
    return scene.seal(value, partition=1)


def _other_topic(scene: Scene, value: bytes) -> list[Header]:
    return scene.seal(value, topic="decisions.v1")


def _other_record(scene: Scene, value: bytes) -> list[Header]:
    return scene.seal(value[:-1] + bytes([value[-1] ^ 1]))


FORGERIES: dict[Forge, str] = {
    _no_seal: "SEAL_MISSING",
    _garbage: "SEAL_MALFORMED",
    _strangers: "KEY_UNKNOWN",
    _reviewers: "KEY_OF_ANOTHER_KIND",
    _other_partition: "SEAL_FALSE",
    _other_topic: "SEAL_FALSE",
    _other_record: "SEAL_FALSE",
}


def test_no_forgery_moves_money_and_what_is_behind_goes_on(
    executor: ServerProcess, scene: Scene, owner: Connection, database_url: str, tmp_path: Path
) -> None:
    values = decisions(tmp_path, owner, len(FORGERIES) + 2)
    forged, (first, last) = values[:-2], values[-2:]
    scene.append((first, scene.seal(first)))
    scene.append(*((value, forge(scene, value)) for forge, value in zip(FORGERIES, forged, strict=True)))
    scene.append((b"\xc3\x01 is no decision", None), (last, scene.seal(last)))
    executor.start()
    wait_until(lambda: settled_offsets(database_url) == {0: len(values) + 1})
    assert {"SETTLED": 2} == states(owner)
    expected = [*FORGERIES.values(), "SEAL_MISSING"]
    assert list(enumerate(expected, 1)) == passed_over(owner)
    told = scene.alerts("RECORD_UNPROVED")
    assert {Severity.CRITICAL} == {alert.severity for alert in told}
    assert {*FORGERIES.values()} == {alert.evidence["why"] for alert in told}
    assert len(expected) == sum(int(alert.evidence["records"]) for alert in told)


def test_a_worker_s_key_reverses_nothing(
    executor: ServerProcess, scene: Scene, owner: Connection, database_url: str, tmp_path: Path
) -> None:
    [value] = decisions(tmp_path, owner, 1)
    reversal = WIRE.encode(reversal_of(decision_of(value), None))
    scene.append((value, scene.seal(value)), (reversal, scene.seal(reversal, KeyUse.DECISIONS)))
    executor.start()
    wait_until(lambda: settled_offsets(database_url) == {0: 2})
    assert {"SETTLED": 1} == states(owner)
    assert [(1, "KEY_OF_ANOTHER_KIND")] == passed_over(owner)


def test_a_flood_of_garbage_stands_in_nobody_s_way(
    executor: ServerProcess, scene: Scene, owner: Connection, database_url: str, tmp_path: Path
) -> None:
    """Whoever holds the worker's credential for the topic may write as much as they like."""
    [value] = decisions(tmp_path, owner, 1)
    executor.start()
    scene.append(*((b"garbage", None) for _ in range(5_000)))
    scene.append((value, scene.seal(value)))
    wait_until(lambda: settled_offsets(database_url) == {0: 5_001})
    assert {"SETTLED": 1} == states(owner)
    executor.kill()
    executor.start()  # and nothing of it is looked at again
    assert 5_000 == len(passed_over(owner))


def test_headers_that_nobody_can_read_stand_in_nobody_s_way(
    executor: ServerProcess, scene: Scene, owner: Connection, database_url: str, tmp_path: Path
) -> None:
    [value] = decisions(tmp_path, owner, 1)
    subprocess.run(
        [sys.executable, "-m", "tests.seals.raw_producer", scene.servers, scene.topic, "0"],
        check=True,
        env={**os.environ, "AIOKAFKA_NO_EXTENSIONS": "1"},
        timeout=WAIT_S,
    )
    scene.append((value, scene.seal(value)))
    executor.start()
    wait_until(lambda: settled_offsets(database_url) == {0: 2})
    assert {"SETTLED": 1} == states(owner)
    assert [(0, "SEAL_MISSING")] == passed_over(owner)


def test_a_revoked_key_s_records_are_passed_over(
    executor: ServerProcess, scene: Scene, owner: Connection, database_url: str, tmp_path: Path
) -> None:
    before, after = decisions(tmp_path, owner, 2)
    executor.start()
    scene.append((before, scene.seal(before)))
    wait_until(lambda: settled_offsets(database_url) == {0: 1})
    key_id = scene.key(KeyUse.DECISIONS).key_id
    scene.trust(lambda keys: with_revocation(keys, key_id, 1, "It was copied."))
    executor.kill()
    executor.start()
    scene.append((after, scene.seal(after)))
    wait_until(lambda: settled_offsets(database_url) == {0: 2})
    assert {"SETTLED": 1} == states(owner)
    assert [(1, "KEY_REVOKED")] == passed_over(owner)


def test_what_came_under_an_unknown_key_stays_passed_over_when_the_key_is_known(
    executor: ServerProcess, scene: Scene, owner: Connection, database_url: str, tmp_path: Path
) -> None:
    """A worker was given its next key before its readers knew of it: what it decides from then on is executed."""
    early, later, last = decisions(tmp_path, owner, 3)
    next_key = create_signing_key(tmp_path / "next.key", KeyUse.DECISIONS, with_set=False)
    scene.append((early, scene.seal_with(next_key, early)), (later, scene.seal(later)))
    executor.start()
    wait_until(lambda: settled_offsets(database_url) == {0: 2})
    scene.trust(lambda keys: with_key(keys, KeyUse.DECISIONS, next_key.public, 0))
    scene.append((last, scene.seal_with(next_key, last)))
    wait_until(lambda: settled_offsets(database_url) == {0: 3})
    assert {"SETTLED": 2} == states(owner)
    assert [(0, "KEY_UNKNOWN")] == passed_over(owner)


def test_without_a_key_set_nothing_is_executed(executor: ServerProcess, scene: Scene) -> None:
    (scene.folder / KEYS_FILE).write_text("{}")
    with pytest.raises(ServerFailed, match="Nobody can tell who wrote"):
        executor.start()
