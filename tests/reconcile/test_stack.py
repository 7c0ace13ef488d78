"""Reconciliation of a whole pipeline on the real, secure stack: clean when it is, and each planted gap named."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from ops.access.rights import Principal
from ops.bench.rig.waiting import wait_until
from ops.stack.postgres import bundled_folder, system_folder
from ops.stack.real import RealStack
from pipeline.domain.alert import Alert
from pipeline.io.avro.wire import WireFormat
from pipeline.io.kafka.log_reader import LogReader
from pipeline.reconcile.service_command import reconcile_once
from pipeline.terminal.output import Output
from tests.reconcile.scene import SECONDS_MAX, Scene

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

COUNT = 1500  # with 40 duplicates, 7 conflicts and 4 pieces of garbage
STRAY_OFFSET = 2**40


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Everything decided, audited and executed; nothing runs any more but the servers."""
    directory = tmp_path_factory.mktemp("reconcile")
    if system_folder() == bundled_folder():
        pytest.skip("production needs a PostgreSQL with TLS, which pip's is built without: apt-get install postgresql")
    with RealStack(directory / "stack", secure=True, with_postgres=True) as stack:
        scene = Scene(directory, stack)
        try:
            scene.publish(COUNT)
            scene.start(scene.worker, scene.audit, scene.executor)
            scene.wait_until_decided()
            yield scene
        finally:
            scene.stop()


class Found(NamedTuple):
    is_whole: bool
    gaps: list[tuple[str, str, int, int, int, int, str]]
    totals: dict[str, int]


@pytest.fixture
def reconciled(scene: Scene, capsys: pytest.CaptureFixture[str]) -> Callable[[float], Found]:
    def run(grace_s: float) -> Found:
        settings = scene.settings("reconcile", reconcile_grace_s=grace_s)
        is_whole = reconcile_once(settings, WireFormat(), Output(as_json=True))
        *gaps, totals = map(json.loads, capsys.readouterr().out.splitlines())
        names = ("kind", "topic", "partition", "first_offset", "last_offset", "records", "side")
        return Found(is_whole, [tuple(gap["gap"][name] for name in names) for gap in gaps], totals)

    return run


def test_whole_pipeline_is_accounted_for(scene: Scene, reconciled: Callable[[float], Found]) -> None:
    found = reconciled(60)
    assert (True, []) == (found.is_whole, found.gaps)
    totals = found.totals
    assert COUNT == totals["taken_in"] == totals["decisions"] + totals["dead_letters"] + totals["duplicates"]
    assert totals["decisions"] == totals["audited"] == totals["executed"]
    assert totals["duplicates"] > 0
    assert totals["dead_letters"] > 0


def test_follower_tells_what_is_missing_and_when_it_has_come(scene: Scene) -> None:
    follower = scene.follower(grace_s=1)
    scene.audit.stop()
    try:
        scene.start(follower)
        wait_until(lambda: _reached(scene), SECONDS_MAX, "reconciling what is there")
        scene.publish(50)
        wait_until(lambda: _gaps(scene, "OPENED"), SECONDS_MAX, "missing what isn't audited")
        scene.start(scene.audit)
        wait_until(lambda: _gaps(scene, "CLOSED") == _gaps(scene, "OPENED"), SECONDS_MAX, "seeing that it was filled")
        scene.wait_until_decided()
        wait_until(lambda: _reached(scene), SECONDS_MAX, "reconciling what came since")
    finally:
        follower.stop()
        scene.audit.stop()  # it would refuse to go on from what the next tests plant
    alerts = [WireFormat().decode_alert(value) for value in _alerts(scene)]
    codes = {alert.code for alert in alerts if isinstance(alert, Alert)}
    assert "RECONCILIATION_GAP" in codes
    assert codes.isdisjoint({"DECISION_UNFOUNDED", "RECORD_UNPROVED"}), "nobody honest is accused"


# A row of the audit log in the middle of a partition, and what follows from its place.
_ROW = (
    "(SELECT topic_offset FROM audit.ai_decision_log WHERE topic_partition = 1 ORDER BY topic_offset OFFSET 30 LIMIT 1)"
)
_AT = f"topic_partition = 1 AND topic_offset = {_ROW}"
_EXECUTION = f"(SELECT execution_id FROM audit.ai_decision_log WHERE {_AT})"


class Plant(NamedTuple):
    """kinds: what must be found at the row's place of decisions.v1."""

    kinds: tuple[str, ...]
    statements: tuple[str, ...]
    table: str


PLANTS = {
    "audit row deleted": Plant(
        ("NOT_AUDITED", "EXECUTION_UNFOUNDED"),
        (f"DELETE FROM audit.ai_decision_log WHERE {_AT}",),
        "audit.ai_decision_log",
    ),
    "audit row altered": Plant(
        ("AUDITED_OTHERWISE",),
        (f"UPDATE audit.ai_decision_log SET record = record || '\\x00' WHERE {_AT}",),
        "audit.ai_decision_log",
    ),
    "execution deleted": Plant(
        ("NOT_EXECUTED",),
        (f"DELETE FROM ledger.execution WHERE execution_id = {_EXECUTION}",),
        "ledger.execution",
    ),
    "saga left half-way": Plant(
        ("UNFINISHED", "MISPLACED", "STEPPED_OTHERWISE"),
        (f"UPDATE ledger.transition SET to_state = 'DEBITED' WHERE execution_id = {_EXECUTION}",),
        "ledger.transition",
    ),
    "money moved that was blocked": Plant(
        ("EXECUTED_OTHERWISE", "HEARD_OTHERWISE", "MISPLACED", "STEPPED_OTHERWISE"),
        (
            f"UPDATE ledger.transition SET to_state = 'SETTLED' WHERE execution_id = {_EXECUTION}",
            f"UPDATE audit.ai_decision_log SET decision = 'BLOCK' WHERE {_AT}",
        ),
        "ledger.transition",
    ),
}


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS.keys())
def test_planted_gap_is_found_and_named(scene: Scene, reconciled: Callable[[float], Found], plant: Plant) -> None:
    ((offset,),) = scene.ask(_ROW)
    tables = {"audit.ai_decision_log", plant.table}
    scene.tamper(*(f"CREATE TABLE public.kept_{table.partition('.')[2]} AS TABLE {table}" for table in sorted(tables)))
    try:
        assert scene.tamper(*plant.statements) > 0
        found = reconciled(0)
    finally:
        for table in sorted(tables):
            kept = f"public.kept_{table.partition('.')[2]}"
            scene.tamper(f"DELETE FROM {table}", f"INSERT INTO {table} SELECT * FROM {kept}", f"DROP TABLE {kept}")
    sides = {"NOT_AUDITED": "the audit log", "AUDITED_OTHERWISE": "the audit log"}
    expected = [(kind, "decisions.v1", 1, offset, offset, 1, sides.get(kind, "the ledger")) for kind in plant.kinds]
    assert (False, expected) == (found.is_whole, found.gaps)
    stored = {kind for (kind,) in scene.ask("SELECT kind FROM control.reconciliation_gap WHERE event = 'OPENED'")}
    assert stored.issuperset(plant.kinds)


def test_record_accounted_for_twice_is_found_and_named(scene: Scene, reconciled: Callable[[float], Found]) -> None:
    ((partition, offset),) = scene.ask(f"SELECT source_partition, source_offset FROM audit.ai_decision_log WHERE {_AT}")
    inserted = scene.tamper(
        f"""INSERT INTO audit.dead_letter (source_topic, source_partition, source_offset, source_timestamp, code,
            detail, payload_sha256, payload_length, topic_partition, topic_offset, created_at, filed_at)
        SELECT source_topic, {partition}, {offset}, source_timestamp, code, detail, payload_sha256, payload_length, 0,
            {STRAY_OFFSET}, created_at, filed_at FROM audit.dead_letter LIMIT 1"""
    )
    assert inserted == 1
    try:
        found = reconciled(0)
    finally:
        scene.tamper(f"DELETE FROM audit.dead_letter WHERE topic_offset = {STRAY_OFFSET}")
    expected = [("ACCOUNTED_TWICE", "transactions.v1", partition, offset, offset, 1, "decisions.v1")]
    assert (False, expected) == (found.is_whole, found.gaps)


def _gaps(scene: Scene, event: str) -> list[tuple[object, ...]]:
    """Of those that only an audit service that stands still can have caused."""
    return list(
        scene.ask(
            f"""SELECT gap_id FROM control.reconciliation_gap WHERE event = '{event}' AND kind = 'NOT_AUDITED'
                AND topic = 'decisions.v1' AND last_offset > (SELECT min(last_offset) FROM (
                    SELECT (part ->> 3)::bigint AS last_offset FROM control.reconciliation AS r,
                        jsonb_array_elements(r.stretch) AS part
                    WHERE part ->> 0 = 'decisions.v1' AND r.gaps = 0) AS whole) ORDER BY 1"""
        )
    )


def _reached(scene: Scene) -> bool:
    """Whether the follower is as far as the worker."""
    rows = scene.ask("SELECT next_offset FROM control.consumer_position WHERE topic = 'transactions.v1'")
    return sum(int(str(offset)) for (offset,) in rows) >= scene.published


def _alerts(scene: Scene) -> Iterator[bytes]:
    options = scene.stack.client_options(Principal.READER)
    with LogReader(scene.stack.bootstrap_servers, "fraud-reader", options) as reading:
        yield from (record.value for record in reading.read_all("alerts.v1") if record.value is not None)
