"""Differences and replays from the audit database: the same as from its export, and no byte is taken on trust."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from models.lifecycle.diff_command import Decided, Labelled, show_diff, show_replay
from pipeline.audit.export_files import _copy_table
from pipeline.audit.log_store import AuditLog
from pipeline.domain.log import LogRecord
from pipeline.io.postgres import Connection, connect
from pipeline.io.settings import Settings
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output
from tests.archive import CLOSED, WIRE, Archive, payment
from tests.decisions import record_of
from tests.models.lifecycle.test_differences import STRICT, strict
from tests.records import NOON_MS
from tests.servers import url_as

PARTITIONS, COUNT = 4, 40
UNLABELLED = Labelled(None, is_read_from_topic=False)


@pytest.fixture
def settings(tmp_path: Path, owner: Connection, database_url: str, archive: Archive) -> Settings:
    """An audit log of decisions that were all made in one moment, over several partitions."""
    values = archive.values([payment(n) for n in range(COUNT)], [CLOSED] * COUNT)
    log = AuditLog("decisions.v1", tmp_path / "anchors", WIRE, lambda: NOON_MS * 1000)
    log.open(owner, list(range(PARTITIONS)))
    log.store(
        owner,
        [
            LogRecord(n % PARTITIONS, n // PARTITIONS, NOON_MS, payment(n).account_id.encode(), value, record_of(value))
            for n, value in enumerate(values)
        ],
    )
    return Settings(
        model_registry=archive.registry, policy_archive=archive.policies, feeds_path=archive.policies,
        database_url=url_as(database_url, "fraud_reader"),
    )  # fmt: skip


def export(owner: Connection, folder: Path) -> Path:
    """Write the rows as `fraud audit export` does."""
    folder.mkdir()
    _copy_table(owner, folder, "ai_decision_log", "export_decisions")
    return folder


@pytest.mark.parametrize("last", [1, 7, 30, COUNT, 1_000])
def test_the_database_and_its_export_tell_the_same_difference(
    owner: Connection,
    settings: Settings,
    archive: Archive,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    last: int,
) -> None:
    strict(archive)
    told = []
    for source in (None, export(owner, tmp_path / "export")):
        show_diff(settings, "small-1", STRICT, Decided(last, source), UNLABELLED, Output(as_json=True))
        told.append(json.loads(capsys.readouterr().out))
    assert told[0] == told[1]
    assert told[0]["decisions"]["changed"]["payments"] == min(last, COUNT)


def test_what_the_database_holds_is_decided_again_to_the_byte(
    owner: Connection, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    assert show_replay(settings, "small-1", Decided(COUNT, None), Output(as_json=True))
    assert json.loads(capsys.readouterr().out)["identical"] == COUNT
    with pytest.raises(Failure, match="No stored decision names"):
        show_replay(settings, STRICT, Decided(COUNT, None), Output(as_json=True))
    [record] = owner.execute("SELECT record FROM audit.ai_decision_log WHERE transaction_id = 'tx-000011'").fetchall()
    with owner.transaction():  # as somebody does who owns the database, and knows how to switch its triggers off
        owner.execute("SET LOCAL session_replication_role = replica")
        owner.execute(
            "UPDATE audit.ai_decision_log SET record = %s WHERE transaction_id = 'tx-000011'",
            [bytes(record[0]).replace(b"Allowed", b"Allawed", 1)],
        )
    assert not show_replay(settings, "small-1", Decided(COUNT, None), Output(as_json=True))


def test_a_role_that_may_not_read_is_told_so(settings: Settings, database_url: str) -> None:
    closed = settings.model_copy(update={"database_url": url_as(database_url, "fraud_partitions")})
    with pytest.raises(Failure, match="InsufficientPrivilege"):
        show_replay(closed, "small-1", Decided(COUNT, None), Output(as_json=True))
    with closing(connect(settings.database_url, "test")) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("fraud_reader",)
