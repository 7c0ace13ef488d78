"""Records of an earlier release in the audit log: their rows follow from them alone, and the verifier says so."""

from __future__ import annotations

import json

import pytest

from pipeline.audit import export_files
from pipeline.domain.in_force import DecisionRecord
from pipeline.domain.log import LogRecord
from pipeline.io.avro.writers import Release, down_to, header_of
from pipeline.replay.feature_lists import unheld_features
from tests.audit.logs import Bench, records
from tests.audit.test_verifier import exported, verified, verify
from tests.decisions import record_of

OLD = Release("decision.v1", 1)
COUNT = 24


def aged(record: LogRecord[DecisionRecord]) -> LogRecord[DecisionRecord]:
    """The record as a writer of the first release would have written it."""
    value = header_of(OLD) + down_to(OLD).resolved(record.value[10:])
    return record._replace(value=value, content=record_of(value))


@pytest.fixture
def mixed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A log whose records are of the first release and of the current one, in turn."""
    monkeypatch.setattr(export_files, "CATCH_UP_S", 0.2)
    bench.open()
    bench.store([aged(record) if number % 2 else record for number, record in enumerate(records(COUNT))])
    bench.anchor()
    return bench


def test_rows_of_every_release_are_proved(mixed: Bench) -> None:
    report = verified(mixed)
    assert [] == report.findings
    assert len(records(COUNT)) == report.rows


def test_a_row_holds_what_its_writer_knew(mixed: Bench) -> None:
    rows = mixed.rows("SELECT input_snapshot FROM audit.ai_decision_log ORDER BY topic_partition, topic_offset")
    known = {frozenset(row["features"]) for (row,) in rows}  # type: ignore[call-overload]
    assert 2 == len(known)
    assert unheld_features(1) == max(known, key=len) - min(known, key=len)


def test_an_export_names_the_schema_of_each_header(mixed: Bench) -> None:
    out = exported(mixed)
    manifest = json.loads((out / "manifest.json").read_text())
    assert 1 == manifest["schemas"][header_of(OLD).hex()]
    del manifest["schemas"][header_of(OLD).hex()]
    (out / "manifest.json").write_text(json.dumps(manifest))
    details = {finding.detail for finding in verify(mixed, out).findings}
    assert any("no schema that they are written in" in detail for detail in details)


def test_an_export_of_before_is_read_by_its_one_schema(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_files, "CATCH_UP_S", 0.2)
    bench.open()
    bench.store(records(COUNT))
    bench.anchor()
    out = exported(bench)
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["schemas"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert [] == verify(bench, out).findings
