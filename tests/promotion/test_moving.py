"""Moving the champion: the gate, the shares, the way back, and who may, by the real registry and database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from models.artefact.strict import ModelRefused
from models.versions.alias_files import alias_records, move_alias
from models.versions.aliases import AliasRecord
from models.versions.history import Event
from models.versions.history_files import append_history, read_history
from models.versions.loading_files import Trust, load_by_alias
from models.versions.locations import Alias
from pipeline.io.postgres import Connection
from pipeline.people.act_store import read_registry
from pipeline.people.roles import Role
from pipeline.people.store import revoke_key
from pipeline.people.verify_command import verify
from pipeline.promotion.gate import Reason
from pipeline.promotion.moves import MoveEvent
from pipeline.promotion.moving_store import stop
from pipeline.promotion.progress_store import progress_of
from pipeline.promotion.stop_rule import stop_reasons
from pipeline.promotion.store import append_move
from tests.known import identity, revoke
from tests.promotion.stage import APPROVERS, CANDIDATE, CHAMPION, LIMITS, WRONG, Stage, shipped_limits

SO = "The champion can't be moved so: "
NO_HOURS = LIMITS.model_copy(update={"share_hours": 0})


@pytest.fixture
def stage(tmp_path: Path, owner: Connection, database_url: str) -> Iterator[Stage]:
    stage = Stage(tmp_path, owner, database_url)
    yield stage
    stage.close()


def test_a_version_that_has_shown_all_takes_over_by_shares_and_goes_back(stage: Stage) -> None:
    stage.ready()
    record = stage.promote().record
    assert record is not None
    assert (record.version, record.share_ppm, record.previous_version) == (CANDIDATE, 10_000, CHAMPION)
    salts = {record.salt}
    for share_ppm in (100_000, 500_000, 1_000_000):
        assert stage.texts(stage.step()) != []  # it has had its share for no hour, and answered nothing
        stage.decide(CHAMPION, 30)
        stage.decide(CANDIDATE, 30)
        record = stage.step(limits=NO_HOURS).record
        assert record is not None
        assert record.share_ppm == share_ppm
        salts.add(record.salt)
    assert len(salts) == 1  # an id that a share has chosen stays chosen
    trust = Trust(stage.keys, read_registry(stage.owner))
    assert load_by_alias(stage.registry, trust).model.version == CANDIDATE
    back = stage.roll_back(by="bob").record
    assert back is not None
    assert (back.version, back.share_ppm, back.previous_version) == (CHAMPION, 1_000_000, CANDIDATE)
    assert load_by_alias(stage.registry, trust).model.version == CHAMPION
    assert stage.rows() == [
        (1, "FOUND", CHAMPION, 1_000_000, "ann"),
        (2, "PROMOTED", CANDIDATE, 10_000, "ann"),
        (3, "STEPPED", CANDIDATE, 100_000, "ann"),
        (4, "STEPPED", CANDIDATE, 500_000, "ann"),
        (5, "STEPPED", CANDIDATE, 1_000_000, "ann"),
        (6, "ROLLED_BACK", CHAMPION, 1_000_000, "bob"),
    ]
    assert verify(stage.owner, None).faults == []


def test_what_has_shown_nothing_is_refused_for_every_reason_and_that_is_recorded(stage: Stage) -> None:
    outcome = stage.promote(by="rita")
    reasons = [each.reason for each in outcome.refusals]
    assert reasons == [
        Reason.PROMOTER, *[Reason.EVIDENCE] * 6, Reason.SHADOW, *[Reason.APPROVALS] * 3,
    ]  # fmt: skip
    [(asked, by, told)] = stage.owner.execute("SELECT asked, asked_by, reasons FROM control.model_refusal").fetchall()
    assert (asked, by, told) == ("PROMOTE", "rita", [each.text for each in outcome.refusals])
    last = read_history(stage.registry, stage.keys)[-1]
    assert (last.event, last.by, list(last.reasons)) == (Event.REFUSED, "rita", told)
    assert len(alias_records(stage.registry, stage.keys, Alias.CHAMPION)) == 1


def test_without_limits_or_by_the_shipped_ones_a_day_of_shadow_is_refused(stage: Stage) -> None:
    stage.ready()
    [text] = stage.texts(stage.promote(limits=None))
    assert "no [promotion]" in text
    texts = stage.texts(stage.promote(limits=shipped_limits()))
    assert texts == [
        "It ran in shadow on 1 days, and must on 28.",
        "It answered 201 payments beside the champion of now, and must answer 10,000.",
    ]


@pytest.mark.parametrize("name", ["tables.json", "card.md", "manifest.json", "model.sig"])
def test_a_byte_that_was_changed_is_a_reason(stage: Stage, name: str) -> None:
    stage.ready()
    path = stage.registry.root / CANDIDATE / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert Reason.ARTEFACT in [each.reason for each in stage.promote().refusals]


def test_evidence_that_failed_or_was_spoilt_is_a_reason(stage: Stage) -> None:
    stage.ready()
    stage.prove(CANDIDATE, "red-team", passed=False)
    assert stage.texts(stage.promote())[0] == "The evidence of red-team did not pass: it rose."
    spoilt = next((stage.registry.root / "evidence" / CANDIDATE).glob("bias-*.json"))
    spoilt.write_bytes(spoilt.read_bytes().replace(b'"passed":true', b'"passed":false'))
    texts = stage.texts(stage.promote())
    assert texts[0].startswith("The evidence can't be relied upon")
    assert "on what evidence" in texts[1]


def test_reviews_that_are_missing_are_a_reason(stage: Stage) -> None:
    stage.prove(CANDIDATE)
    stage.approve(CANDIDATE)
    stage.shadow(CANDIDATE, differing=2)
    assert {each.reason for each in stage.promote().refusals} == {Reason.REVIEWS}
    stage.review(CANDIDATE)
    assert stage.promote().record is not None


def test_an_approver_who_lost_role_or_key_approves_nothing(stage: Stage) -> None:
    stage.ready()
    revoke(stage.owner, "rita", "RISK")
    assert revoke_key(stage.owner, identity("cora").key_id, "it was stolen", identity("ada")) is None
    texts = stage.texts(stage.promote())
    assert texts[:2] == ["Nobody has approved it as RISK.", "Nobody has approved it as COMPLIANCE."]
    assert len(texts) == 4  # and why the two count as nothing


def test_a_way_back_stands_though_its_approvers_have_left(stage: Stage) -> None:
    stage.ready()
    stage.promote()
    revoke(stage.owner, "rita", "RISK")
    assert stage.roll_back().record is not None
    loaded = load_by_alias(stage.registry, Trust(stage.keys, read_registry(stage.owner)))
    assert (loaded.model.version, loaded.candidate) == (CHAMPION, None)


def test_nobody_goes_back_to_what_was_never_champion_or_is_retired(stage: Stage) -> None:
    stage.ready()
    stage.promote()
    assert stage.texts(stage.roll_back(WRONG)) == [
        f"{SO}{WRONG} was never champion, and only a version that was is gone back to."
    ]
    stage.roll_back()
    assert "never champion" in stage.texts(stage.roll_back(CANDIDATE))[0]  # it had a share only
    assert stage.texts(stage.roll_back()) == [
        f"{SO}{CANDIDATE} is what was gone back from; name the version to go back to."
    ]
    assert stage.texts(stage.roll_back(CHAMPION)) == [f"{SO}{CHAMPION} is the champion already."]


def test_a_retired_version_is_not_gone_back_to(stage: Stage) -> None:
    stage.ready()
    assert stage.promote(limits=LIMITS.model_copy(update={"shares_percent": (100,)})).record is not None
    digest = alias_records(stage.registry, stage.keys, Alias.CHAMPION)[0].digest
    append_history(
        stage.registry, stage.keys, stage.signing, Event.RETIRED, CHAMPION, digest,
        by="ann", at_ms=stage.now_ms, reasons=("it is old",),
    )  # fmt: skip
    assert stage.texts(stage.roll_back()) == [f"{SO}{CHAMPION} is retired."]


@pytest.mark.parametrize("by", ["rita", "rev", "nobody"])
def test_only_an_operator_moves_the_champion(stage: Stage, by: str) -> None:
    stage.ready()
    approves = [Reason.APPROVALS] if by in APPROVERS.values() else []
    assert [each.reason for each in stage.promote(by=by).refusals] == [Reason.PROMOTER, *approves]
    stage.promote()
    assert [each.reason for each in stage.roll_back(by=by).refusals] == [Reason.PROMOTER]
    assert Reason.PROMOTER in [each.reason for each in stage.step(by=by).refusals]
    assert len(stage.rows()) == 2


def test_a_rollback_takes_a_reason(stage: Stage) -> None:
    stage.ready()
    stage.promote()
    assert [each.reason for each in stage.roll_back(reason=" ").refusals] == [Reason.REASON]


def test_while_a_version_is_rolled_out_no_other_is_promoted(stage: Stage) -> None:
    stage.ready()
    stage.promote()
    stage.ready(WRONG)
    assert f"{SO}{CANDIDATE} is being rolled out, at 1 %; step on with it or roll it back." in stage.texts(
        stage.promote(WRONG)
    )


def test_a_registry_that_was_put_back_is_moved_by_nobody(stage: Stage, tmp_path: Path) -> None:
    stage.ready()
    shutil.copytree(stage.registry.root, tmp_path / "backup")
    stage.promote()
    shutil.rmtree(stage.registry.root)
    shutil.copytree(tmp_path / "backup", stage.registry.root)
    texts = stage.texts(stage.promote())
    assert "an older registry was put in its place" in texts[0]
    assert "an older registry was put in its place" in stage.texts(stage.roll_back(CHAMPION))[0]
    assert [sequence for sequence, *_ in stage.rows()] == [1, 2]


def test_an_old_record_of_a_promotion_is_nothing_when_it_comes_again(stage: Stage) -> None:
    stage.ready()
    stage.promote()
    stage.roll_back()
    folder = stage.registry.root / "aliases" / "champion"
    shutil.copy(folder / "000002.json", folder / "000004.json")
    assert "says that it is record 2" in stage.texts(stage.promote())[0]
    with pytest.raises(ModelRefused, match="says that it is record 2"):
        load_by_alias(stage.registry, Trust(stage.keys, None))


def test_who_dies_between_registry_and_database_leaves_a_move_that_the_next_one_finds(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.ready()

    def dies(connection: Connection, record: AliasRecord, event: str, *rest: str) -> None:
        if event != "FOUND":
            raise KeyboardInterrupt
        append_move(connection, record, MoveEvent.FOUND, *rest)

    monkeypatch.setattr("pipeline.promotion.moving_store.append_move", dies)
    with pytest.raises(KeyboardInterrupt):
        stage.promote()
    monkeypatch.undo()
    assert alias_records(stage.registry, stage.keys, Alias.CHAMPION)[-1].version == CANDIDATE
    assert stage.rows() == []
    assert stage.roll_back().record is not None
    assert [(event, version) for _, event, version, *_ in stage.rows()] == [
        ("FOUND", CHAMPION), ("FOUND", CANDIDATE), ("ROLLED_BACK", CHAMPION),
    ]  # fmt: skip


def test_a_move_at_the_same_moment_is_refused_and_leaves_no_row(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another database's command, or the registry's own, doesn't wait for this one's turn."""
    stage.ready()

    def overtaken(*arguments: object, **named: object) -> object:
        monkeypatch.undo()
        first = {**named, "by": "bob"}
        move_alias(*arguments, **first)  # type: ignore[arg-type]
        folder = stage.registry.root / "history"
        latest = max(folder.iterdir())
        stage.registry.create("history/" + latest.name, b"")
        raise AssertionError("it stands already")

    monkeypatch.setattr("pipeline.promotion.moving_store.move_alias", overtaken)
    with pytest.raises(ModelRefused, match="stands in the registry already"):
        stage.promote()
    assert [event for _, event, *_ in stage.rows()] == []
    assert len(alias_records(stage.registry, stage.keys, Alias.CHAMPION)) == 2


def test_a_trip_takes_a_candidate_back_by_itself(stage: Stage) -> None:
    stage.ready()
    record = stage.promote().record
    assert record is not None
    records = alias_records(stage.registry, stage.keys, Alias.CHAMPION)
    assert stop_reasons(progress_of(stage.owner, records, []), LIMITS) == []
    stage.trip("segment:age_band=18-24")  # is not about the candidate
    stage.trip("all", "SHARE_RAISED")
    assert stop_reasons(progress_of(stage.owner, records, []), LIMITS) == []
    stage.trip(f"model:{CANDIDATE}")
    reasons = stop_reasons(progress_of(stage.owner, records, []), LIMITS)
    assert len(reasons) == 1
    back = stop(stage.people, stage.desk, record, reasons)
    assert back is not None
    assert (back.version, back.share_ppm, back.by) == (CHAMPION, 1_000_000, "the stop rule")
    assert stage.rows()[-1] == (3, "STOPPED", CHAMPION, 1_000_000, "the stop rule")
    assert stop(stage.people, stage.desk, record, reasons) is None  # somebody was faster
    assert verify(stage.owner, None).faults == []


def test_what_it_stops_more_takes_it_back(stage: Stage) -> None:
    stage.ready(WRONG)
    stage.promote(WRONG, limits=LIMITS.model_copy(update={"agreement_percent": 50}))
    stage.decide(CHAMPION, 400)
    stage.decide(WRONG, 60)
    records = alias_records(stage.registry, stage.keys, Alias.CHAMPION)
    [text] = stop_reasons(progress_of(stage.owner, records, []), LIMITS)
    assert "points more payments than the champion" in text
    assert text in stage.texts(stage.step())


def test_fraud_that_it_misses_is_counted_as_its_own(stage: Stage) -> None:
    stage.ready()
    stage.promote()
    ids = stage.decide(CHAMPION, 5) + stage.decide(CANDIDATE, 3)
    records = alias_records(stage.registry, stage.keys, Alias.CHAMPION)
    progress = progress_of(stage.owner, records, [*ids[:2], *ids[5:], "tx-unknown"])
    assert (progress.candidate.frauds, progress.champion.frauds) == (3, 2)
    assert (progress.candidate.payments, progress.champion.payments) == (3, 5)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE control.model_move SET version = 'other'",
        "DELETE FROM control.model_move",
        "TRUNCATE control.model_move",
        "DELETE FROM control.model_refusal",
    ],
)
def test_no_move_and_no_refusal_is_ever_changed(stage: Stage, statement: str) -> None:
    stage.promote()
    for connection in (stage.people, stage.owner):
        with pytest.raises(psycopg.Error), connection.transaction():
            connection.execute(statement)


def test_a_move_that_nobody_signed_is_refused_by_the_database(stage: Stage) -> None:
    stage.promote()
    row = (
        "INSERT INTO control.model_move (sequence, event, version, digest, share_ppm, record_sha256, moved_by, reason,"
        " moved_at) VALUES (%s, %s, 'x', sha256('1'), 1000000, sha256('2'), 'ann', 'because', now())"
    )
    for sequence, event in ((2, "PROMOTED"), (2, "ROLLED_BACK"), (4, "FOUND"), (1, "FOUND")):
        with pytest.raises(psycopg.Error), stage.people.transaction():
            stage.people.execute(row, [sequence, event])


def test_each_role_alone_is_not_enough(stage: Stage) -> None:
    stage.prove(CANDIDATE)
    stage.shadow(CANDIDATE)
    stage.review(CANDIDATE)
    stage.approve(CANDIDATE, Role.RISK, Role.ENGINEERING)
    assert stage.texts(stage.promote()) == ["Nobody has approved it as COMPLIANCE."]
