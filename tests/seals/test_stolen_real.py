"""Stolen credentials and keys of the worker on the secure stack, while everything runs in the production profile."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from confluent_kafka import Producer

from ops.access.rights import Principal
from ops.bench.rig.waiting import wait_until
from ops.stack.postgres import bundled_folder, system_folder
from ops.stack.real import RealStack
from pipeline.domain.alert import Alert
from pipeline.domain.decision import Decision
from pipeline.domain.log import SEAL_HEADER, Header, Presented, Source
from pipeline.io.avro.wire import WireFormat
from pipeline.io.clock import now_ms
from pipeline.io.kafka.log_reader import LogReader
from pipeline.keys.key_files import SigningKey, is_signed, read_key_set
from pipeline.keys.key_sets import KeyUse
from pipeline.seals.proving import SealCheck
from pipeline.seals.seal_files import KEYS_FILE
from tests.archive import CLOSED, Archive, payment
from tests.decisions import decision_of, reversal_of
from tests.reconcile.scene import SECONDS_MAX, Scene
from tests.seals.given import sealed, sealer_with

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

TOPIC = "decisions.v1"
COUNT = 200
FOUND_WITHIN_S = 60.0
KEY = b"GB29-0001"


class Thief:
    """Somebody with the worker's own credential for the broker, and perhaps its signing key."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        options = scene.stack.client_options(Principal.WORKER)
        self._producer = Producer({"bootstrap.servers": scene.stack.bootstrap_servers, **options, "log_level": 2})

    def write(self, value: bytes, headers: list[Header] | None, partition: int = 0, key: bytes = KEY) -> None:
        self._producer.produce(TOPIC, value, key, partition, headers=headers)
        assert 0 == self._producer.flush(SECONDS_MAX)

    def sealed(self, value: bytes) -> list[Header] | None:
        key = SigningKey.from_file(self._scene.directory / "seals" / f"{KeyUse.DECISIONS}.key")
        return sealed(sealer_with(key), value, key=KEY)[0].headers


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("stolen")
    if system_folder() == bundled_folder():
        pytest.skip("production needs a PostgreSQL with TLS, which pip's is built without: apt-get install postgresql")
    with RealStack(directory / "stack", secure=True, with_postgres=True) as stack:
        scene = Scene(directory, stack)
        follower = scene.follower(grace_s=30)
        try:
            scene.publish(COUNT)
            scene.start(scene.worker, scene.audit, scene.executor, follower)
            scene.wait_until_decided()
            yield scene
        finally:
            follower.stop()
            scene.stop()


def forged_decision(folder: Path, number: int) -> bytes:
    """A decision that pays a stranger, on a payment that nobody published."""
    archive = Archive(folder)
    return archive.values([payment(number)], [CLOSED], [Source(0, 10**6 + number, 1_764_072_000_000)])[0]


def presented(scene: Scene) -> list[Presented]:
    options = scene.stack.client_options(Principal.READER)
    with LogReader(scene.stack.bootstrap_servers, "fraud-reader", options) as log:
        return list(log.read_presented(TOPIC, dict.fromkeys(log.extents(TOPIC), 0)))


def alerts(scene: Scene, code: str) -> list[Mapping[str, str]]:
    options = scene.stack.client_options(Principal.READER)
    with LogReader(scene.stack.bootstrap_servers, "fraud-reader", options) as log:
        read = [WireFormat().decode_alert(record.value) for record in log.read_all("alerts.v1")]
    return [alert.evidence for alert in read if isinstance(alert, Alert) and alert.code == code]


def heard(scene: Scene) -> set[str]:
    return {str(name) for (name,) in scene.ask("SELECT decision_id::text FROM ledger.execution")}


def decided(scene: Scene) -> set[str]:
    """By the workers, whose seals hold."""
    keys = read_key_set(scene.directory / "seals" / KEYS_FILE)
    check = SealCheck(lambda _: keys, is_signed, now_ms)
    proved = [record for record in presented(scene) if check.unproved(record) is None]
    decoded = [WireFormat().decode_decision_record(record.value) for record in proved]
    return {each.decision_id for each in decoded if isinstance(each, Decision)}


def honest(scene: Scene) -> set[str]:
    return {str(name) for (name,) in scene.ask("SELECT decision_id::text FROM audit.ai_decision_log")}


def test_the_worker_s_credential_alone_gains_nothing_while_payments_go_on(scene: Scene, tmp_path: Path) -> None:
    thief, wire = Thief(scene), WireFormat()
    one = next(each for each in presented(scene) if isinstance(wire.decode_decision_record(each.value), Decision))
    assert one.is_stamped
    assert one.seal is not None
    forged = forged_decision(tmp_path, 1)
    copied: list[Header] = [(SEAL_HEADER, one.seal)]
    reversal = wire.encode(reversal_of(decision_of(one.value), None))
    thief.write(forged, None)
    thief.write(forged, copied)
    thief.write(reversal, copied, key=one.key or b"")
    thief.write(one.value, copied, partition=1, key=one.key or b"")
    thief.write(b"garbage", None, partition=1)
    thief.write(one.value, copied, key=one.key or b"")  # the same bytes again, where they stood: one decision
    scene.publish(COUNT)
    scene.wait_until_decided()
    expected = decided(scene)
    assert decision_of(forged).decision_id not in expected
    wait_until(lambda: heard(scene) == expected, SECONDS_MAX, "executing what came behind it")
    wait_until(lambda: honest(scene) == expected, SECONDS_MAX, "storing what came behind it")
    passed_over = "SELECT why, count(*)::int FROM control.unproved_record WHERE consumer = 'executor' GROUP BY why"
    assert {"SEAL_MISSING": 2, "SEAL_FALSE": 2, "KEY_OF_ANOTHER_KIND": 1} == dict(scene.ask(passed_over))
    wait_until(lambda: scene.ask("SELECT 1 FROM audit.quarantined OFFSET 4") != [], SECONDS_MAX, "keeping the evidence")
    assert {"0", "1"} == {evidence["partition"] for evidence in alerts(scene, "RECORD_UNPROVED")}
    assert [] == alerts(scene, "DECISION_UNFOUNDED")
    assert [] == scene.ask("SELECT execution_id FROM ledger.cause WHERE cause LIKE 'REVERSED%'")


def test_with_its_signing_key_too_a_forged_decision_is_found_within_a_minute(scene: Scene, tmp_path: Path) -> None:
    thief, forged = Thief(scene), forged_decision(tmp_path, 2)
    began = time.monotonic()
    thief.write(forged, thief.sealed(forged))

    def kinds() -> set[str]:
        return {evidence["kind"] for evidence in alerts(scene, "DECISION_UNFOUNDED")}

    wait_until(lambda: "SOURCE_DIFFERS" in kinds(), SECONDS_MAX, "reading it back from its source")
    assert time.monotonic() - began < FOUND_WITHIN_S
    wait_until(lambda: "UNCOMMITTED" in kinds(), SECONDS_MAX, "missing the workers' commit")
