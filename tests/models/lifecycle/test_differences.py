"""Two versions on the same stored decisions: nothing for one and the same, and each change counted where it belongs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.artefact.files import golden_json, load, tables_json, write
from models.artefact.scoring import Model, Term
from models.artefact.vectors import golden_vectors
from models.lifecycle.decision_files import exported_records, labels_of
from models.lifecycle.diff_command import Decided, Labelled, differences_json, show_diff, show_replay
from models.lifecycle.differences import Differences, Sum, differences
from pipeline.decide.verdict import Regime, regime
from pipeline.domain.decision import Outcome
from pipeline.domain.features import COLUMN, FEATURES
from pipeline.io.settings import Settings
from pipeline.replay.redecide import RegimeMissing
from pipeline.replay.regimes import RegimeKey
from pipeline.terminal.failures import Failure
from pipeline.terminal.output import Output
from tests.archive import CLOSED, MODEL_FEATURES, OPEN, Archive, payment, stored
from tests.records import feeds, policy

STRICT = "small-2"


def strict(archive: Archive) -> Model:
    """A second version: the same tables, and every score higher."""
    small = load(archive.registry / "small-1")
    higher = replace(small, version=STRICT, intercept_micro=small.intercept_micro + 6_000_000)
    rows = np.zeros((64, len(FEATURES)), dtype=np.int64)
    rows[:, COLUMN["amount_gbp_minor"]] = np.arange(64) * 5_000
    write(
        archive.registry / STRICT,
        tables_json(higher),
        b"# For tests\n",
        {
            "features": list(MODEL_FEATURES),
            "typical": dict(small.typical),
            "training": {},
            "metrics": {},
            "golden": golden_json(golden_vectors(higher, rows, MODEL_FEATURES)),
            "approvals": [],
        },
    )
    return load(archive.registry / STRICT)


def compared(archive: Archive, before: Model, after: Model, is_fraud: dict[tuple[str, str], bool]) -> Differences:
    values = archive.values([payment(n) for n in range(40)], [CLOSED if n % 4 else OPEN for n in range(40)])
    return differences([stored(value) for value in values], before, after, archive.regime_of, is_fraud)


def test_a_version_changes_nothing_against_itself(archive: Archive) -> None:
    small = load(archive.registry / "small-1")
    found = compared(archive, small, small, {})
    assert (found.decisions, found.changed, found.transitions) == (40, Sum(), {})
    assert all(part.changed == Sum() for part in (*found.segments, *found.bands))


@pytest.mark.parametrize(("is_later", "lacking"), [((False, True), 40), ((True, False), 40), ((False, False), 0)])
def test_what_either_of_the_two_could_not_read_when_it_was_written_is_told(
    archive: Archive, is_later: tuple[bool, bool], lacking: int
) -> None:
    """Whoever compares a version with the one to go back to has the newer one first."""
    small = load(archive.registry / "small-1")
    ever = Term(("account_count_ever",), (np.array([1], dtype=np.int64),), np.array([0, 0], dtype=np.int64))
    typical = {**small.typical, "account_count_ever": 1}
    later = replace(small, version="small-3", hash=b"3" * 32, terms=(*small.terms, ever), typical=typical)
    written_before = [
        stored(value)._replace(release=4) for value in archive.values([payment(n) for n in range(40)], [CLOSED] * 40)
    ]

    def regime_of(key: RegimeKey) -> Regime:
        return regime(policy(), later if key.model_version == later.version else small, feeds())

    before, after = (later if each else small for each in is_later)
    assert differences(written_before, before, after, regime_of, {}).lacking == lacking


def test_each_change_is_counted_once_in_each_place(archive: Archive) -> None:
    small, higher = load(archive.registry / "small-1"), strict(archive)
    found = compared(archive, small, higher, {})
    amount_minor = payment(0).amount_minor
    assert found.changed == Sum(30, 30 * amount_minor)  # the ten that the fallback answered stay
    assert {Outcome.ALLOW} == {was for was, _ in found.transitions}
    assert 30 == sum(changed.payments for changed in found.transitions.values())
    names = payment(0).segments
    assert len(found.segments) == len(names)
    assert all(part.changed == found.changed for part in found.segments)
    assert [(part.decisions, part.changed.payments) for part in found.bands] == [(40, 30)]


def test_what_it_costs_and_saves_is_told_as_far_as_labels_tell(archive: Archive) -> None:
    small, higher = load(archive.registry / "small-1"), strict(archive)
    changing = [payment(n) for n in range(40) if n % 4]
    is_fraud = {(each.account_id, each.transaction_id): place < 3 for place, each in enumerate(changing[:8])}
    worth = compared(archive, small, higher, is_fraud).worth
    amount_minor = payment(0).amount_minor
    assert worth.fraud_caught == Sum(3, 3 * amount_minor)
    assert worth.honest_stopped == Sum(5, 5 * amount_minor)
    assert worth.unlabelled == Sum(22, 22 * amount_minor)
    assert worth.fraud_missed == worth.honest_freed == Sum()
    back = compared(archive, higher, small, is_fraud).worth
    assert (back.fraud_missed, back.honest_freed) == (worth.fraud_caught, worth.honest_stopped)


def test_a_model_that_is_not_archived_is_said_and_not_passed_over(archive: Archive) -> None:
    small, higher = load(archive.registry / "small-1"), strict(archive)
    shutil.rmtree(archive.registry / STRICT)
    with pytest.raises(RegimeMissing):
        compared(archive, small, higher, {})


def export(archive: Archive, folder: Path) -> Path:
    """Rows as `fraud audit export` writes them, of which this reads five columns."""
    folder.mkdir()
    values = archive.values([payment(n) for n in range(40)], [CLOSED] * 40)
    rows = [
        {
            "created_at": f"2026-11-30T04:00:{n:02}+00:00",
            "model_version": "small-1",
            "topic_partition": 0,
            "topic_offset": n,
            "record": "\\x" + value.hex(),
        }
        for n, value in enumerate(values)
    ]
    (folder / "ai_decision_log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def settings(archive: Archive) -> Settings:
    return Settings(model_registry=archive.registry, policy_archive=archive.policies, feeds_path=archive.policies)


def test_the_command_tells_the_difference_in_lines_and_in_json(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    strict(archive)
    decided, unlabelled = Decided(30, export(archive, tmp_path / "export")), Labelled(None, is_read_from_topic=False)
    show_diff(settings(archive), "small-1", STRICT, decided, unlabelled, Output(as_json=False))
    told = capsys.readouterr().out
    assert "Of the last 30 decisions 30 would change (100.00 %)" in told
    assert "The intercept moves by +6.000" in told
    show_diff(settings(archive), "small-1", STRICT, decided, unlabelled, Output(as_json=True))
    found = json.loads(capsys.readouterr().out)
    assert found["shapes"] == []
    assert found["calibration"]["intercept_micro"] == 6_000_000
    assert found["decisions"]["changed"]["payments"] == 30
    show_diff(settings(archive), "small-1", "small-1", decided, unlabelled, Output(as_json=True))
    same = json.loads(capsys.readouterr().out)
    assert (same["shapes"], same["decisions"]["changed"]["payments"], same["decisions"]["transitions"]) == ([], 0, [])


def test_a_versions_decisions_are_decided_again_and_a_changed_byte_is_found(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = export(archive, tmp_path / "export")
    assert show_replay(settings(archive), "small-1", Decided(40, folder), Output(as_json=True))
    assert json.loads(capsys.readouterr().out)["identical"] == 40
    path = folder / "ai_decision_log.jsonl"
    path.write_text(path.read_text().replace(b"Allowed".hex(), b"Allawed".hex(), 1))
    assert not show_replay(settings(archive), "small-1", Decided(40, folder), Output(as_json=True))
    with pytest.raises(Failure, match="No stored decision names"):
        show_replay(settings(archive), STRICT, Decided(40, folder), Output(as_json=True))


def test_the_latest_decisions_of_an_export_are_read(archive: Archive, tmp_path: Path) -> None:
    folder = export(archive, tmp_path / "export")
    records = exported_records(folder, 3)
    assert ["tx-000039", "tx-000038", "tx-000037"] == [stored(each).decision.transaction_id for each in records]
    assert [] == exported_records(folder, 3, "another")


def test_of_one_moment_the_place_in_the_log_says_what_came_last(archive: Archive, tmp_path: Path) -> None:
    path = export(archive, tmp_path / "export") / "ai_decision_log.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for number, row in enumerate(rows):
        row |= {"created_at": "2026-10-25T01:30:00+01:00", "topic_partition": number % 2, "topic_offset": number}
    rows[7]["created_at"] = "2026-10-25T01:10:00+00:00"  # the hour came twice that night, and this is the later one
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = [stored(each).decision.transaction_id for each in exported_records(path, 3)]
    assert ["tx-000007", "tx-000038", "tx-000036"] == found


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}", '{"record": "00", "created_at": "x"}',
                                  '{"record": "\\\\xzz", "created_at": "x"}'])  # fmt: skip
def test_a_row_that_is_none_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "ai_decision_log.jsonl").write_text(line + "\n")
    with pytest.raises(Failure):
        exported_records(tmp_path, 3)


def test_labels_are_read_strictly_and_the_last_holds(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    lines = [{"transaction_id": "t", "account_id": "a", "fraud": fraud} for fraud in (True, False)]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert {("a", "t"): False} == labels_of(path)
    path.write_text('{"transaction_id": "t", "account_id": "a", "fraud": "false"}\n')
    with pytest.raises(Failure, match="no label"):
        labels_of(path)


def test_figures_are_whole_numbers_for_machines(archive: Archive) -> None:
    small = load(archive.registry / "small-1")
    assert json.loads(json.dumps(differences_json(compared(archive, small, small, {}))))["decided_again"] == 40
